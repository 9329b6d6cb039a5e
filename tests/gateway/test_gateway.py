"""A gateway and two replicas, all real processes: whatever happens to one of them, every request is answered well."""

import asyncio
import os
import signal
from typing import Any

import pytest

from sill.testing.serving_gateway import GatewayUnderTest
from sill.testing.serving_models import TOKEN


async def during(gateway: GatewayUnderTest, seconds: float, *happens: Any) -> dict[int, int]:
    """Statuses of what was asked while things happen, the first after half a second."""
    asking = asyncio.create_task(gateway.ask_for(seconds))
    await asyncio.sleep(0.5)
    for what in happens:
        await asyncio.to_thread(what)
    return await asking


def all_serve(gateway: GatewayUnderTest) -> bool:
    return gateway.count("sill_gateway_replica_admitted") == gateway.replicas


@pytest.mark.anyio
async def test_a_killed_replica_fails_no_request_and_is_started_again(gateway: GatewayUnderTest) -> None:
    victim = gateway.process_ids()[0]

    statuses = await during(gateway, 2.0, lambda: os.kill(victim, signal.SIGKILL))

    assert list(statuses) == [200]
    gateway.until(lambda: all_serve(gateway), 20)
    assert victim not in gateway.process_ids()


@pytest.mark.anyio
async def test_a_stopped_replica_is_out_and_comes_back(gateway: GatewayUnderTest) -> None:
    victim = gateway.process_ids()[0]
    ejected = gateway.count("sill_gateway_replica_ejections_total")

    def look() -> None:
        os.kill(victim, signal.SIGSTOP)
        gateway.until(lambda: gateway.count("sill_gateway_replica_ejections_total") > ejected, 10)
        os.kill(victim, signal.SIGCONT)

    assert list(await during(gateway, 3.0, look)) == [200]
    gateway.until(lambda: all_serve(gateway), 20)
    assert victim in gateway.process_ids()


@pytest.mark.anyio
async def test_replicas_are_replaced_without_a_failed_request(gateway: GatewayUnderTest) -> None:
    before = set(gateway.process_ids())

    def roll() -> None:
        assert gateway.process is not None
        gateway.process.send_signal(signal.SIGHUP)
        gateway.until(lambda: len(gateway.process_ids()) == 2 and not before & set(gateway.process_ids()), 30)

    assert list(await during(gateway, 6.0, roll)) == [200]
    gateway.until(lambda: all_serve(gateway), 20)


def test_what_a_replica_refuses_is_refused_in_its_words(gateway: GatewayUnderTest) -> None:
    gone = gateway.http.post("/v2/models/nope/infer", json={"inputs": []})
    stranger = gateway.http.get("/metrics", headers={"Authorization": "Bearer no"})

    assert (gone.status_code, list(gone.json())) == (404, ["error"])
    assert stranger.status_code == 401


@pytest.mark.parametrize(
    ("more", "status"),
    [
        (b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", b"400"),
        (b"Content-Length: 5\r\nContent-Length: 6\r\n", b"400"),
        (b"Content-Length: +5\r\n", b"400"),
        (b"Transfer-Encoding: chunked, identity\r\n", b"400"),
        (b"Host: evil.example\r\nContent-Length: 5\r\n", b"400"),
    ],
)
@pytest.mark.anyio
async def test_what_two_readers_could_read_differently_goes_no_further(
    gateway: GatewayUnderTest, more: bytes, status: bytes
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    head = b"POST /v2/models/churn/infer HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + TOKEN.encode()
    writer.write(head + b"\r\n" + more + b"\r\nGET /v2 HTTP/1.1\r\n\r\n")

    assert (await reader.readline())[9:12] == status
    writer.close()
