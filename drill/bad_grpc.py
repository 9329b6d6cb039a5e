"""Calls over gRPC that mean no good, each with the statuses it may get. Source: SECURITY, B15, B16, B51 to B61."""

import gzip
import select
import socket
import struct
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import cache
from typing import NamedTuple

from drill.bad_http import GONE, LEFT, LONG_BYTES, SENT_BYTES_MAX, TEXTS
from sill.protocols.grpc import frames
from sill.protocols.grpc.frames import CONTINUATION, DATA, GOAWAY, HEADERS, PING, RST_STREAM, SETTINGS, Code
from sill.protocols.grpc.hpack import Header
from sill.protocols.protobuf import write_bytes, write_numbers, write_text
from sill.testing.grpc_client import INFER, GrpcLine
from sill.testing.grpc_peer import message
from sill.testing.serving_zoo import ADMIN

CHUNK = 400
FLOODS_MAX = 200
TAKEN_BACK = 50
"""Calls of one connection that are begun and taken back at once."""
READS_NOTHING_CALLS = 200
GIB = 1024**3

Way = Callable[["Line"], str]


class Bad(NamedTuple):
    """A kind of call: what does it over a connection, and the statuses it may have."""

    way: Way
    told: Sequence[str]


class Line(GrpcLine):
    """A client that heeds the server's windows, so that a long message arrives."""

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SENT_BYTES_MAX)
        self._windows = {0: frames.WINDOW_DEFAULT}
        self._initial = frames.WINDOW_DEFAULT

    def begin(self, path: bytes, *more: Header, token: str = ADMIN) -> int:
        """As another one than the good client."""
        return super().begin(path, *more, token=token)

    def pour(self, content: bytes, *more: tuple[bytes, bytes], packed: int = 0) -> str:
        """A whole call with a message of any length; the status."""
        stream, whole, at = self.begin(INFER, *more), message(content, packed), 0
        while self._initial == frames.WINDOW_DEFAULT or self._windows[0] == frames.WINDOW_DEFAULT:
            if (told := self._heed(stream)) is not None:
                return told
        self._windows[stream] = self._initial
        while at < len(whole):
            room = min(self._windows[0], self._windows[stream], frames.FRAME_BYTES_MAX, len(whole) - at)
            if room <= 0 or self._has_news():
                if (told := self._heed(stream)) is not None:
                    return told
                continue
            is_last = at + room == len(whole)
            self.send(frames.frame(DATA, frames.END_STREAM if is_last else 0, stream, whole[at : at + room]))
            self._windows[0] -= room
            self._windows[stream] -= room
            at += room
        while (told := self._heed(stream)) is None:
            pass
        return told

    def told(self, stream: int) -> str:
        """The status of a call."""
        status = self.answer(stream)[0]
        return GONE if status < 0 else str(status)

    def _has_news(self) -> bool:
        return bool(self._unread) or bool(select.select([self.socket], [], [], 0)[0])

    def _heed(self, stream: int) -> str | None:
        """Take up one frame; the status, once it is known."""
        told = self.read()
        if told is None:
            return GONE
        kind, flags, of, content = told
        if kind == SETTINGS and not flags & frames.ACK:
            self._initial = dict(frames.read_settings(content)).get(frames.INITIAL_WINDOW_SIZE, self._initial)
            self.send(frames.frame(SETTINGS, frames.ACK, 0))
        elif kind == frames.WINDOW_UPDATE and of in self._windows:
            self._windows[of] += frames.long_at(content)
        elif kind == PING and not flags & frames.ACK:
            self.send(frames.frame(PING, frames.ACK, 0, content))
        elif kind == HEADERS and of == stream:
            fields = dict(self._decoder.decode(content))
            return fields[b"grpc-status"].decode() if b"grpc-status" in fields else None
        elif kind in (RST_STREAM, GOAWAY):
            return GONE
        return None


def question(
    shape: Sequence[int] = (1, 3),
    raw: bytes = struct.pack("<3f", 1, 2, 3),
    datatype: str = "FP32",
    model: str = "churn",
    name: str = "input",
    more: bytes = b"",
) -> bytes:
    """A message; `more` is written behind the input's own fields."""
    tensor = write_text(1, name) + write_text(2, datatype) + write_numbers(3, shape) + more
    return write_text(1, model) + write_bytes(5, tensor) + (write_bytes(7, raw) if raw else b"")


