"""Recognises request bodies that differ in their numbers only, and writes their answers from what stays the same.

Nothing is parsed twice: what stands around the numbers was read, and found good, when it came first. A JSON body is of
a form when it begins and ends with those very bytes and holds one flat list of numbers between them; a binary one when
its JSON part is the same and its tensor as long.
"""

import struct
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np

from sill.core.errors import InvalidValue
from sill.protocols.oip.binary import read_binary, write_binary
from sill.protocols.oip.codec import Inference
from sill.protocols.oip.tensors import FLOATS, INTEGERS, datatype_of, write_tensor
from sill.protocols.oip.types import RequestInput
from sill.runtimes.dtypes import LITTLE

_LISTS: dict[str, Any] = {name: msgspec.json.Decoder(list[float]) for name in FLOATS} | {
    name: msgspec.json.Decoder(list[int]) for name in INTEGERS
}
_LETTERS = {"FP32": "f", "FP64": "d", "INT8": "b", "INT16": "h", "INT32": "i", "INT64": "q"}
_LETTERS |= {"UINT8": "B", "UINT16": "H", "UINT32": "I", "UINT64": "Q"}
_encode = msgspec.json.Encoder().encode

Array = np.ndarray[Any, Any]
Write = Callable[[bytes, int], tuple[bytes, int | None]]
"""Writes one request's answer: from its id (which must need no escapes) and its first row in the batch, the body and how
much of it is JSON (None: all)."""


class Form:
    """A request that was read, with one input whose numbers may differ.

    Args:
        request: as it was read.
        before, behind: what stands around the input's data.
    """

    __slots__ = (
        "_before",
        "_behind",
        "_count",
        "_decode",
        "_given",
        "_left",
        "_pack",
        "_size",
        "_start",
        "dtype",
        "name",
        "request",
        "shape",
    )

    def __init__(self, request: Inference, before: bytes, behind: bytes) -> None:
        self.request = request
        given: RequestInput = request.inputs[0]
        self._given = given
        self.name = given.name
        self.shape = given.shape
        kind = LITTLE[given.datatype]
        self.dtype = kind if kind.names else np.dtype(kind.str)  # the machine's own where it is the same
        self._before = before
        self._behind = behind
        self._start, self._left = len(before), len(behind)
        self._count = int(np.prod(given.shape))
        self._size = self._count * self.dtype.itemsize
        self._decode = _LISTS[given.datatype].decode if given.data else None
        self._pack = struct.Struct(f"<{self._count}{_LETTERS[given.datatype]}").pack if given.data else None

    def read(self, body: bytes) -> bytes | None:
        """The input's values as the binary extension has them, little-endian and row-major.

        None if the body is not of this form, or not good: then it is read the long way.
        """
        if not (body.startswith(self._before) and body.endswith(self._behind)):
            return None
        if self._decode is None or self._pack is None:
            return self._read_binary(body)
        try:
            values = self._decode(body[self._start : len(body) - self._left])
            return self._pack(*values) if len(values) == self._count else None
        except (msgspec.MsgspecError, UnicodeDecodeError, struct.error, OverflowError):
            return None

    def _read_binary(self, body: bytes) -> bytes | None:
        content = body[self._start :]
        if len(content) != self._size:
            return None
        if self._given.datatype == "BOOL":
            try:
                read_binary(self._given, memoryview(content))
            except InvalidValue:
                return None
        return content


