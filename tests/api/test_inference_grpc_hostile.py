"""Hostile gRPC clients against the real process: each is refused and cut off; another client's calls go on meanwhile.

SECURITY B16, B17, B57, B59: rapid reset, floods of frames without calls, endless heads, bombs, messages over the limit.
"""

import gzip
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from sill.protocols.grpc import frames
from sill.protocols.grpc.frames import CONTINUATION, DATA, END_HEADERS, HEADERS, PING, PRIORITY, Code
from sill.protocols.grpc.hpack import encode
from sill.protocols.protobuf import write_bytes, write_numbers, write_text
from sill.testing.grpc_client import INFER, GrpcLine
from sill.testing.serving_models import SIGNATURE, classifier, make_signer
from sill.testing.serving_plane import InferenceUnderTest, serving
from sill.testing.serving_zoo import Zoo

CHUNK = 400
CHUNKS_MAX = 200
MIB = 1024 * 1024
GROWTH_BYTES_MAX = 64 * MIB


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InferenceUnderTest]:
    folder: Path = tmp_path_factory.mktemp("hostile")
    zoo = Zoo(make_signer(folder))
    zoo.add("churn", classifier(), SIGNATURE)
    with serving(folder, zoo.plan(), zoo.bundles, InferenceUnderTest) as found:
        yield found


@pytest.fixture
def line(plane: InferenceUnderTest) -> Iterator[GrpcLine]:
    """The hostile client's."""
    with GrpcLine(plane.port + 1) as found:
        yield found


@pytest.fixture
def other(plane: InferenceUnderTest) -> Iterator[GrpcLine]:
    """A good client's."""
    with GrpcLine(plane.port + 1) as found:
        yield found


def question(shape: tuple[int, ...] = (1, 3), raw: bytes = struct.pack("<3f", 1, 2, 3)) -> bytes:
    tensor = write_text(1, "input") + write_text(2, "FP32") + write_numbers(3, shape)
    return write_text(1, "churn") + write_bytes(5, tensor) + write_bytes(7, raw)


def memory(plane: InferenceUnderTest) -> int:
    assert plane.process is not None
    return int(psutil.Process(plane.process.pid).memory_info().rss)


def resets(line: GrpcLine) -> bytes:
    """A call that is begun and taken back."""
    return frames.rst_stream(line.begin(INFER), Code.CANCEL)


FLOODS: dict[str, Callable[[GrpcLine], bytes]] = {
    "rapid reset": lambda line: b"".join(resets(line) for _ in range(CHUNK)),
    "resets of what is over": lambda line: resets(line) + frames.rst_stream(1, Code.CANCEL) * CHUNK,
    "pings": lambda line: frames.frame(PING, 0, 0, bytes(8)) * CHUNK,
    "settings": lambda line: frames.settings({}) * CHUNK,
    "priorities": lambda line: frames.frame(PRIORITY, 0, 3, bytes(5)) * CHUNK,
    "frames of no kind": lambda line: frames.frame(0x42, 0, 0, b"x") * CHUNK,
    "windows": lambda line: frames.window_update(0, 1) * CHUNK,
}


AT_ONCE = ("rapid reset", "pings")
"""The others are in `tests/protocols/grpc` as well, without a process, and here in the slow suite."""


@pytest.mark.parametrize(
    "flood", [one if one in AT_ONCE else pytest.param(one, marks=pytest.mark.slow) for one in FLOODS]
)
def test_a_flood_is_cut_off_and_others_are_answered(
    flood: str, plane: InferenceUnderTest, line: GrpcLine, other: GrpcLine
) -> None:
    before, chunks = memory(plane), 0
    with suppress(ConnectionError):
        while chunks < CHUNKS_MAX:
            line.send(FLOODS[flood](line))
            assert other.ask(question())[0] == 0
            chunks += 1

    assert chunks < CHUNKS_MAX
    assert line.goaway() in (Code.ENHANCE_YOUR_CALM, None)  # None: it went with what we sent behind it
    assert memory(plane) - before < GROWTH_BYTES_MAX