def _asks(content: Callable[[], bytes], *more: tuple[bytes, bytes], packed: int = 0) -> Way:
    made = cache(content)
    return lambda line: line.pour(made(), *more, packed=packed)


def _announced(line: Line) -> str:
    stream = line.begin(INFER)
    line.send(frames.frame(DATA, 0, stream, b"\0" + (3 * GIB).to_bytes(4, "big") + bytes(1_000)))
    return line.told(stream)


def _left_within(line: Line) -> str:
    stream = line.begin(INFER)
    line.send(frames.frame(DATA, 0, stream, b"\0" + LONG_BYTES.to_bytes(4, "big") + bytes(1_000)))
    return LEFT


def _taken_back(line: Line) -> str:
    for _ in range(TAKEN_BACK):
        stream = line.begin(INFER)
        line.write(stream, question())
        line.send(frames.rst_stream(stream, Code.CANCEL))
    return LEFT


def _reads_nothing(line: Line) -> str:
    """Many large answers are asked for, and none is read."""
    line.send(frames.window_update(0, 2**30))
    line.socket.settimeout(0.5)
    try:
        for _ in range(READS_NOTHING_CALLS):
            line.write(line.begin(INFER), question((10_000, 3), bytes(120_000)))
    except TimeoutError:
        pass
    return LEFT


def _floods(piece: Callable[[Line], bytes]) -> Way:
    def way(line: Line) -> str:
        try:
            for _ in range(FLOODS_MAX):
                line.send(piece(line))
            line.goaway()  # there is one, on its way still
        except ConnectionError:
            pass
        return GONE

    return way


def _fields(line: Line) -> str:
    """A million pairs of metadata: one large head without an end."""
    line.send(frames.frame(HEADERS, 0, 1, b""))
    pairs = b"\x00\x01a\x01b" * 2_000
    return _floods(lambda _: frames.frame(CONTINUATION, 0, 1, pairs))(line)


def _reset(line: Line) -> bytes:
    return b"".join(frames.rst_stream(line.begin(INFER), Code.CANCEL) for _ in range(CHUNK))


def _nested() -> bytes:
    found = b""
    for _ in range(1_000):
        found = write_bytes(2, found)
    return question(more=write_bytes(4, write_text(1, "deep") + write_bytes(2, found)))


def _typed() -> bytes:
    """As many numbers of one byte each as fit, of which there should be three."""
    return question(raw=b"", datatype="INT8", more=write_bytes(5, write_bytes(2, bytes(LONG_BYTES))))


def _texts() -> bytes:
    return question((TEXTS,), bytes(4 * TEXTS - 1), "BYTES", "texts", "INPUT0")


def _bomb() -> bytes:
    return gzip.compress(bytes(200 * 1024**2), 1)


BAD: dict[str, Bad] = {
    "B15 packed bomb": Bad(_asks(_bomb, (b"grpc-encoding", b"gzip"), packed=1), ("8", "13", GONE)),
    "B16 rapid reset": Bad(_floods(_reset), (GONE,)),
    "B16 pings": Bad(_floods(lambda _: frames.frame(PING, 0, 0, bytes(8)) * CHUNK), (GONE,)),
    "B51 shape": Bad(_asks(lambda: question((2**62, 2**62))), ("3",)),
    "B56 many texts, the last wrong": Bad(_asks(_texts), ("3",)),
    "B57 message over the limit": Bad(_announced, ("8",)),
    "B57 unknown datatype": Bad(_asks(lambda: question(datatype="FP33")), ("3", "12")),
    "B57 raw and typed": Bad(_asks(lambda: question(more=write_bytes(5, write_bytes(6, bytes(12))))), ("3",)),
    "B57 many typed numbers": Bad(_asks(_typed), ("3",)),
    "B57 a million pairs": Bad(_fields, (GONE,)),
    "B57 nested": Bad(_asks(_nested), ("3", "0")),
    "B58 sparse": Bad(_asks(lambda: question(raw=b"(2,3)[0]=1")), ("3",)),
    "B59 left within a message": Bad(_left_within, (LEFT,)),
    "B61 taken back": Bad(_taken_back, (LEFT, GONE)),
    "reads nothing": Bad(_reads_nothing, (LEFT, GONE)),
}
"""By name."""


def ask(name: str, port: int) -> str:
    """Call once in the way of that name, over a connection of its own; the status, `GONE` or `LEFT`."""
    try:
        with closing(Line(port)) as line:
            return BAD[name].way(line)
    except (ConnectionError, TimeoutError):
        return GONE
