"""The gRPC door: messages as clients send them, to a model and back."""

import asyncio
import struct

import pytest

from sill.api.inference_grpc import Door
from sill.api.inference_grpc_access import Access, Accesses
from sill.api.long_reading import Readers
from sill.core.clock import SystemClock
from sill.endpoints.types import PlanToken, ServingPlan
from sill.protocols import protobuf
from sill.protocols.grpc import frames
from sill.protocols.grpc.heads import Head
from sill.protocols.grpc.hpack import Decoder, encode
from sill.protocols.grpc.limits import GrpcLimits
from sill.protocols.oip.grpc_answers import write_parameters
from sill.protocols.protobuf import write_bytes, write_numbers, write_text
from sill.safety.limits import InFlight
from sill.safety.tokens import digest
from sill.testing.grpc_peer import Peer, head, message
from sill.testing.serving_models import TOKEN, rows_model, seen
from sill.traffic.plane import Plane
from sill.traffic.pool import make_route
from sill.traffic.recording import Recorder

SERVICE = b"/inference.GRPCInferenceService/"


class Served:
    """The door over one model, and a client."""

    def __init__(self) -> None:
        model = rows_model()
        endpoint = seen(model=model).endpoint
        self.plane = Plane(SystemClock(), Recorder(SystemClock(), lambda: None))
        token = PlanToken(digest=digest(TOKEN), projects=("*",))
        plan = ServingPlan(revision=1, endpoints=(endpoint,), tokens=(token,), public_key="")
        self.plane.follow(plan, {("default", "churn"): make_route(endpoint, {1: model}, None)})
        self.in_flight = InFlight(8)
        self.peer = Peer(GrpcLimits(), Door(self.plane, self.in_flight, frozenset({"localhost"}), Readers())).greet()
        self.stream = -1

    async def ask(self, method: bytes, content: bytes, token: str = TOKEN) -> tuple[int, list[bytes]]:
        """Status and messages."""
        self.stream += 2
        block = encode(head((b"authorization", f"Bearer {token}".encode()), path=SERVICE + method))
        self.peer.frame(frames.HEADERS, frames.END_HEADERS, self.stream, block)
        self.peer.frame(frames.DATA, frames.END_STREAM, self.stream, message(content))
        for _ in range(100):
            if not self.peer.connection.streams:
                break
            await asyncio.sleep(0)
        told = self.peer.told()
        trailers = dict(Decoder(16_384, 100).decode([one for kind, _, _, one in told if kind == frames.HEADERS][-1]))
        assert self.in_flight.count == 0
        return int(trailers[b"grpc-status"]), [one[5:] for kind, _, _, one in told if kind == frames.DATA]


def request(
    rows: int = 1, *, typed: bool = False, both: bool = False, more: bytes = b"", datatype: str = "FP32"
) -> bytes:
    numbers = struct.pack(f"<{3 * rows}f", *range(3 * rows))
    contents = write_bytes(5, write_bytes(6, numbers)) if typed or both else b""
    tensor = write_text(1, "input") + write_text(2, datatype) + write_numbers(3, (rows, 3)) + contents
    raw = b"" if typed else write_bytes(7, numbers)
    return write_text(1, "churn") + more + write_bytes(5, tensor) + raw


def values(answer: bytes, number: int) -> list[bytes]:
    return [bytes(one.content) for one in protobuf.fields(memoryview(answer)) if one.number == number]


@pytest.mark.anyio
async def test_the_short_way_answers_as_the_long_way_does() -> None:
    served = Served()
    answers = [(await served.ask(b"ModelInfer", request(2, more=write_text(3, f"id{n}")))) for n in range(3)]

    assert [status for status, _ in answers] == [0, 0, 0]
    assert [values(told[0], 3) for _, told in answers] == [[b"id0"], [b"id1"], [b"id2"]]
    assert len({tuple(values(told[0], 6)) for _, told in answers}) == 1


def test_heads_that_say_the_same_share_what_is_known_until_the_next_plan() -> None:
    plane = Served().plane
    accesses = Accesses(plane, SystemClock())

    def access(timeout_s: float = 0.0, project: bytes = b"default") -> Access:
        metadata = {b"authorization": f"Bearer {TOKEN}".encode(), b"x-sill-project": project}
        one = Head("/x", "localhost", metadata)
        one.timeout_s = timeout_s
        return accesses.of(one)

    first = access()
    assert access(timeout_s=3.0) is first
    assert access(project=b"other") is not first
    plane.generation += 1
    assert access() is not first


