"""Recognises request bodies that differ in their numbers only, and writes their answers from what stays the same.

Nothing is parsed twice: what stands around the numbers was read, and found good, when it came first. A JSON body is of
a form when it begins and ends with those very bytes and holds one flat list of numbers between them; a binary one when
its JSON part is the same and its tensor as long.
"""

import struct
from typing import Any

import msgspec
import numpy as np

from sill.core.errors import InvalidValue
from sill.protocols.oip.binary import KINDS, read_binary, write_binary
from sill.protocols.oip.codec import Inference
from sill.protocols.oip.tensors import FLOATS, INTEGERS, datatype_of, write_tensor
from sill.protocols.oip.types import RequestInput

_LISTS: dict[str, Any] = {name: msgspec.json.Decoder(list[float]) for name in FLOATS} | {
    name: msgspec.json.Decoder(list[int]) for name in INTEGERS
}
_LETTERS = {"FP32": "f", "FP64": "d", "INT8": "b", "INT16": "h", "INT32": "i", "INT64": "q"}
_LETTERS |= {"UINT8": "B", "UINT16": "H", "UINT32": "I", "UINT64": "Q"}
_encode = msgspec.json.Encoder().encode

Array = np.ndarray[Any, Any]


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
        "_pack",
        "_size",
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
        kind = KINDS[given.datatype]
        self.dtype = kind if kind.names else np.dtype(kind.str)  # the machine's own where it is the same
        self._before = before
        self._behind = behind
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
            values = self._decode(body[len(self._before) : len(body) - len(self._behind)])
            return self._pack(*values) if len(values) == self._count else None
        except (msgspec.MsgspecError, UnicodeDecodeError, struct.error, OverflowError):
            return None

    def _read_binary(self, body: bytes) -> bytes | None:
        content = body[len(self._before) :]
        if len(content) != self._size:
            return None
        if self._given.datatype == "BOOL":
            try:
                read_binary(self._given, memoryview(content))
            except InvalidValue:
                return None
        return content

    def array(self, packed: bytes) -> Array:
        """What was read, as an array."""
        return np.frombuffer(packed, self.dtype).reshape(self.shape)


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
        self, request_id: str, outputs: dict[str, Array], texts: dict[str, list[bytes]], start: int, end: int
    ) -> tuple[bytes, int | None]:
        """The answer's body for rows `start` to `end` of a batch, and how much of it is JSON (None: all).

        Args:
            request_id: must need no escapes.
            outputs: the batch's.
            texts: the batch's rows in JSON by output, as far as they were written already; it is added to.
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
                rows = texts.get(output.name)
                if rows is None:
                    rows = texts[output.name] = row_texts(output.name, outputs[output.name])
                pieces += output.listed(end - start, rows[start] if end - start == 1 else b",".join(rows[start:end]))
            comma = b","
        pieces.append(b"]}")
        if not binary:
            return b"".join(pieces), None
        header = b"".join(pieces)
        return b"".join((header, *binary)), len(header)


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
    __slots__ = ("_before", "_behind", "is_binary", "name")

    def __init__(self, name: str, example: Array, is_binary: bool) -> None:
        self.name = name
        self.is_binary = is_binary
        datatype = _encode(datatype_of(example))
        self._before = b'{"name":' + _encode(name) + b',"datatype":' + datatype + b',"shape":['
        self._behind = b"".join(b",%d" % size for size in example.shape[1:]) + b"],"

    def listed(self, rows: int, values: bytes) -> tuple[bytes, ...]:
        return (self._before, b"%d" % rows, self._behind, b'"data":[', values, b"]}")

    def sized(self, rows: int, size: int) -> tuple[bytes, ...]:
        return (self._before, b"%d" % rows, self._behind, b'"parameters":{"binary_data_size":%d}}' % size)
