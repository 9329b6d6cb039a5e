"""Header blocks to header lists and back. Source: RFC 7541. Ours are written without the dynamic table.

Most blocks of a client that stays are equal, byte for byte, and leave the table as it was: such a block means what it
meant before, as long as `Decoder.version` does not change.
"""

from collections import deque

from sill.protocols.grpc.frames import Code, ConnectionFault
from sill.protocols.grpc.huffman import decode as huffman

TABLE_BYTES_MAX = 4_096
ENTRY_BYTES = 32
"""What an entry counts for besides its texts."""
INTEGER_BYTES_MAX = 5

Header = tuple[bytes, bytes]

STATIC: tuple[Header, ...] = (
    *((b":authority", b""), (b":method", b"GET"), (b":method", b"POST"), (b":path", b"/"), (b":path", b"/index.html")),
    *((b":scheme", b"http"), (b":scheme", b"https"), (b":status", b"200"), (b":status", b"204"), (b":status", b"206")),
    *((b":status", b"304"), (b":status", b"400"), (b":status", b"404"), (b":status", b"500"), (b"accept-charset", b"")),
    *((b"accept-encoding", b"gzip, deflate"), (b"accept-language", b""), (b"accept-ranges", b""), (b"accept", b"")),
    *((b"access-control-allow-origin", b""), (b"age", b""), (b"allow", b""), (b"authorization", b"")),
    *((b"cache-control", b""), (b"content-disposition", b""), (b"content-encoding", b""), (b"content-language", b"")),
    *((b"content-length", b""), (b"content-location", b""), (b"content-range", b""), (b"content-type", b"")),
    *((b"cookie", b""), (b"date", b""), (b"etag", b""), (b"expect", b""), (b"expires", b""), (b"from", b"")),
    *((b"host", b""), (b"if-match", b""), (b"if-modified-since", b""), (b"if-none-match", b""), (b"if-range", b"")),
    *((b"if-unmodified-since", b""), (b"last-modified", b""), (b"link", b""), (b"location", b"")),
    *((b"max-forwards", b""), (b"proxy-authenticate", b""), (b"proxy-authorization", b""), (b"range", b"")),
    *((b"referer", b""), (b"refresh", b""), (b"retry-after", b""), (b"server", b""), (b"set-cookie", b"")),
    *((b"strict-transport-security", b""), (b"transfer-encoding", b""), (b"user-agent", b""), (b"vary", b"")),
    *((b"via", b""), (b"www-authenticate", b"")),
)


class HeaderListTooLarge(Exception):
    """The block was read, so that the table is right, and its list is longer than allowed."""


class Decoder:
    """One direction of one connection.

    Args:
        list_bytes_max: of one list, each field counted with `ENTRY_BYTES`.
        count_max: fields of one list.
    """

    def __init__(self, list_bytes_max: int, count_max: int) -> None:
        self._list_bytes_max = list_bytes_max
        self._count_max = count_max
        self._table: deque[Header] = deque()
        self._table_bytes = 0
        self._table_bytes_max = TABLE_BYTES_MAX
        self.version = 0
        """Rises when the table changes."""

    def decode(self, block: bytes) -> list[Header]:
        """The fields, in their order.

        Raises:
            ConnectionFault: the block is malformed; the table is lost with it.
            HeaderListTooLarge: the list is longer than allowed.
        """
        found: list[Header] = []
        at, size, list_bytes = 0, len(block), 0
        may_resize = True
        while at < size:
            first = block[at]
            if first & 0xE0 == 0x20:
                if not may_resize:
                    raise _fault("a table size behind a field")
                limit, at = _integer(block, at, 5)
                self._resize(limit)
                continue
            may_resize = False
            field, at = self._field(block, at, first)
            list_bytes += len(field[0]) + len(field[1]) + ENTRY_BYTES
            if list_bytes <= self._list_bytes_max and len(found) <= self._count_max:
                found.append(field)
        if list_bytes > self._list_bytes_max or len(found) > self._count_max:
            raise HeaderListTooLarge
        return found

    def _field(self, block: bytes, at: int, first: int) -> tuple[Header, int]:
        if first & 0x80:
            index, at = _integer(block, at, 7)
            return self._entry(index), at
        is_kept = bool(first & 0x40)
        index, at = _integer(block, at, 6 if is_kept else 4)
        if index:
            name = self._entry(index)[0]
        else:
            name, at = _text(block, at)
        value, at = _text(block, at)
        field = (name, value)
        if is_kept:
            self._keep(field)
        return field, at

    def _entry(self, index: int) -> Header:
        if 1 <= index <= len(STATIC):
            return STATIC[index - 1]
        place = index - len(STATIC) - 1
        if not 0 <= place < len(self._table):
            raise _fault(f"entry {index}, which there is not")
        return self._table[place]

    def _keep(self, field: Header) -> None:
        self.version += 1
        self._table_bytes += len(field[0]) + len(field[1]) + ENTRY_BYTES
        self._table.appendleft(field)
        self._shrink()

    def _resize(self, limit: int) -> None:
        if limit > TABLE_BYTES_MAX:
            raise _fault(f"a table of {limit} bytes")
        self.version += 1
        self._table_bytes_max = limit
        self._shrink()

    def _shrink(self) -> None:
        while self._table_bytes > self._table_bytes_max:
            name, value = self._table.pop()
            self._table_bytes -= len(name) + len(value) + ENTRY_BYTES


def encode(fields: list[Header]) -> bytes:
    """A block that leaves the reader's table as it is."""
    return b"".join(_write_field(name, value) for name, value in fields)


_PLACES = {field: place for place, field in reversed(list(enumerate(STATIC, 1)))}
_NAMES = {name: place for place, (name, _) in reversed(list(enumerate(STATIC, 1)))}


def _write_field(name: bytes, value: bytes) -> bytes:
    if (name, value) in _PLACES:
        return bytes((0x80 | _PLACES[name, value],))
    place = _NAMES.get(name, 0)
    opening = _write_integer(place, 4, 0) if place else b"\0" + _write_integer(len(name), 7, 0) + name
    return opening + _write_integer(len(value), 7, 0) + value


def _write_integer(value: int, bits: int, flags: int) -> bytes:
    limit = (1 << bits) - 1
    if value < limit:
        return bytes((flags | value,))
    written = bytearray((flags | limit,))
    value -= limit
    while value >= 0x80:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    written.append(value)
    return bytes(written)


def _integer(block: bytes, at: int, bits: int) -> tuple[int, int]:
    """A number that begins in the lower `bits` of a byte."""
    limit = (1 << bits) - 1
    value = block[at] & limit
    at += 1
    if value < limit:
        return value, at
    for shift in range(0, 7 * INTEGER_BYTES_MAX, 7):
        if at >= len(block):
            raise _fault("a number that ends too early")
        byte = block[at]
        at += 1
        value += (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise _fault("a number that does not end")


def _text(block: bytes, at: int) -> tuple[bytes, int]:
    if at >= len(block):
        raise _fault("a field that ends too early")
    is_coded = block[at] & 0x80
    length, at = _integer(block, at, 7)
    stop = at + length
    if stop > len(block):
        raise _fault("a text that ends too early")
    content = block[at:stop]
    return (huffman(content) if is_coded else content), stop


def _fault(what: str) -> ConnectionFault:
    return ConnectionFault(Code.COMPRESSION_ERROR, f"a header block holds {what}")
