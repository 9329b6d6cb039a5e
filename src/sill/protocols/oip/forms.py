"""Recognises request bodies that differ in their numbers only, and writes their answers from what stays the same.

Nothing is parsed twice: what stands around the numbers was read, and found good, when it came first. A body is of a
form when it begins and ends with those very bytes and holds one flat list of numbers between them.
"""

from typing import Any

import msgspec
import numpy as np

from sill.core.errors import InvalidValue
from sill.protocols.oip.tensors import FLOATS, INTEGERS, as_array
from sill.protocols.oip.types import RequestInput

_LISTS: dict[str, Any] = {name: msgspec.json.Decoder(list[float]) for name in FLOATS} | {
    name: msgspec.json.Decoder(list[int]) for name in INTEGERS
}
_encode = msgspec.json.Encoder().encode


class Form:
    """A body with one input, as it was sent before.

    Args:
        given: its input.
        before, behind: what stands around the input's data.
    """

    __slots__ = ("_before", "_behind", "_count", "_given", "_lists", "_read")

    def __init__(self, given: RequestInput, before: bytes, behind: bytes) -> None:
        self._given = given
        self._before = before
        self._behind = behind
        self._read = _LISTS[given.datatype].decode
        self._count = int(np.prod(given.shape))

    @property
    def name(self) -> str:
        """The input's name."""
        return self._given.name

    def read(self, body: bytes) -> "np.ndarray[Any, Any] | None":
        """The input's tensor, or None if the body is not of this form, or not good: then it is read the long way."""
        if not (body.startswith(self._before) and body.endswith(self._behind)):
            return None
        try:
            values = self._read(body[len(self._before) : len(body) - len(self._behind)])
            if len(values) != self._count:
                return None
            return as_array(self._given, values).reshape(self._given.shape)
        except (msgspec.MsgspecError, InvalidValue, UnicodeDecodeError):
            return None


def form_of(body: bytes, given: RequestInput) -> Form | None:
    """The form of a body that was read, with this one input; None if it has none that could be recognised."""
    data = bytes(given.data)
    if given.datatype not in _LISTS or not data.startswith(b"[") or b"[" in data[1:] or body.count(data) != 1:
        return None
    before, _, behind = body.partition(data)
    return Form(given, before, behind)


class AnswerForm:
    """What stays the same in the answers of one model version.

    Args:
        outputs: the tensors to answer with, in order, as `(name, datatype, inner shape)`.
    """

    __slots__ = ("_middle", "_names", "_openings")

    def __init__(
        self,
        model: str,
        version: int,
        parameters: dict[str, Any],
        outputs: tuple[tuple[str, str, tuple[int, ...]], ...],
    ) -> None:
        self._names = tuple(name for name, _, _ in outputs)
        said = _encode({"model_name": model, "model_version": str(version)})[:-1]
        self._openings = (said + b',"id":"', b'","parameters":' + _encode(parameters) + b',"outputs":[')
        self._middle = tuple(_opening(name, datatype, inner) for name, datatype, inner in outputs)

    def write(self, request_id: str, lists: dict[str, list[Any]], start: int, end: int) -> bytes:
        """The answer's body for rows `start` to `end` of a batch. The id must need no escapes."""
        first, second = self._openings
        pieces = [first, request_id.encode(), second]
        rows = b"%d" % (end - start)
        comma = b""
        for name, (head, inner, is_flat) in zip(self._names, self._middle, strict=True):
            values = lists[name][start:end]
            pieces += (comma, head, rows, inner, _encode(values if is_flat else _flat(values)), b"}")
            comma = b","
        pieces.append(b"]}")
        return b"".join(pieces)


def _opening(name: str, datatype: str, inner: tuple[int, ...]) -> tuple[bytes, bytes, bool]:
    head = b'{"name":' + _encode(name) + b',"datatype":' + _encode(datatype) + b',"shape":['
    return head, b"".join(b",%d" % size for size in inner) + b'],"data":', not inner


def _flat(values: list[Any]) -> list[Any]:
    """Row-major; in most answers there is one row."""
    if len(values) == 1:
        values = values[0]
    else:
        values = [one for row in values for one in row]
    while values and isinstance(values[0], list):
        values = [one for row in values for one in row]
    return values
