"""Reads the table of a zip file and inflates members, trusting no number in it. Writing files is left to `archive`."""

import stat
import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from sill.core.errors import Refused, UnsupportedType
from sill.core.names import shorten

CHUNK_BYTES = 256 * 1024


class Member(NamedTuple):
    """One entry of the central directory.

    Attributes:
        name: as stored, with `/` at the end of a folder's.
        header_at: where its local header starts.
        data_at: where its compressed bytes start.
    """

    name: str
    is_folder: bool
    method: int
    crc: int
    packed_bytes: int
    size_bytes: int
    header_at: int
    data_at: int


def read_members(file: BinaryIO, entries_max: int) -> list[Member]:
    """All members, in the order of the central directory.

    Stricter than common readers, so that no two can see different members: the archive fills the file, local and
    central entries agree, members do not overlap, nothing over 4 GiB (zip64), no encryption, stored or deflated only.

    Raises:
        Refused: any of that fails.
    """
    size = file.seek(0, 2)
    count, table_at, table_bytes = _read_end(file, size)
    if count > entries_max:
        raise Refused(f"the archive has {count:,} entries; {entries_max:,} are allowed.")
    file.seek(table_at)
    table = file.read(table_bytes)
    members, position = [], 0
    for _ in range(count):
        record, position = _read_central(table, position)
        members.append(_locate(file, record, table_at))
    if position != len(table):
        raise _broken("its table holds more than the entries it counts")
    end = 0
    for member in sorted(members, key=lambda member: member.header_at):
        if member.header_at < end:
            raise _broken(f"{shorten(member.name)!r} overlaps another entry")
        end = member.data_at + member.packed_bytes
    return members


def inflate(file: BinaryIO, member: Member) -> Iterator[bytes]:
    """The member's bytes in pieces of at most `CHUNK_BYTES`; size and checksum are verified at the end.

    Raises:
        Refused: the data is damaged, or its length is not the declared one.
    """
    crc = produced = 0
    for piece in _pieces(file, member):
        crc = zlib.crc32(piece, crc)
        produced += len(piece)
        if produced > member.size_bytes:
            raise _broken(f"{shorten(member.name)!r} is longer than it says")
        yield piece
    if produced != member.size_bytes or crc != member.crc:
        raise _broken(f"{shorten(member.name)!r} does not match its size or checksum")


class _Record(NamedTuple):
    name: bytes
    flags: int
    method: int
    crc: int
    packed_bytes: int
    size_bytes: int
    header_at: int
    kind: int


_END = struct.Struct("<4s4H2LH")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_FLAGS_ALLOWED = 0b1000_0000_1110  # deflate options, data descriptor, UTF-8 names
_UTF8 = 1 << 11
_STORED, _DEFLATED = 0, 8
_ZIP64 = 0xFFFFFFFF


def _read_end(file: BinaryIO, size: int) -> tuple[int, int, int]:
    """Number of entries, place and length of the central directory."""
    tail_at = max(0, size - _END.size - 65_535)
    file.seek(tail_at)
    tail = file.read()
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) - at < _END.size:
        raise UnsupportedType("the file is not a zip archive: it has no end record.")
    _, disk, table_disk, here, count, table_bytes, table_at, comment = _END.unpack_from(tail, at)
    if at + _END.size + comment != len(tail):
        raise _broken("something follows its end record")
    if disk or table_disk or here != count or count == 0xFFFF or _ZIP64 in (table_bytes, table_at):
        raise _broken("it is split over files, or is zip64")
    if table_at + table_bytes != tail_at + at:
        raise _broken("its table is not where it says")
    return count, table_at, table_bytes


def _read_central(table: bytes, at: int) -> tuple[_Record, int]:
    if len(table) - at < _CENTRAL.size:
        raise _broken("its table is cut short")
    (
        mark,
        made_by,
        _,
        flags,
        method,
        _,
        _,
        crc,
        packed,
        size,
        name_n,
        extra_n,
        comment_n,
        _,
        _,
        external,
        header_at,
    ) = _CENTRAL.unpack_from(table, at)
    name = table[at + _CENTRAL.size : at + _CENTRAL.size + name_n]
    end = at + _CENTRAL.size + name_n + extra_n + comment_n
    if mark != b"PK\x01\x02" or end > len(table):
        raise _broken("its table is damaged")
    if _ZIP64 in (packed, size, header_at):
        raise _broken("it is zip64")
    kind = stat.S_IFMT(external >> 16) if made_by >> 8 == 3 else 0
    return _Record(name, flags, method, crc, packed, size, header_at, kind), end


