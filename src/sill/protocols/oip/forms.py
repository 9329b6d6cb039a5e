"""Recognises request bodies that differ in their numbers only, and writes their answers from what stays the same.

Nothing is parsed twice: what stands around the numbers was read, and found good, when it came first. A JSON body is of
a form when it begins and ends with those very bytes and holds one flat list of numbers between them; a binary one when
its JSON part is the same and its tensor as long.
"""

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np

from sill.core.errors import InvalidValue
from sill.protocols.oip.binary import read_binary, write_binary
from sill.protocols.oip.codec import Inference
from sill.protocols.oip.tensors import FLOATS, INTEGERS, as_array, datatype_of
from sill.protocols.oip.types import RequestInput

_LISTS: dict[str, Any] = {name: msgspec.json.Decoder(list[float]) for name in FLOATS} | {
    name: msgspec.json.Decoder(list[int]) for name in INTEGERS
}
_encode = msgspec.json.Encoder().encode

Array = np.ndarray[Any, Any]


class Form:
    """A request that was read, with one input whose numbers may differ.

    Args:
        request: as it was read.
        before, behind: what stands around the input's data.
    """

    __slots__ = ("_before", "_behind", "_count", "_given", "_read", "name", "request")

    def __init__(self, request: Inference, before: bytes, behind: bytes) -> None:
        self.request = request
        self._given: RequestInput = request.inputs[0]
        self.name = self._given.name
        self._before = before
        self._behind = behind
        self._count = int(np.prod(self._given.shape))
        self._read = _LISTS[self._given.datatype].decode if self._given.data else None

    def read(self, body: bytes) -> Array | None:
        """The input's tensor, or None if the body is not of this form, or not good: then it is read the long way."""
        if not (body.startswith(self._before) and body.endswith(self._behind)):
            return None
        try:
            if self._read is None:
                return read_binary(self._given, memoryview(body)[len(self._before) :])
            values = self._read(body[len(self._before) : len(body) - len(self._behind)])
            if len(values) != self._count:
                return None
            return as_array(self._given, values).reshape(self._given.shape)
        except (msgspec.MsgspecError, InvalidValue, UnicodeDecodeError):
            return None


def form_of(request: Inference, body: bytes, header_bytes: int | None) -> Form | None:
    """The form of a body that was read; None if it has none that could be recognised."""
    if len(request.inputs) != 1:
        return None
    given = request.inputs[0]
    if header_bytes is not None and not given.data:
        return Form(request, body[:header_bytes], b"")
    data = bytes(given.data)
    is_flat = data.startswith(b"[") and b"[" not in data[1:]
    if given.datatype not in _LISTS or not is_flat or header_bytes is not None or body.count(data) != 1:
        return None
    before, _, behind = body.partition(data)
    return Form(request, before, behind)


class AnswerForm:
    """What stays the same in the answers of one model version to one form of request.

    Args:
        example: an answer's outputs, for their types and inner shapes.
    """

    __slots__ = ("_opening", "_outputs", "_parameters")

    def __init__(
        self, model: str, version: int, parameters: dict[str, Any], request: Inference, example: dict[str, Array]
    ) -> None:
        said = _encode({"model_name": model, "model_version": str(version)})[:-1]
        self._opening = said + b',"id":"'
        self._parameters = b'","parameters":' + _encode(parameters) + b',"outputs":['
        self._outputs = [_Output(one.name, example[one.name], one.is_binary) for one in request.wanted(example)]

    def write(
        self,
        request_id: str,
        outputs: dict[str, Array],
        lists: Callable[[], dict[str, list[Any]]],
        start: int,
        end: int,
    ) -> tuple[bytes, int | None]:
        """The answer's body for rows `start` to `end` of a batch, and how much of it is JSON (None: all).

        Args:
            request_id: must need no escapes.
            outputs, lists: the batch's, as arrays, and what gives them as lists of rows.
        """
        pieces = [self._opening, request_id.encode(), self._parameters]
        binary: list[bytes] = []
        comma = b""
        for output in self._outputs:
            pieces.append(comma)
            if output.is_binary:
                binary.append(write_binary(outputs[output.name][start:end]))
                pieces += output.sized(end - start, len(binary[-1]))
            else:
                pieces += output.listed(end - start, lists()[output.name][start:end])
            comma = b","
        pieces.append(b"]}")
        if not binary:
            return b"".join(pieces), None
        header = b"".join(pieces)
        return b"".join((header, *binary)), len(header)


class _Output:
    __slots__ = ("_before", "_behind", "_is_flat", "is_binary", "name")

    def __init__(self, name: str, example: Array, is_binary: bool) -> None:
        self.name = name
        self.is_binary = is_binary
        self._is_flat = example.ndim == 1
        datatype = _encode(datatype_of(example))
        self._before = b'{"name":' + _encode(name) + b',"datatype":' + datatype + b',"shape":['
        self._behind = b"".join(b",%d" % size for size in example.shape[1:]) + b"],"

    def listed(self, rows: int, values: list[Any]) -> tuple[bytes, ...]:
        data = _encode(values if self._is_flat else _flat(values))
        return (self._before, b"%d" % rows, self._behind, b'"data":', data, b"}")

    def sized(self, rows: int, size: int) -> tuple[bytes, ...]:
        return (self._before, b"%d" % rows, self._behind, b'"parameters":{"binary_data_size":%d}}' % size)


def _flat(values: list[Any]) -> list[Any]:
    """Row-major; in most answers there is one row."""
    flat = values[0] if len(values) == 1 else [one for row in values for one in row]
    while flat and isinstance(flat[0], list):
        flat = [one for row in flat for one in row]
    return flat
