"""Checks a safetensors file before it is mapped: the header must describe exactly the bytes that are there."""

import mmap
from math import prod
from typing import NamedTuple

import msgspec

from sill.core.errors import InvalidValue
from sill.core.names import shorten
from sill.safety.strict_json import decode

HEADER_BYTES_MAX = 16 * 1024**2
RANK_MAX = 32

Bytes = bytes | mmap.mmap


class SafetensorsSummary(NamedTuple):
    """What the header says, once it is known to be true."""

    tensors: int
    size_bytes: int
    metadata: dict[str, str]


def walk_safetensors(data: Bytes) -> SafetensorsSummary:
    """Checks header length, strict JSON without repeated keys, known types, shape × type = bytes, no overlap, no gap.

    The format allows headers of 100 MB; we stop at 16 MiB, which is about 150,000 tensors.

    Raises:
        InvalidValue: any of that fails.
    """
    if len(data) < 10:
        raise _refused("it is too short")
    header_bytes = int.from_bytes(data[:8], "little")
    if header_bytes > len(data) - 8:
        raise _refused(f"its header claims {header_bytes:,} bytes, the file has {len(data):,}")
    if header_bytes > HEADER_BYTES_MAX:
        raise _refused(f"its header has {header_bytes:,} bytes; {HEADER_BYTES_MAX:,} are allowed")
    header = bytes(data[8 : 8 + header_bytes])
    if not header.startswith(b"{"):
        raise _refused("its header is not a JSON object")
    entries = decode(header, dict[str, msgspec.Raw])
    raw_metadata = entries.pop("__metadata__", None)
    metadata = {} if raw_metadata is None else decode(bytes(raw_metadata), dict[str, str])
    spans = sorted(_check_tensor(name, raw) for name, raw in entries.items())
    _check_spans(spans, len(data) - 8 - header_bytes)
    return SafetensorsSummary(len(spans), len(data), metadata)


BITS = {
    "BOOL": 8,
    "U8": 8,
    "I8": 8,
    "F8_E4M3": 8,
    "F8_E5M2": 8,
    "F8_E8M0": 8,
    "F8_E4M3FNUZ": 8,
    "F8_E5M2FNUZ": 8,
    "U16": 16,
    "I16": 16,
    "F16": 16,
    "BF16": 16,
    "U32": 32,
    "I32": 32,
    "F32": 32,
    "U64": 64,
    "I64": 64,
    "F64": 64,
    "C64": 64,
    "F4": 4,
    "F6_E2M3": 6,
    "F6_E3M2": 6,
}


class _Tensor(msgspec.Struct, forbid_unknown_fields=True):
    dtype: str
    shape: list[int]
    data_offsets: tuple[int, int]


def _check_tensor(name: str, raw: msgspec.Raw) -> tuple[int, int, str]:
    shown = shorten(name)
    try:
        tensor = msgspec.json.decode(raw, type=_Tensor)
    except msgspec.DecodeError as wrong:
        raise _refused(f"tensor {shown!r} is not described as it should be: {wrong}") from wrong
    start, end = tensor.data_offsets
    bits = BITS.get(tensor.dtype)
    if bits is None:
        raise _refused(f"tensor {shown!r} has an unknown type {shorten(tensor.dtype)!r}")
    if len(tensor.shape) > RANK_MAX or any(dim < 0 for dim in tensor.shape):
        raise _refused(f"tensor {shown!r} has a negative dimension or too many")
    # Python's integers do not overflow, so that a shape of 2^32 × 2^32 is not taken for empty.
    if not 0 <= start <= end or (end - start) * 8 != prod(tensor.shape) * bits:
        raise _refused(f"tensor {shown!r} has {end - start:,} bytes, which do not fit its shape and type")
    return start, end, name


def _check_spans(spans: list[tuple[int, int, str]], data_bytes: int) -> None:
    position = 0
    for start, end, name in spans:
        if start != position:
            raise _refused(f"tensor {shorten(name)!r} overlaps another or leaves a gap")
        position = end
    if position != data_bytes:
        raise _refused(f"its tensors take {position:,} bytes, the file holds {data_bytes:,}")


def _refused(why: str) -> InvalidValue:
    return InvalidValue(
        f"the safetensors file is not accepted: {why}.",
        fix="Save it again with the safetensors library.",
        field="model",
    )