def test_empty_data_without_end_is_cut_off(line: GrpcLine, other: GrpcLine) -> None:
    stream = line.begin(INFER)
    with suppress(ConnectionError):
        for _ in range(100):
            line.send(frames.frame(DATA, 0, stream) * CHUNK)

    assert line.goaway() in (Code.ENHANCE_YOUR_CALM, None)
    assert other.ask(question())[0] == 0


def test_a_head_without_end_is_cut_off(line: GrpcLine, other: GrpcLine) -> None:
    line.send(frames.frame(HEADERS, 0, 1, b""))
    with suppress(ConnectionError):
        for _ in range(100):
            line.send(frames.frame(CONTINUATION, 0, 1, bytes(100)))

    assert line.goaway() in (Code.ENHANCE_YOUR_CALM, None)
    assert other.ask(question())[0] == 0


def test_a_bomb_of_references_is_refused_by_its_status(line: GrpcLine, other: GrpcLine) -> None:
    """One large field in HPACK's table, then thousands of references to it, one byte each."""
    large = encode([(b":method", b"POST")]) + b"\x40\x01a\x7f\x81\x16" + b"x" * 2_944
    line.send(frames.frame(HEADERS, END_HEADERS, 1, large + b"\xbe" * 10_000))

    assert line.answer(1)[0] == 8
    assert other.ask(question())[0] == 0


def test_a_message_over_the_limit_is_refused_before_it_is_kept(
    plane: InferenceUnderTest, line: GrpcLine, other: GrpcLine
) -> None:
    """B59: a message of 3 GB is announced, a kilobyte of it comes."""
    before = memory(plane)
    stream = line.begin(INFER)
    line.send(frames.frame(DATA, 0, stream, b"\0" + (3 << 30).to_bytes(4, "big") + bytes(1_000)))

    assert line.answer(stream)[0] == 8
    assert other.ask(question())[0] == 0
    assert memory(plane) - before < GROWTH_BYTES_MAX


def test_a_packed_bomb_is_refused(plane: InferenceUnderTest, line: GrpcLine, other: GrpcLine) -> None:
    """B15: 200 MiB of zeros in 200 KiB."""
    before, bomb = memory(plane), gzip.compress(bytes(200 * MIB), 1)
    for _ in range(3):
        stream = line.begin(INFER, (b"grpc-encoding", b"gzip"))
        line.write(stream, bomb, packed=1)
        assert other.ask(question())[0] == 0
        assert line.answer(stream)[0] in (8, -Code.NO_ERROR)

    assert memory(plane) - before < 2 * GROWTH_BYTES_MAX


@pytest.mark.parametrize("shape", [(2**30, 3), (2**62, 2**62), (-1, 3), (1,) * 9])
def test_a_shape_that_is_a_lie_is_refused(shape: tuple[int, ...], line: GrpcLine) -> None:
    """B51, B59: ten gigabytes are declared, twelve bytes sent."""
    assert line.ask(question(shape))[0] == 3


def test_a_sparse_payload_is_no_tensor(line: GrpcLine) -> None:
    """B58: dense buffers only; another count of bytes, or a kind of tensor that is none, is refused."""
    tensor = write_text(1, "input") + write_text(2, "SPARSE_COO") + write_numbers(3, (1, 3))

    assert line.ask(write_text(1, "churn") + write_bytes(5, tensor) + write_bytes(7, bytes(12)))[0] == 3
    assert line.ask(question(raw=bytes(11)))[0] == 3
    assert line.ask(question(raw=b"(2,3)[0]=1"))[0] == 3


@pytest.mark.slow
def test_a_client_that_reads_nothing_holds_no_other_up(plane: InferenceUnderTest, other: GrpcLine) -> None:
    before = memory(plane)
    with GrpcLine(plane.port + 1, settings={frames.INITIAL_WINDOW_SIZE: 2**31 - 1}) as line:
        line.send(frames.window_update(0, 2**31 - 1 - frames.WINDOW_DEFAULT))
        rows = question((10_000, 3), bytes(120_000))
        line.socket.settimeout(0.5)
        with suppress(TimeoutError):
            for _ in range(2_000):
                line.write(line.begin(INFER), rows)
        for _ in range(20):
            assert other.ask(question())[0] == 0
        assert memory(plane) - before < 4 * GROWTH_BYTES_MAX