def _locate(file: BinaryIO, record: _Record, table_at: int) -> Member:
    name = _decode_name(record)
    shown = shorten(name)
    if record.flags & ~_FLAGS_ALLOWED or record.method not in (_STORED, _DEFLATED):
        raise _broken(f"{shown!r} is encrypted, patched or compressed by a method that is not allowed")
    is_folder = name.endswith("/")
    if record.kind not in (0, stat.S_IFDIR if is_folder else stat.S_IFREG):
        raise _broken(f"{shown!r} is a link or a device")
    file.seek(record.header_at)
    header = file.read(_LOCAL.size)
    if len(header) < _LOCAL.size:
        raise _broken(f"{shown!r} is not where the table says")
    mark, _, flags, method, _, _, crc, packed, size, name_n, extra_n = _LOCAL.unpack(header)
    local_name = file.read(name_n)
    if mark != b"PK\x03\x04" or (local_name, flags, method) != (record.name, record.flags, record.method):
        raise _broken(f"{shown!r} has another name or form in the table than before its data")
    if packed == size == _ZIP64:  # what writers do that stream and do not know the size yet
        packed, size = _read_zip64(file.read(extra_n))
    # With a data descriptor (bit 3) the local sizes may be zero; otherwise they are the table's.
    if not flags & 0b1000 and (crc, packed, size) != (record.crc, record.packed_bytes, record.size_bytes):
        raise _broken(f"{shown!r} has another size in the table than before its data")
    data_at = record.header_at + _LOCAL.size + name_n + extra_n
    if data_at + record.packed_bytes > table_at or (is_folder and record.size_bytes):
        raise _broken(f"{shown!r} reaches beyond the archive")
    return Member(
        name, is_folder, method, record.crc, record.packed_bytes, record.size_bytes, record.header_at, data_at
    )


def _read_zip64(extra: bytes) -> tuple[int, int]:
    """Packed and full size from a local zip64 field."""
    while len(extra) >= 4:
        kind, length = struct.unpack_from("<2H", extra)
        if kind == 1 and length == 16 and len(extra) >= 20:
            size, packed = struct.unpack_from("<2Q", extra, 4)
            return packed, size
        extra = extra[4 + length :]
    raise _broken("it is zip64 without sizes")


def _decode_name(record: _Record) -> str:
    try:
        return record.name.decode("utf-8" if record.flags & _UTF8 else "ascii")
    except UnicodeDecodeError as wrong:
        raise _broken("a name is neither ASCII nor marked as UTF-8") from wrong


def _pieces(file: BinaryIO, member: Member) -> Iterator[bytes]:
    file.seek(member.data_at)
    left = member.packed_bytes
    inflater = zlib.decompressobj(-zlib.MAX_WBITS) if member.method == _DEFLATED else None
    while left:
        packed = file.read(min(CHUNK_BYTES, left))
        if not packed:
            raise _broken(f"{shorten(member.name)!r} is cut short")
        left -= len(packed)
        if inflater is None:
            yield packed
            continue
        try:
            while packed:
                yield inflater.decompress(packed, CHUNK_BYTES)
                packed = inflater.unconsumed_tail
        except zlib.error as wrong:
            raise _broken(f"{shorten(member.name)!r} cannot be inflated") from wrong
        if inflater.unused_data:
            raise _broken(f"{shorten(member.name)!r} goes on after its end")
    if inflater is not None:
        yield from _rest(inflater)
        if not inflater.eof:
            raise _broken(f"{shorten(member.name)!r} is cut short")


def _rest(inflater: "zlib._Decompress") -> Iterator[bytes]:
    """What zlib holds back after its input is used up; at most a window's worth a piece."""
    while not inflater.eof:
        piece = inflater.decompress(b"", CHUNK_BYTES)
        if not piece:
            return
        yield piece


def _broken(why: str) -> Refused:
    return Refused(f"the archive is not accepted: {why}.", fix="Pack it again with a common tool, files only.")
