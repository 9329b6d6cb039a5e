"""A gRPC connection without a network: what a client sends it frame by frame, and the frames it writes."""

from typing import Any

from sill.protocols.grpc import frames
from sill.protocols.grpc.connection import Connection
from sill.protocols.grpc.heads import Head
from sill.protocols.grpc.hpack import encode
from sill.protocols.grpc.limits import GrpcLimits
from sill.protocols.grpc.port import Call, Service
from sill.protocols.grpc.server import GrpcServer
from sill.protocols.grpc.status import CallError, Status
from sill.safety.limits import MemoryBudget

HEAD = [
    (b":method", b"POST"),
    (b":scheme", b"http"),
    (b":path", b"/test/Echo"),
    (b":authority", b"localhost"),
    (b"content-type", b"application/grpc"),
]


class Echo:
    """Answers what it is asked; a stream, message by message."""

    def __init__(self, *, is_streaming: bool = False) -> None:
        self.is_streaming = is_streaming
        self.calls: list[Call] = []
        self.cancelled_calls = 0
        self.holds = False

    def admit(self, head: Head) -> None:
        if b"refuse" in head.metadata:
            raise CallError(Status.UNAUTHENTICATED, "no")

    def message(self, call: Call, content: bytes) -> None:
        call.state = self
        self.calls.append(call)
        if content == b"break":
            raise RuntimeError
        if self.is_streaming:
            call.send(content)
            call.taken(len(content))
        elif not self.holds:
            call.reply(content)

    def half_closed(self, call: Call) -> None:
        call.end()

    def cancelled(self, call: Call) -> None:
        self.cancelled_calls += 1


class Methods:
    def __init__(self) -> None:
        self.echo, self.stream = Echo(), Echo(is_streaming=True)

    def find(self, path: str) -> Any:
        if path == "/test/Stream":
            return self.stream
        if path != "/test/Echo":
            raise CallError(Status.UNIMPLEMENTED, "not known")
        return self.echo

    def check(self, head: Head) -> None:
        """Any name will do."""


class Transport:
    def __init__(self) -> None:
        self.written = b""
        self.is_closed = False

    def get_extra_info(self, name: str) -> Any:
        return ("127.0.0.1", 1) if name == "peername" else None

    def set_write_buffer_limits(self, high: int) -> None:
        """Not of interest."""

    def pause_reading(self) -> None:
        """Nothing is read by itself."""

    resume_reading = pause_reading

    def write(self, content: bytes) -> None:
        self.written += content

    def close(self) -> None:
        self.is_closed = True

    abort = close

    def is_closing(self) -> bool:
        return self.is_closed


class Peer:
    """A client's end, one frame after another."""

    def __init__(self, limits: GrpcLimits, service: Service | None = None, memory: MemoryBudget | None = None) -> None:
        self.methods = Methods()
        self.house = GrpcServer(service or self.methods, limits, memory)
        self.connection = Connection(self.house)
        self.transport = Transport()
        self.connection.connection_made(self.transport)

    def greet(self, values: dict[int, int] | None = None) -> "Peer":
        self.send(frames.PREFACE + frames.settings(values or {}))
        self.told()
        return self

    def send(self, content: bytes) -> "Peer":
        self.connection.data_received(content)
        return self

    def frame(self, kind: int, flags: int = 0, stream_id: int = 0, content: bytes = b"") -> "Peer":
        return self.send(frames.frame(kind, flags, stream_id, content))

    def call(self, stream_id: int, content: bytes | None = b"hi", **more: Any) -> "Peer":
        self.frame(frames.HEADERS, frames.END_HEADERS, stream_id, encode(head(**more)))
        if content is not None:
            self.frame(frames.DATA, frames.END_STREAM, stream_id, message(content))
        return self

    def told(self) -> list[tuple[int, int, int, bytes]]:
        """(kind, flags, stream, content) of what was written since."""
        written, self.transport.written = self.transport.written, b""
        found, at = [], 0
        while at < len(written):
            high, low, kind, flags, stream_id = frames.FRAME_HEAD.unpack_from(written, at)
            stop = at + 9 + (high << 8 | low)
            found.append((kind, flags, stream_id, written[at + 9 : stop]))
            at = stop
        return found

    def goaway(self) -> int | None:
        """The code the connection ended with, if it did."""
        return next((frames.long_at(c[4:]) for kind, _, _, c in self.told() if kind == frames.GOAWAY), None)

    def reset(self) -> int | None:
        """The code a stream was ended with, if one was."""
        return next((frames.long_at(c) for kind, _, _, c in self.told() if kind == frames.RST_STREAM), None)


def message(content: bytes, packed: int = 0) -> bytes:
    return bytes((packed,)) + len(content).to_bytes(4, "big") + content


def head(*more: tuple[bytes, bytes], path: bytes = b"/test/Echo") -> list[tuple[bytes, bytes]]:
    return [(name, path if name == b":path" else value) for name, value in HEAD] + list(more)
