"""Reads tar and tar.gz as a stream, trusting no number in it. Writing files is left to `archive`."""

import re
import zlib
from collections.abc import Callable, Iterator
from typing import BinaryIO, NamedTuple

from sill.core.errors import Refused
from sill.core.names import shorten

BLOCK_BYTES = 512
CHUNK_BYTES = 256 * 1024
NAME_RECORD_BYTES_MAX = 64 * 1024


class Member(NamedTuple):
    """One entry; its bytes follow in the stream and must be read before the next."""

    name: str
    is_folder: bool
    size_bytes: int


class TarStream:
    """Members of a tar stream, one after the other.

    Args:
        read: gives at most so many bytes, empty at the end.
    """

    def __init__(self, read: Callable[[int], bytes]) -> None:
        self._read = read

    def members(self) -> Iterator[tuple[Member, Iterator[bytes]]]:
        """Each member with its bytes, which must be used up before the next member is asked for.

        Raises:
            Refused: a link, device, sparse or unknown entry; a wrong checksum; a stream that is cut short.
        """
        long_name = ""
        long_size: int | None = None
        while (header := self._exactly(BLOCK_BYTES)) != bytes(BLOCK_BYTES):
            name, kind, size = _read_header(header)
            if kind in (b"L", b"x", b"g"):
                record = self._record(size)
                if kind == b"L":
                    long_name = _text(record.rstrip(b"\x00"))
                elif kind == b"x":
                    long_name, long_size = _read_pax(record, long_name)
                continue
            size = size if long_size is None else long_size
            member = Member(long_name or name, kind == b"5", 0 if kind == b"5" else size)
            long_name, long_size = "", None
            if kind not in (b"0", b"\x00", b"7", b"5"):
                raise _broken(f"{shorten(member.name)!r} is a link, a device or of an unknown kind")
            yield member, self._content(member)
        self._check_end()

    def _content(self, member: Member) -> Iterator[bytes]:
        left = member.size_bytes
        while left:
            piece = self._read(min(CHUNK_BYTES, left))
            if not piece:
                raise _broken(f"{shorten(member.name)!r} is cut short")
            left -= len(piece)
            yield piece
        self._exactly(-member.size_bytes % BLOCK_BYTES)

    def _record(self, size: int) -> bytes:
        if size > NAME_RECORD_BYTES_MAX:
            raise _broken(f"a name record has {size:,} bytes; {NAME_RECORD_BYTES_MAX:,} are allowed")
        return self._exactly(size + -size % BLOCK_BYTES)[:size]

    def _exactly(self, size: int) -> bytes:
        found = bytearray()
        while len(found) < size:
            piece = self._read(size - len(found))
            if not piece:
                raise _broken("it is cut short")
            found += piece
        return bytes(found)

    def _check_end(self) -> None:
        # Read to the end, so that gzip's own checksum is verified and nothing hides behind.
        while piece := self._read(CHUNK_BYTES):
            if piece.count(0) != len(piece):
                raise _broken("something follows its end")


class Gunzip:
    """Reads a gzip file of one or more parts, never more than asked for.

    Attributes:
        packed_bytes: compressed bytes used so far.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._inflater = zlib.decompressobj(_GZIP)
        self._packed = b""
        self.packed_bytes = 0

    def read(self, size: int) -> bytes:
        """At most `size` bytes; empty at the end.

        Raises:
            Refused: the data is damaged or cut short.
        """
        while True:
            if self._inflater.eof:
                self._packed = self._inflater.unused_data or self._file.read(CHUNK_BYTES)
                if not self._packed:
                    return b""
                self._inflater = zlib.decompressobj(_GZIP)
            elif not self._packed:
                self._packed = self._file.read(CHUNK_BYTES)
                if not self._packed:
                    raise _broken("it is cut short")
            before = len(self._packed)
            try:
                piece = self._inflater.decompress(self._packed, size)
            except zlib.error as wrong:
                raise _broken("it cannot be inflated") from wrong
            self._packed = self._inflater.unconsumed_tail
            self.packed_bytes += before - len(self._packed) - len(self._inflater.unused_data)
            if piece:
                return piece


_GZIP = 16 + zlib.MAX_WBITS
_OCTAL = re.compile(rb" *([0-7]{1,11})[ \x00]*")
_PAX = re.compile(rb"([0-9]{1,5}) ([^=\n]+)=")


def _read_header(header: bytes) -> tuple[str, bytes, int]:
    """Name, kind and size of a 512-byte header."""
    if _number(header[148:156]) != sum(header[:148]) + sum(header[156:]) + 8 * 32:
        raise _broken("an entry's checksum is wrong")
    name = _text(header[:100].split(b"\x00")[0])
    if header[257:263] == b"ustar\x00":
        prefix = _text(header[345:500].split(b"\x00")[0])
        name = f"{prefix}/{name}" if prefix else name
    elif header[257:263] != b"ustar ":
        raise _broken("an entry is not of the ustar, GNU or pax form")
    return name, header[156:157], _number(header[124:136])


def _number(field: bytes) -> int:
    match = _OCTAL.fullmatch(field)
    if match is None:
        raise _broken("a number cannot be read, or is larger than 8 GiB")
    return int(match[1], 8)


def _read_pax(record: bytes, name: str) -> tuple[str, int | None]:
    size: int | None = None
    while record:
        match = _PAX.match(record)
        length = int(match[1]) if match else 0
        if match is None or not match.end() < length <= len(record) or record[length - 1 : length] != b"\n":
            raise _broken("a pax record cannot be read")
        key, value = match[2], record[match.end() : length - 1]
        if key == b"path":
            name = _text(value)
        elif key == b"size":
            if not value.isdigit() or len(value) > 18:
                raise _broken("a pax size cannot be read")
            size = int(value)
        elif key.startswith(b"GNU.sparse"):
            raise _broken("sparse files are not allowed")
        record = record[length:]
    return name, size


def _text(raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as wrong:
        raise _broken("a name is not UTF-8") from wrong


def _broken(why: str) -> Refused:
    return Refused(f"the archive is not accepted: {why}.", fix="Pack it again with a common tool, files only.")
