"""gRPC over HTTP/2 as the load generator speaks it: unary calls, one at a time on a connection.

Headers go into the server's table with the first call and are named by their places in it afterwards, as gRPC's own
clients do. Windows for answers are opened wide once; the server's window is minded. Sources: RFC 9113, RFC 7541 §6.
"""

import struct

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
ACK, END_STREAM, END_HEADERS = 0x1, 0x1, 0x4
WINDOW_MAX = 2**31 - 1
WINDOW_FIRST = 65_535
FRAME_MAX = 16_384
INITIAL_WINDOW_SIZE = 4
_POST, _SCHEME_HTTP = b"\x83", b"\x86"  # places in HPACK's own table
_DYNAMIC_FIRST = 62


class Grpc:
    """One connection. See `load_http.Http` for what is asked of it.

    Attributes:
        failed: calls that brought no message.
        body: what the last call brought, as it came.
    """

    def __init__(self, path: str, headers: dict[str, str], body: bytes, port: int) -> None:
        named = {":path": path, ":authority": f"127.0.0.1:{port}", "te": "trailers", **headers}
        named.setdefault("content-type", "application/grpc")
        self._first = _POST + _SCHEME_HTTP + b"".join(_indexed(name, value) for name, value in named.items())
        places = range(_DYNAMIC_FIRST + len(named) - 1, _DYNAMIC_FIRST - 1, -1)
        self._later = _POST + _SCHEME_HTTP + bytes(0x80 | place for place in places)
        self._message = b"\0" + struct.pack(">I", len(body)) + body
        self._stream = -1
        self._window = WINDOW_FIRST
        self._came = b""
        self._has_message = False
        self._waits = b""
        self.failed = 0
        self.to_send = b""
        self.body = b""

    def request(self) -> bytes:
        """The next call; empty while the server's window is shut (it is in `to_send` once that opens)."""
        self._stream += 2
        self._has_message = False
        self.body = b""
        head = frame(HEADERS, END_HEADERS, self._stream, self._first if self._stream == 1 else self._later)
        call = head + _data(self._message, self._stream)
        if self._stream == 1:
            call = self._opening() + call
        if self._window < len(self._message):
            self._waits = call
            return b""
        self._window -= len(self._message)
        return call

    def hear(self, data: bytes) -> bool:
        """Take what came; true if the call has ended."""
        data = self._came + data if self._came else data
        at, size, has_ended = 0, len(data), False
        while size - at >= 9:
            length = int.from_bytes(data[at : at + 3], "big")
            if size - at < 9 + length:
                break
            kind, flags = data[at + 3], data[at + 4]
            stream = int.from_bytes(data[at + 5 : at + 9], "big")
            has_ended |= self._take(kind, flags, stream, data[at + 9 : at + 9 + length])
            at += 9 + length
        self._came = data[at:]
        return has_ended

    def _take(self, kind: int, flags: int, stream: int, payload: bytes) -> bool:
        if kind == DATA:
            self._has_message |= len(payload) > 5
            self.body += payload
        elif kind == WINDOW_UPDATE and stream == 0:
            self._open(int.from_bytes(payload, "big"))
        elif kind == SETTINGS and not flags & ACK:
            self.to_send += frame(SETTINGS, ACK, 0, b"")
        elif kind == PING and not flags & ACK:
            self.to_send += frame(PING, ACK, 0, payload)
        elif kind == GOAWAY:
            raise ConnectionError(f"the server said goodbye: {payload[8:].decode(errors='replace')}")
        if kind == RST_STREAM or (kind in (DATA, HEADERS) and flags & END_STREAM and stream == self._stream):
            self.failed += not self._has_message
            return True
        return False

    def _open(self, more: int) -> None:
        self._window += more
        if self._waits and self._window >= len(self._message):
            self._window -= len(self._message)
            self.to_send += self._waits
            self._waits = b""

    def _opening(self) -> bytes:
        wide = struct.pack(">HI", INITIAL_WINDOW_SIZE, WINDOW_MAX)
        more = struct.pack(">I", WINDOW_MAX - WINDOW_FIRST)
        return b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(SETTINGS, 0, 0, wide) + frame(WINDOW_UPDATE, 0, 0, more)


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """One HTTP/2 frame."""
    return struct.pack(">I", len(payload))[1:] + bytes((kind, flags)) + struct.pack(">I", stream) + payload


def _data(message: bytes, stream: int) -> bytes:
    """A message in frames as large as any server takes; the last ends the stream. It must fit the stream's window."""
    pieces = [message[at : at + FRAME_MAX] for at in range(0, len(message), FRAME_MAX)]
    last = len(pieces) - 1
    return b"".join(frame(DATA, END_STREAM if n == last else 0, stream, piece) for n, piece in enumerate(pieces))


def _indexed(name: str, value: str) -> bytes:
    """A header that the server is to put into its table, without Huffman coding."""
    return b"\x40" + _text(name.encode()) + _text(value.encode())


def _text(content: bytes) -> bytes:
    """A string's length, in HPACK's integers of seven bits, and the string."""
    length = len(content)
    if length < 127:
        return bytes((length,)) + content
    coded, rest = b"\x7f", length - 127
    while rest >= 128:
        coded += bytes((rest % 128 + 128,))
        rest //= 128
    return coded + bytes((rest,)) + content
