"""gRPC through the gateway: connections are spread over the replicas, and one that dies takes only its own with it."""

import asyncio
import os
import signal
import struct
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from sill.gateway.address import Address
from sill.gateway.grpc_relay import GrpcRelay, Place
from sill.gateway.upstream import Replica
from sill.protocols.grpc.frames import GOAWAY, PREFACE
from sill.protocols.protobuf import write_bytes, write_numbers, write_text
from sill.testing.certificates import client_context, make_certificate
from sill.testing.control_plane import free_ports
from sill.testing.grpc_client import READY, STREAM, GrpcLine
from sill.testing.serving_gateway import GatewayUnderTest
from sill.testing.serving_models import SIGNATURE, classifier, make_signer
from sill.testing.serving_plane import ControlStandIn, serving
from sill.testing.serving_zoo import Zoo

TENSOR = write_text(1, "input") + write_text(2, "FP32") + write_numbers(3, (1, 3))
TRIES, UNAVAILABLE, BROKEN = 3, 14, -100
QUESTION = write_text(1, "churn") + write_bytes(5, TENSOR) + write_bytes(7, struct.pack("<3f", 1, 2, 3))


def ask_again(gateway: GatewayUnderTest, *asked: Any) -> tuple[int, list[bytes]]:
    """As gRPC's clients do: what is UNAVAILABLE is asked again, over a new connection. A replica that the machine gave no
    time for a second is given up, with the calls it has."""
    for _ in range(TRIES):
        with GrpcLine(gateway.port + 1) as line:
            status, messages = line.ask(*asked)
        if status not in (UNAVAILABLE, BROKEN):
            break
    return status, messages


def test_a_call_goes_through_and_large_ones_do(gateway: GatewayUnderTest) -> None:
    rows = 10_000
    tensor = write_text(1, "input") + write_text(2, "FP32") + write_numbers(3, (rows, 3))
    large = write_text(1, "churn") + write_bytes(5, tensor) + write_bytes(7, bytes(12 * rows))

    assert ask_again(gateway, QUESTION)[0] == 0
    assert ask_again(gateway, large)[0] == 0
    assert ask_again(gateway, write_text(1, "churn"), READY) == (0, [b"\x08\x01"])


def test_a_replica_that_dies_takes_only_its_own_connections_with_it(gateway: GatewayUnderTest) -> None:
    gateway.until(lambda: gateway.count("sill_gateway_replica_admitted") == gateway.replicas, 30)
    with ExitStack() as stack:
        lines = [stack.enter_context(GrpcLine(gateway.port + 1)) for _ in range(8)]
        assert {line.ask(QUESTION)[0] for line in lines} == {0}
        os.kill(victim := gateway.process_ids()[0], signal.SIGKILL)
        gateway.until(lambda: victim not in gateway.process_ids())
        assert {line.ask(QUESTION)[0] for line in lines} == {-100, 0}
        assert stack.enter_context(GrpcLine(gateway.port + 1)).ask(QUESTION)[0] == 0
    gateway.until(lambda: gateway.count("sill_gateway_replica_admitted") == gateway.replicas, 30)


@pytest.mark.anyio
@pytest.mark.parametrize("is_open", [True, False], ids=["says-nothing", "hangs-up"])
async def test_a_connection_that_a_replica_never_took_goes_to_another(tmp_path: Path, is_open: bool) -> None:
    """One that is stopped, or about to die: the system takes connections for it all the same."""
    said: list[bytes] = []

    async def takes_none(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if is_open:
            await reader.read()  # until the relay goes
        writer.close()

    async def takes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"settings")
        said.append(await reader.readexactly(len(PREFACE)))
        writer.write(b"heard")
        writer.close()

    def replica(name: str) -> Place:
        return Replica(name, address := Address(path=lambda: str(tmp_path / name))), address

    places, port = [replica("takes-none"), replica("takes")], free_ports()
    relay = GrpcRelay(lambda: places)
    await relay.listen("127.0.0.1", port)
    async with (
        await asyncio.start_unix_server(takes_none, tmp_path / "takes-none"),
        await asyncio.start_unix_server(takes, tmp_path / "takes"),
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(PREFACE)

        assert await reader.read() == b"settingsheard"
        assert said == [PREFACE]
        writer.close()
        relay.close()
        await asyncio.sleep(0.01)  # the connections' ends
    assert [len(one.relayed) for one, _ in places] == [0, 0]


@pytest.mark.slow
def test_the_gateway_has_the_certificate_and_its_end_lets_calls_end(tmp_path: Path) -> None:
    cert, key = make_certificate(tmp_path)
    zoo = Zoo(make_signer(tmp_path))
    zoo.add("churn", classifier(), SIGNATURE)

    def secured(home: Path, control: ControlStandIn) -> GatewayUnderTest:
        return GatewayUnderTest(home, control).secure(cert, key)

    with (
        serving(tmp_path, zoo.plan(), zoo.bundles, secured) as gateway,
        GrpcLine(gateway.port + 1, client_context(cert, "h2")) as line,
    ):
        assert line.ask(QUESTION)[0] == 0
        stream = line.begin(STREAM)
        line.ask(QUESTION)
        assert gateway.process is not None
        gateway.process.terminate()
        while (told := line.read()) is not None and told[0] != GOAWAY:
            pass
        line.write(stream, QUESTION)
        status, messages = line.answer(stream)
        assert (status, len(messages)) == (0, 1)
