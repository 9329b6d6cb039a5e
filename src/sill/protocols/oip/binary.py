"""Tensors as plain bytes, little-endian and row-major, to NumPy arrays and back. Nothing is copied that need not be.

Source: triton-inference-server/server, docs/protocol/extension_binary_data.md. BYTES: each element is its length in
four bytes, then its content. BF16: the upper half of an FP32.
"""

import struct
from typing import Any

import numpy as np

from sill.core.errors import InvalidValue
from sill.core.names import shorten
from sill.protocols.oip.tensors import count_of
from sill.protocols.oip.types import RequestInput
from sill.runtimes.dtypes import LITTLE

_LENGTH = struct.Struct("<I")

Array = np.ndarray[Any, Any]


def read_binary(given: RequestInput, content: memoryview) -> Array:
    """The tensor as an array of its shape, over the request's own bytes where the type allows it.

    BYTES become an array of `str` objects, or `bytes` where they are no UTF-8; BF16 stays raw, as `dtypes.BF16`.

    Raises:
        InvalidValue: the bytes are not as many as shape and datatype say.
        TooLarge: more than a tensor may hold.
        UnsupportedType: a datatype that is not known.
    """
    count = count_of(given, len(content))
    if given.datatype == "BYTES":
        return _texts(given, content, count).reshape(given.shape)
    kind = LITTLE[given.datatype]
    if len(content) != count * kind.itemsize:
        raise _wrong(
            given, f"{len(content)} bytes, and shape {list(given.shape)} of {given.datatype} is {count * kind.itemsize}"
        )
    array: Array = np.frombuffer(content, dtype=kind)
    if given.datatype == "BOOL" and count and array.view(np.uint8).max() > 1:
        raise _wrong(given, "a byte that is neither 0 nor 1")
    return array.reshape(given.shape)


def write_binary(array: Array) -> bytes:
    """The array's bytes as the protocol has them."""
    if array.dtype.kind in "OUS":
        texts = [one if isinstance(one, bytes) else str(one).encode() for one in array.reshape(-1).tolist()]
        return b"".join(piece for text in texts for piece in (_LENGTH.pack(len(text)), text))
    return np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).tobytes()


def _texts(given: RequestInput, content: memoryview, count: int) -> Array:
    texts = np.empty(count, dtype=object)
    at, size = 0, len(content)
    for number in range(count):
        if size - at < _LENGTH.size:
            raise _wrong(given, f"{size} bytes, which end before text {number} of {count}")
        (length,) = _LENGTH.unpack_from(content, at)
        at += _LENGTH.size
        if length > size - at:
            raise _wrong(given, f"a text of {length} bytes where {size - at} are left")
        texts[number] = _text(content[at : at + length])
        at += length
    if at != size:
        raise _wrong(given, f"{size - at} bytes behind its last text")
    return texts


def _text(content: memoryview) -> str | bytes:
    try:
        return str(content, "utf-8")
    except UnicodeDecodeError:
        return bytes(content)


def _wrong(given: RequestInput, what: str) -> InvalidValue:
    return InvalidValue(f"input {shorten(given.name)!r} holds {what}.", field=given.name[:100])
