"""A gRPC client on a real socket, small enough to be told to misbehave: frames out, frames in, nothing hidden."""

import socket
import ssl
from contextlib import suppress

from sill.protocols.grpc import frames
from sill.protocols.grpc.frames import ACK, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, RST_STREAM, SETTINGS
from sill.protocols.grpc.hpack import Decoder, Header, encode
from sill.testing.grpc_peer import message
from sill.testing.serving_models import TOKEN

INFER = b"/inference.GRPCInferenceService/ModelInfer"
STREAM = b"/inference.GRPCInferenceService/ModelStreamInfer"
READY = b"/inference.GRPCInferenceService/ModelReady"

Frame = tuple[int, int, int, bytes]
"""Kind, flags, stream, content."""


class GrpcLine:
    """One connection.

    Args:
        tls: None for plain HTTP/2 with prior knowledge.
        settings: of HTTP/2, such as a window of one's own.
    """

    def __init__(self, port: int, tls: ssl.SSLContext | None = None, settings: dict[int, int] | None = None) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_hostname="localhost")
        self._unread = b""
        self._next_id = 1
        self._decoder = Decoder(1 << 20, 1_000)
        self.send(frames.PREFACE + frames.settings(settings or {}))

    def send(self, content: bytes) -> None:
        self.socket.sendall(content)

    def begin(self, path: bytes, *more: Header, token: str = TOKEN) -> int:
        """A call's head; its stream."""
        stream, self._next_id = self._next_id, self._next_id + 2
        fields: list[Header] = [
            *((b":method", b"POST"), (b":scheme", b"http"), (b":path", path), (b":authority", b"localhost")),
            *(
                (b"content-type", b"application/grpc"),
                (b"te", b"trailers"),
                (b"authorization", f"Bearer {token}".encode()),
            ),
            *more,
        ]
        self.send(frames.frame(HEADERS, END_HEADERS, stream, encode(fields)))
        return stream

    def write(self, stream: int, content: bytes, *, is_last: bool = True, packed: int = 0) -> None:
        """A message, in frames; what does not fit the server's window is sent all the same."""
        whole = message(content, packed)
        pieces = [whole[at : at + frames.FRAME_BYTES_MAX] for at in range(0, len(whole), frames.FRAME_BYTES_MAX)]
        for number, piece in enumerate(pieces, 1):
            self.send(frames.frame(DATA, END_STREAM if is_last and number == len(pieces) else 0, stream, piece))

    def read(self) -> Frame | None:
        """The next frame; None once the server has hung up."""
        head = self._exactly(frames.FRAME_HEAD_BYTES)
        if head is None:
            return None
        high, low, kind, flags, stream = frames.FRAME_HEAD.unpack(head)
        content = self._exactly(high << 8 | low)
        return None if content is None else (kind, flags, stream & frames.STREAM_MASK, content)

    def answer(self, stream: int) -> tuple[int, list[bytes]]:
        """Status and messages of a call; the status of its reset, as a number below 0; -100 if the server hung up."""
        received = b""
        while (told := self.read()) is not None:
            kind, flags, of, content = told
            if kind == HEADERS:
                fields = dict(self._decoder.decode(content))
                if of == stream and b"grpc-status" in fields:
                    return int(fields[b"grpc-status"]), split(received)
            elif kind == DATA and of == stream:
                received += content
                more = len(content) or 1
                self.send(frames.window_update(0, more) + frames.window_update(of, more))
            elif kind == RST_STREAM and of == stream:
                return -frames.long_at(content), split(received)
            elif kind == PING and not flags & ACK:
                self.send(frames.frame(PING, ACK, 0, content))
            elif kind == SETTINGS and not flags & ACK:
                self.send(frames.frame(SETTINGS, ACK, 0))
        return -100, split(received)

    def ask(self, content: bytes, path: bytes = INFER, *more: Header, token: str = TOKEN) -> tuple[int, list[bytes]]:
        """A whole call; see `answer`."""
        try:
            stream = self.begin(path, *more, token=token)
            self.write(stream, content)
        except ConnectionError:
            return -100, []
        return self.answer(stream)

    def goaway(self) -> int | None:
        """The code of the server's GOAWAY; None if it hung up without a word."""
        code = None
        while (told := self.read()) is not None:
            if told[0] == GOAWAY:
                code = frames.long_at(told[3][4:])
        return code

    def close(self) -> None:
        self.socket.close()

    def __enter__(self) -> "GrpcLine":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _exactly(self, size: int) -> bytes | None:
        while len(self._unread) < size:
            more = b""
            with suppress(ConnectionResetError, BrokenPipeError):
                more = self.socket.recv(65_536)
            if not more:
                return None
            self._unread += more
        found, self._unread = self._unread[:size], self._unread[size:]
        return found


def split(received: bytes) -> list[bytes]:
    """Messages out of what DATA frames held."""
    found = []
    while received:
        size = 5 + int.from_bytes(received[1:5], "big")
        found.append(received[5:size])
        received = received[size:]
    return found