def form_of(request: Inference, body: bytes, header_bytes: int | None) -> Form | None:
    """The form of a body that was read; None if it has none that could be recognised."""
    if len(request.inputs) != 1:
        return None
    given = request.inputs[0]
    if header_bytes is not None and not given.data:
        if given.datatype == "BYTES":
            return None  # as long as before, and yet cut elsewhere
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
        rows: of every answer.
    """

    __slots__ = ("_before_outputs", "_opening", "_outputs", "_rows")

    def __init__(
        self,
        model: str,
        version: int,
        parameters: dict[str, Any],
        request: Inference,
        example: dict[str, Array],
        rows: int,
    ) -> None:
        said = _encode({"model_name": model, "model_version": str(version)})[:-1]
        self._opening = said + b',"id":"'
        self._before_outputs = b'","parameters":' + _encode(parameters) + b',"outputs":['
        self._outputs = [_Output(one.name, example[one.name], one.is_binary, rows) for one in request.wanted(example)]
        self._rows = rows

    def over(self, outputs: dict[str, Array], texts: dict[str, list[bytes]]) -> Write:
        """What writes the answers of one batch.

        Args:
            outputs: the batch's.
            texts: the batch's rows in JSON by output, as far as they were written already; it is added to.
        Raises:
            UnsupportedType: an output of a kind the protocol's JSON form lacks.
        """
        opening, middle = self._opening, self._before_outputs
        values = [one.values(outputs[one.name], texts, self._rows) for one in self._outputs]
        if len(values) == 1 and not self._outputs[0].is_binary:
            middle, closing, lone = middle + self._outputs[0].before, self._outputs[0].behind + b"]}", values[0]
            return lambda request_id, start: (b"".join((opening, request_id, middle, lone(start), closing)), None)
        told = list(zip(self._outputs, values, strict=True))
        return lambda request_id, start: _written((opening, request_id, middle), told, start)


def _written(
    opening: tuple[bytes, ...], told: list[tuple["_Output", Callable[[int], bytes]]], start: int
) -> tuple[bytes, int | None]:
    pieces = [*opening]
    binary: list[bytes] = []
    comma = b""
    for output, values in told:
        content = values(start)
        if output.is_binary:
            binary.append(content)
            pieces += (comma, output.before, b"%d" % len(content), output.behind)
        else:
            pieces += (comma, output.before, content, output.behind)
        comma = b","
    pieces.append(b"]}")
    header = b"".join(pieces)
    return (b"".join((header, *binary)), len(header)) if binary else (header, None)


def binary_rows(array: Array, rows: int) -> Callable[[int], bytes]:
    """What gives the bytes of `rows` rows from a place on. Those of numbers are written once for all."""
    if array.dtype.kind in "OUS":
        return lambda start: write_binary(array[start : start + rows])
    content, size = write_binary(array), array[:1].nbytes
    return lambda start: content[start * size : (start + rows) * size]


def row_texts(name: str, array: Array) -> list[bytes]:
    """The values of each row in JSON, flat, without brackets. Numbers of a whole batch are written at once.

    Raises:
        UnsupportedType: an array of a kind the protocol's JSON form lacks.
    """
    rows = len(array)
    if array.size == 0:
        return [b""] * rows
    if array.dtype.kind in "fiub":
        return _encode(array.reshape(rows, -1).tolist())[2:-2].split(b"],[")
    flat = write_tensor(name, array).data or []
    width = len(flat) // rows
    return [_encode(flat[at : at + width])[1:-1] for at in range(0, len(flat), width)]


class _Output:
    """One output of an answer: what stands around its values, or around the count of their bytes."""

    __slots__ = ("_inner", "before", "behind", "is_binary", "name")

    def __init__(self, name: str, example: Array, is_binary: bool, rows: int) -> None:
        self.name = name
        self.is_binary = is_binary
        self._inner = example.shape[1:]
        shape = b",".join(b"%d" % size for size in (rows, *self._inner))
        said = b'{"name":' + _encode(name) + b',"datatype":' + _encode(datatype_of(example)) + b',"shape":[' + shape
        self.before = said + (b'],"parameters":{"binary_data_size":' if is_binary else b'],"data":[')
        self.behind = b"}}" if is_binary else b"]}"

    def values(self, array: Array, texts: dict[str, list[bytes]], rows: int) -> Callable[[int], bytes]:
        """What gives the values of `rows` rows from a place on, as they go over the wire."""
        if not self.is_binary:
            listed = texts.get(self.name)
            if listed is None:
                listed = texts[self.name] = row_texts(self.name, array)
            return listed.__getitem__ if rows == 1 else lambda start: b",".join(listed[start : start + rows])
        return binary_rows(array, rows)
