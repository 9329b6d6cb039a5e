"""gRPC as the real process serves it: over TLS, and to its end, which running calls outlive."""

import signal
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from sill.protocols import protobuf
from sill.protocols.grpc import frames
from sill.protocols.grpc.frames import GOAWAY, Code
from sill.protocols.protobuf import write_bytes, write_numbers, write_text
from sill.testing.certificates import client_context, make_certificate
from sill.testing.grpc_client import READY, STREAM, GrpcLine
from sill.testing.repeating_model import SIGNATURE, repeating
from sill.testing.serving_models import make_signer
from sill.testing.serving_plane import ControlStandIn, InferenceUnderTest, serving
from sill.testing.serving_zoo import Zoo


@pytest.fixture
def zoo(tmp_path: Path) -> Zoo:
    found = Zoo(make_signer(tmp_path))
    found.add("repeat", repeating(), SIGNATURE, "python")
    return found


@pytest.fixture
def plane(zoo: Zoo, tmp_path: Path) -> Iterator[InferenceUnderTest]:
    with serving(tmp_path, zoo.plan(), zoo.bundles, InferenceUnderTest) as found:
        yield found


def question(values: tuple[int, ...], delay_ms: int) -> bytes:
    """Values to repeat, one a part."""
    content = write_text(1, "repeat")
    for name in ("IN", "DELAY_MS"):
        content += write_bytes(5, write_text(1, name) + write_text(2, "INT32") + write_numbers(3, (len(values),)))
    for numbers in (values, (delay_ms,) * len(values)):
        content += write_bytes(7, struct.pack(f"<{len(numbers)}i", *numbers))
    return content


def parts(messages: list[bytes]) -> list[int]:
    """The values that came back."""
    answers = [bytes(one.content) for told in messages for one in protobuf.fields(memoryview(told)) if one.number == 2]
    raw = [[bytes(one.content) for one in protobuf.fields(memoryview(told)) if one.number == 6] for told in answers]
    return [struct.unpack("<i", one[0])[0] for one in raw if one]


def test_a_process_that_is_told_to_end_answers_the_calls_that_run(plane: InferenceUnderTest) -> None:
    assert plane.process is not None
    with GrpcLine(plane.port + 1) as line:
        stream = line.begin(STREAM)
        line.write(stream, question((1, 2, 3, 4), 200))
        line.ask(write_text(1, "repeat"), READY)
        plane.process.send_signal(signal.SIGTERM)
        while (told := line.read()) is not None and told[0] != GOAWAY:
            pass
        assert told is not None
        assert frames.long_at(told[3][4:]) == Code.NO_ERROR

        assert line.answer(line.begin(READY))[0] == -Code.REFUSED_STREAM
        status, messages = line.answer(stream)
        assert (status, parts(messages)[-1]) == (0, 4)
        assert line.read() is None
    assert plane.process.wait(20) == 0


def test_grpc_timeout_ends_a_stream_by_an_error_of_its_own(plane: InferenceUnderTest) -> None:
    with GrpcLine(plane.port + 1) as line:
        status, messages = line.ask(question((1,) * 1_000, 10), STREAM, (b"grpc-timeout", b"200m"))

    assert status == 0
    assert 1 <= len(parts(messages)) < 1_000
    assert b"deadline" in messages[-1]


def test_with_a_certificate_only_http2_over_tls_is_answered(zoo: Zoo, tmp_path: Path) -> None:
    cert, key = make_certificate(tmp_path)

    def secured(home: Path, control: ControlStandIn) -> InferenceUnderTest:
        return InferenceUnderTest(home, control).secure(cert, key)

    with serving(tmp_path, zoo.plan(), zoo.bundles, secured) as plane:
        with GrpcLine(plane.port + 1, client_context(cert, "h2")) as line:
            assert line.ask(write_text(1, "repeat"), READY) == (0, [b"\x08\x01"])
        with GrpcLine(plane.port + 1, client_context(cert, "http/1.1")) as line:
            assert line.read() is None
        with GrpcLine(plane.port + 1) as plain:
            assert plain.read() is None
        assert plane.http.get("/v2/models/repeat/ready").status_code == 200
