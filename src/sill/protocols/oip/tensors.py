"""Tensors in JSON to NumPy arrays and back, by datatype. Every size is checked before anything of that size is made."""

from itertools import chain
from typing import Any

import msgspec
import numpy as np

from sill.core.errors import InvalidValue, TooLarge, UnsupportedType
from sill.core.names import shorten
from sill.protocols.oip.types import RequestInput, ResponseOutput
from sill.runtimes.dtypes import DTYPES, NAMES, widened

RANK_MAX = 8
TENSOR_BYTES_MAX = 64 * 1024 * 1024
"""Largest tensor after it was widened to its datatype, not as it came in."""
BYTES_PER_TEXT = 64
"""What a text takes in memory, and counts for in `TENSOR_BYTES_MAX`, besides its characters, which the body limit holds."""

INTEGERS = {name: kind for name, kind in DTYPES.items() if kind.kind in "iu"}
FLOATS = {name: DTYPES[name] for name in ("FP32", "FP64")}
BINARY_ONLY = ("FP16", "BF16")
"""The protocol gives these no JSON form on the way in; on the way out they are numbers, which hold them exactly."""
ITEM_BYTES = {name: kind.itemsize for name, kind in DTYPES.items()} | {"BYTES": BYTES_PER_TEXT}
_ITEMS: dict[str, type] = {"BOOL": bool, "BYTES": str} | dict.fromkeys(INTEGERS, int) | dict.fromkeys(FLOATS, float)


def _decoders(kind: Any) -> list[msgspec.json.Decoder[Any]]:
    found = []
    for _ in range(RANK_MAX):
        kind = list[kind]
        found.append(msgspec.json.Decoder(kind))
    return found


_DECODERS: dict[Any, list[msgspec.json.Decoder[Any]]] = {kind: _decoders(kind) for kind in (bool, str, int, float)}
"""By item type, then by levels of lists less one."""


def unnested(name: str, value: Any) -> tuple[tuple[int, ...], list[Any]]:
    """Sizes of a nested list, and its values in a row; no sizes, and one value, for what is no list.

    Raises:
        InvalidValue: lists of one level have different lengths, or there are more than `RANK_MAX` levels.
    """
    dims: list[int] = []
    level = [value]
    while level and isinstance(level[0], list):
        sizes = {len(one) if isinstance(one, list) else -1 for one in level}
        if len(sizes) != 1 or len(dims) == RANK_MAX:
            raise InvalidValue(f"{shorten(name)!r} is a list of unequal lists.", field=name[:100])
        dims.append(sizes.pop())
        level = list(chain.from_iterable(level))
    return tuple(dims), level


def read_tensor(given: RequestInput) -> "np.ndarray[Any, Any]":
    """The tensor as an array of its shape. Texts (BYTES) become an array of `str` objects.

    Raises:
        InvalidValue: a wrong shape, a count of values that is not the shape's, a value outside the datatype.
        TooLarge: more than `TENSOR_BYTES_MAX` once widened.
        UnsupportedType: a datatype that is not listed.
    """
    data = bytes(given.data)
    if given.datatype in BINARY_ONLY:
        raise UnsupportedType(
            f"{given.datatype} has no JSON form in the protocol.",
            fix="Send FP32, or binary data.",
            field=given.name[:100],
        )
    count = count_of(given, len(data))
    if given.datatype != "BYTES" and data.count(b",") >= max(count, 1):
        raise _wrong(given, f"its data has more values than its shape {list(given.shape)} needs, which is {count}")
    levels = _levels(data)
    if levels not in (1, len(given.shape)):
        raise _wrong(
            given, f"its data is nested {levels} deep; flat, or as deep as the shape {list(given.shape)}, is allowed"
        )
    try:
        values = _DECODERS[_ITEMS[given.datatype]][levels - 1].decode(data)
    except (msgspec.DecodeError, msgspec.ValidationError) as wrong:
        raise _wrong(given, f"its data does not hold {given.datatype} values: {shorten(str(wrong), 200)}") from wrong
    if levels > 1:
        values = _flatten(given, values)
    if len(values) != count:
        raise _wrong(given, f"its data has {len(values)} values, its shape {list(given.shape)} needs {count}")
    return as_array(given, values).reshape(given.shape)


def write_tensor(name: str, array: "np.ndarray[Any, Any]") -> ResponseOutput:
    """The array as an output of the answer.

    Raises:
        UnsupportedType: an array of a kind the protocol's JSON form lacks.
    """
    datatype = datatype_of(array)
    flat = array.reshape(-1)
    if datatype == "BF16":
        flat = widened(flat)
    data = [_text(name, value) for value in flat.tolist()] if datatype == "BYTES" else flat.tolist()
    return ResponseOutput(name=name, datatype=datatype, shape=array.shape, data=data)


