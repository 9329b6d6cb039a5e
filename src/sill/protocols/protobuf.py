"""Reads and writes the protobuf wire format: fields, their numbers and their raw values. What they mean is left to callers.

Two hundred lines instead of a library: only messages of small schemas are read here, none of them nests without end,
and each length and number is checked before it is used. Source: protobuf.dev/programming-guides/encoding.
"""

import struct
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from sill.core.errors import InvalidValue

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
_VARINT_BYTES_MAX = 10
_FIELD_MAX = 2**29 - 1


class Field(NamedTuple):
    """One field of a message: its number, its wire type and its value (bytes of a `BYTES` field, else a number)."""

    number: int
    wire: int
    integer: int
    content: memoryview


_NOTHING = memoryview(b"")
_SMALL = [bytes((value,)) for value in range(0x80)]


def fields(message: memoryview, count_max: int | None = None) -> Iterator[Field]:
    """The fields of a message, in the order they were sent.

    Args:
        count_max: of fields, also of those the caller does not know; None for any number.
    Raises:
        InvalidValue: the message ends too early, has too many fields, or holds what the format does not know.
    """
    at, end, count = 0, len(message), 0
    while at < end:
        count += 1
        if count_max is not None and count > count_max:
            raise malformed(f"more than {count_max} fields")
        key, at = _varint(message, at)
        number, wire = key >> 3, key & 7
        if not 1 <= number <= _FIELD_MAX:
            raise malformed(f"field number {number}")
        if wire == VARINT:
            integer, at = _varint(message, at)
            yield Field(number, wire, integer, _NOTHING)
        elif wire == BYTES:
            length, at = _varint(message, at)
            yield Field(number, wire, 0, _piece(message, at, length))
            at += length
        elif wire in (FIXED64, FIXED32):
            width = 8 if wire == FIXED64 else 4
            piece = _piece(message, at, width)
            yield Field(number, wire, int.from_bytes(piece, "little"), piece)
            at += width
        else:
            raise malformed(f"wire type {wire}")


def text(field: Field) -> str:
    """A string field."""
    try:
        return bytes(content(field)).decode("utf-8")
    except UnicodeDecodeError as wrong:
        raise malformed("text that is not UTF-8") from wrong


def content(field: Field) -> memoryview:
    """The bytes of a string, bytes or message field."""
    if field.wire != BYTES:
        raise malformed(f"field {field.number} of wire type {field.wire}")
    return field.content


def number(field: Field) -> int:
    """An unsigned number or enum."""
    if field.wire == BYTES:
        raise malformed(f"field {field.number} of wire type {field.wire}")
    return field.integer


def signed(field: Field) -> int:
    """An int64."""
    value = number(field)
    return value - 2**64 if value >= 2**63 else value


def double(field: Field) -> float:
    """A double."""
    if field.wire != FIXED64:
        raise malformed(f"field {field.number} of wire type {field.wire}")
    return float(struct.unpack("<d", field.content)[0])


def malformed(what: str) -> InvalidValue:
    """The error for a message that is none."""
    return InvalidValue(f"the protobuf message is malformed: {what}.", fix="Send it as the protocol's own clients do.")


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(_VARINT_BYTES_MAX):
        if at >= len(message):
            raise malformed("it ends within a number")
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << (7 * shift)
        if byte < 0x80:
            if value >= 2**64:
                raise malformed("a number of more than 64 bits")
            return value, at
    raise malformed(f"a number of more than {_VARINT_BYTES_MAX} bytes")


def _piece(message: memoryview, at: int, length: int) -> memoryview:
    if length > len(message) - at:
        raise malformed(f"a field of {length} bytes where {len(message) - at} are left")
    return message[at : at + length]


def varint(value: int) -> bytes:
    """A number in seven bits a byte; one below zero as an int64, in ten bytes."""
    if 0 <= value < 0x80:
        return _SMALL[value]
    value &= 2**64 - 1
    written = bytearray()
    while value >= 0x80:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    written.append(value)
    return bytes(written)


def write_number(number: int, value: int) -> bytes:
    """An integer, bool or enum field; nothing for zero, as proto3 has it."""
    return varint(number << 3) + varint(value) if value else b""


def write_bytes(number: int, content: bytes) -> bytes:
    """A bytes or message field, also if it is empty."""
    return varint(number << 3 | BYTES) + varint(len(content)) + content


def write_text(number: int, value: str) -> bytes:
    """A string field; nothing for an empty one."""
    return write_bytes(number, value.encode()) if value else b""


def write_numbers(number: int, values: Iterable[int]) -> bytes:
    """A repeated integer field, packed; nothing for none."""
    packed = b"".join(map(varint, values))
    return write_bytes(number, packed) if packed else b""


def write_double(number: int, value: float) -> bytes:
    """A double field."""
    return varint(number << 3 | FIXED64) + struct.pack("<d", value)
