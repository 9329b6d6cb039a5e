"""HTTP/2 frames as bytes, and the faults that end a connection or a stream. Source: RFC 9113, sections 4, 6 and 7."""

from enum import IntEnum
from struct import Struct

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM = ACK = 0x1
END_HEADERS = 0x4
PADDED = 0x8
PRIORITISED = 0x20

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
FRAME_HEAD = Struct(">HBBBL")
"""Upper and lower part of the length, kind, flags, stream."""
FRAME_HEAD_BYTES = 9
FRAME_BYTES_MAX = 16_384
"""Largest frame we take: the smallest limit the standard allows, and its default."""
FRAME_BYTES_LIMIT = 2**24 - 1
WINDOW_MAX = 2**31 - 1
WINDOW_DEFAULT = 65_535
STREAM_MASK = 2**31 - 1

HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE, MAX_HEADER_LIST_SIZE = (
    range(1, 7)
)
_SETTING = Struct(">HL")
_LONG = Struct(">L")


class Code(IntEnum):
    """Error codes. Source: RFC 9113, section 7."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
    FLOW_CONTROL_ERROR = 3
    SETTINGS_TIMEOUT = 4
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    ENHANCE_YOUR_CALM = 11


class ConnectionFault(Exception):
    """The peer did what ends the connection."""

    def __init__(self, code: Code, why: str) -> None:
        super().__init__(why)
        self.code = code
        self.why = why


class StreamFault(Exception):
    """The peer did what ends one stream."""

    def __init__(self, stream_id: int, code: Code) -> None:
        super().__init__(code.name)
        self.stream_id = stream_id
        self.code = code


def frame(kind: int, flags: int, stream_id: int, content: bytes | memoryview = b"") -> bytes:
    """A whole frame."""
    size = len(content)
    return FRAME_HEAD.pack(size >> 8, size & 0xFF, kind, flags, stream_id) + content


def settings(values: dict[int, int]) -> bytes:
    """A SETTINGS frame."""
    return frame(SETTINGS, 0, 0, b"".join(_SETTING.pack(name, value) for name, value in values.items()))


def read_settings(content: bytes) -> list[tuple[int, int]]:
    """Names and values, in their order, of a frame whose length was checked."""
    return [_SETTING.unpack_from(content, at) for at in range(0, len(content), _SETTING.size)]


def window_update(stream_id: int, more: int) -> bytes:
    """So many more bytes may be sent to us."""
    return frame(WINDOW_UPDATE, 0, stream_id, _LONG.pack(more))


def rst_stream(stream_id: int, code: Code) -> bytes:
    """The stream ends here."""
    return frame(RST_STREAM, 0, stream_id, _LONG.pack(code))


def goaway(last_stream_id: int, code: Code, why: str = "") -> bytes:
    """No stream beyond the last will be answered."""
    return frame(GOAWAY, 0, 0, _LONG.pack(last_stream_id) + _LONG.pack(code) + why.encode())


def long_at(content: bytes) -> int:
    """The first four bytes as a number, without the reserved bit."""
    return int(_LONG.unpack_from(content)[0]) & STREAM_MASK


def unpadded(content: bytes, flags: int) -> bytes:
    """A frame's content without its padding and, of HEADERS, its priority.

    Raises:
        ConnectionFault: the padding is as long as the content, or longer.
    """
    start, stop = 0, len(content)
    if flags & PADDED:
        if not content:
            raise ConnectionFault(Code.FRAME_SIZE_ERROR, "a padded frame without its padding's length")
        start, stop = 1, stop - content[0]
    if stop < start:
        raise ConnectionFault(Code.PROTOCOL_ERROR, "more padding than content")
    return content[start:stop]