def datatype_of(array: "np.ndarray[Any, Any]") -> str:
    """The protocol's name of an array's type.

    Raises:
        UnsupportedType: it has none.
    """
    kind = array.dtype
    if kind.kind in "OUS":
        return "BYTES"
    found = NAMES.get(kind)
    if found is not None:
        return found
    raise UnsupportedType(
        f"an output of type {kind} has no form in the protocol.", fix="Export the model with plain types."
    )


def count_of(given: RequestInput, data_bytes: int) -> int:
    """How many values the shape asks for. Python's integers do not overflow.

    Args:
        data_bytes: how much came; a small body with a large shape is a lie about the count, a large one a size.
    Raises:
        InvalidValue: too many or too few dimensions, or one below 0.
        TooLarge: more than `TENSOR_BYTES_MAX` once widened.
        UnsupportedType: a datatype that is not known.
    """
    if given.datatype not in ITEM_BYTES:
        raise UnsupportedType(
            f"datatype {shorten(given.datatype)!r} is not known; {', '.join(ITEM_BYTES)} are.", field=given.name[:100]
        )
    if not 1 <= len(given.shape) <= RANK_MAX:
        raise _wrong(given, f"its shape has {len(given.shape)} dimensions; 1 to {RANK_MAX} are allowed")
    if min(given.shape) < 0:
        raise _wrong(given, f"its shape {shorten(str(list(given.shape)))} has a dimension below 0")
    count = 1
    for size in given.shape:
        count *= size
    if count * ITEM_BYTES[given.datatype] > TENSOR_BYTES_MAX:
        kind = TooLarge if data_bytes >= count else InvalidValue
        raise kind(
            f"input {shorten(given.name)!r} of shape {shorten(str(list(given.shape)))} would hold more than "
            f"{TENSOR_BYTES_MAX} bytes.",
            fix="Send fewer rows at once.",
            field=given.name[:100],
        )
    return count


def _levels(data: bytes) -> int:
    """How many brackets open before the first value (1 at least, so that anything else fails as a list)."""
    head = data[: RANK_MAX * 64].translate(None, b" \t\r\n")
    return min(max(len(head) - len(head.lstrip(b"[")), 1), RANK_MAX)


def _flatten(given: RequestInput, values: list[Any]) -> list[Any]:
    level = values
    for axis, size in enumerate(given.shape):
        wanted = 1
        for before in given.shape[:axis]:
            wanted *= before
        rows = [level] if axis == 0 else level
        if len(rows) != wanted or any(len(row) != size for row in rows):
            raise _wrong(given, f"its nested data does not have the shape {list(given.shape)}")
        level = list(chain.from_iterable(rows))
    return level


def as_array(given: RequestInput, values: list[Any]) -> "np.ndarray[Any, Any]":
    """Values of the right kind as a flat array of the input's datatype.

    Raises:
        InvalidValue: one lies outside the datatype.
    """
    if not values:
        return np.empty(0, dtype=DTYPES[given.datatype])
    if given.datatype == "BYTES":
        texts = np.empty(len(values), dtype=object)
        texts[:] = values
        return texts
    if given.datatype == "BOOL":
        return np.array(values, dtype=np.bool_)
    if given.datatype in FLOATS:
        return _floats(given, values)
    kind = INTEGERS[given.datatype]
    bounds = np.iinfo(kind)
    if min(values) < bounds.min or max(values) > bounds.max:
        raise _wrong(given, f"a value is outside {given.datatype}, {bounds.min} to {bounds.max}")
    return np.array(values, dtype=kind)


def _floats(given: RequestInput, values: list[float]) -> "np.ndarray[Any, Any]":
    with np.errstate(over="ignore"):
        array = np.array(values, dtype=np.float64).astype(FLOATS[given.datatype], copy=False)
    if not np.isfinite(array).all():  # rounded to the nearest, as `struct` does: see `forms`
        raise _wrong(given, f"a value is too large for {given.datatype}")
    return array


def _text(name: str, value: Any) -> str:
    if not isinstance(value, bytes):
        return str(value)
    try:
        return value.decode()
    except UnicodeDecodeError as wrong:
        raise UnsupportedType(
            f"output {shorten(name)!r} holds bytes that are no text.", fix="Ask for it with binary_data."
        ) from wrong


def _wrong(given: RequestInput, why: str) -> InvalidValue:
    return InvalidValue(f"input {shorten(given.name)!r} cannot be read: {why}.", field=given.name[:100])