@pytest.mark.anyio
async def test_a_known_call_that_is_taken_back_makes_room_once() -> None:
    served = Served()
    await served.ask(b"ModelInfer", request())
    block = encode(head((b"authorization", f"Bearer {TOKEN}".encode()), path=SERVICE + b"ModelInfer"))
    for stream in (3, 5):
        served.peer.frame(frames.HEADERS, frames.END_HEADERS, stream, block)
        served.peer.frame(frames.DATA, frames.END_STREAM, stream, message(request()))
    assert served.in_flight.count == 2
    served.peer.frame(frames.RST_STREAM, 0, 3, struct.pack(">I", 8))
    assert served.in_flight.count == 1
    await asyncio.sleep(0)
    await asyncio.sleep(0)

    assert served.in_flight.count == 0


@pytest.mark.anyio
async def test_typed_contents_are_answered_typed() -> None:
    served = Served()
    _, [raw] = await served.ask(b"ModelInfer", request())
    _, [typed] = await served.ask(b"ModelInfer", request(typed=True))

    assert values(raw, 6)
    assert not values(typed, 6)
    assert values(values(typed, 5)[0], 5)


@pytest.mark.anyio
@pytest.mark.parametrize(
    "content",
    [
        request(both=True),
        request(datatype="FP33"),
        request() + write_bytes(7, b"more"),
        request()[:-1],
        write_text(1, "churn"),
        request(more=write_text(2, "one")),
        request(more=write_parameters(4, {f"p{n}": n for n in range(1_001)})),
        request(more=write_parameters(4, {"shared_memory_region": "x"})),
        b"\x0b" * 1_000,
    ],
)
async def test_what_cannot_be_right_is_an_invalid_argument(content: bytes) -> None:
    status, told = await Served().ask(b"ModelInfer", content)

    assert status in (3, 5)
    assert told == []


@pytest.mark.anyio
async def test_nobody_and_nothing_are_told_apart() -> None:
    served = Served()

    assert (await served.ask(b"ModelInfer", request(), token="sill_nobody"))[0] == 16
    assert (await served.ask(b"ModelMetadata", write_text(1, "nothing")))[0] == 5
    assert (await served.ask(b"ModelReady", write_text(1, "nothing"))) == (0, [b""])
    assert (await served.ask(b"ModelReady", write_text(1, "churn"))) == (0, [b"\x08\x01"])
    assert (await served.ask(b"SystemSharedMemoryStatus", b""))[0] == 12
    assert (await served.ask(b"RepositoryModelLoad", write_text(2, "churn")))[0] == 7


@pytest.mark.anyio
@pytest.mark.parametrize("method", [b"ServerMetadata", b"ModelMetadata", b"ModelConfig", b"ModelStatistics"])
async def test_models_are_described(method: bytes) -> None:
    status, [told] = await Served().ask(method, write_text(1, "churn"))

    assert status == 0
    assert b"churn" in told or b"sill" in told


@pytest.mark.anyio
async def test_an_error_in_a_stream_is_an_answer_of_it() -> None:
    status, [told] = await Served().ask(b"ModelStreamInfer", request(datatype="FP33", more=write_text(3, "odd")))

    assert status == 0
    assert b"FP33" in values(told, 1)[0]
    assert values(values(told, 2)[0], 3) == [b"odd"]


@pytest.mark.anyio
async def test_a_call_that_is_taken_back_leaves_no_trace() -> None:
    served = Served()
    block = encode(head((b"authorization", f"Bearer {TOKEN}".encode()), path=SERVICE + b"ModelInfer"))
    for stream in range(1, 2_001, 2):
        served.peer.frame(frames.HEADERS, frames.END_HEADERS, stream, block)
        served.peer.frame(frames.DATA, frames.END_STREAM, stream, message(request()))
        served.peer.send(frames.rst_stream(stream, frames.Code.CANCEL))
    await asyncio.sleep(0)

    assert served.in_flight.count == 0
    assert not served.peer.connection.streams
