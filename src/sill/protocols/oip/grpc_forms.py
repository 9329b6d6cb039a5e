"""Recognises gRPC requests that differ from an earlier one in their numbers (and id) only, and writes their answers.

The same idea as `forms`, for messages: what stands around the tensors' bytes was read, and found good, when it came
first. A message is of a form when it is as long, and those bytes are the very same.
"""

from collections.abc import Callable, Mapping
from math import prod
from typing import Any

import numpy as np

from sill.protocols.oip.forms import binary_rows
from sill.protocols.oip.grpc_answers import write_parameters
from sill.protocols.oip.grpc_requests import GrpcInference
from sill.protocols.oip.tensors import datatype_of
from sill.protocols.protobuf import varint, write_bytes, write_numbers, write_text
from sill.runtimes.dtypes import LITTLE

ID_FIELD = 3 << 3 | 2
ID_LENGTH_MAX = 127
PLAIN = frozenset(LITTLE) - {"BOOL", "BF16"}
"""Datatypes of which every pattern of bits is a value."""

Array = np.ndarray[Any, Any]


class GrpcForm:
    """A request that was read, with one raw tensor whose numbers may differ.

    Args:
        message: as it came.
        asked: what was read in it.
        span: where the tensor's bytes begin and end in the message without its id.
        id_at: where the id begins, with its tag; -1 for none.
    """

    __slots__ = ("_before", "_behind", "_head", "_id_at", "_size", "_start", "_stop", "asked", "dtype", "name", "shape")

    def __init__(self, message: bytes, asked: GrpcInference, span: tuple[int, int], id_at: int) -> None:
        self.asked = asked
        (given,) = asked.request.inputs
        self.name = given.name
        self.shape = given.shape
        self.dtype = np.dtype(LITTLE[given.datatype].str)  # the machine's own where it is the same
        self._id_at = id_at
        self._head = message[: id_at + 1] if id_at >= 0 else b""
        plain = _without_id(message, id_at)[0] if id_at >= 0 else message
        self._size = len(plain)
        self._start, self._stop = span
        self._before, self._behind = plain[: self._start], plain[self._stop :]

    def read(self, message: bytes) -> tuple[str, bytes] | None:
        """Id and the tensor's bytes, or None if the message is not of this form."""
        request_id = ""
        if self._id_at >= 0:
            if not message.startswith(self._head):
                return None
            message, content = _without_id(message, self._id_at)
            if not content.isalnum():
                return None  # the long way says whether it may be one
            request_id = content.decode()
        if len(message) != self._size or not message.startswith(self._before) or not message.endswith(self._behind):
            return None
        return request_id, message[self._start : self._stop]


def _without_id(message: bytes, at: int) -> tuple[bytes, bytes]:
    start = at + 2
    stop = start + message[at + 1]
    return message[:at] + message[stop:], message[start:stop]


def form_of(message: bytes, asked: GrpcInference) -> GrpcForm | None:
    """The form of a message that was read; None if it has none that could be recognised."""
    request = asked.request
    if len(request.inputs) != 1 or len(asked.raw) != 1 or request.entity or any(one.classes for one in request.outputs):
        return None
    (given,), (content,) = request.inputs, asked.raw
    if given.datatype not in PLAIN or not prod(given.shape):
        return None
    id_at, id_size = -1, 0
    if request.id:
        field = write_text(3, request.id)
        id_at, id_size = message.find(field), len(field)
        is_plain = request.id.isascii() and request.id.isalnum()
        if id_size > ID_LENGTH_MAX or not is_plain or message.count(field) > 1:
            return None
    start = _address(content) - _address(message)
    start -= id_size if 0 <= id_at < start else 0
    return GrpcForm(message, asked, (start, start + len(content)), id_at)


def _address(content: bytes | memoryview) -> int:
    found: int = np.frombuffer(content, dtype=np.uint8).__array_interface__["data"][0]
    return found


class GrpcAnswerForm:
    """What stays the same in the answers of one model version to one form of request.

    Args:
        example: an answer's outputs, for their types and inner shapes.
        rows: of every answer.
    """

    __slots__ = ("_middle", "_names", "_opening", "_rows")

    def __init__(
        self,
        name: str,
        version: int,
        parameters: Mapping[str, Any],
        asked: GrpcInference,
        example: Mapping[str, Array],
        rows: int,
    ) -> None:
        self._rows = rows
        self._names = [want.name for want in asked.request.wanted(example)]
        self._opening = write_text(1, name) + write_text(2, str(version)) + b"\x1a"
        self._middle = write_parameters(4, parameters) + b"".join(
            write_bytes(
                5,
                write_text(1, name)
                + write_text(2, datatype_of(example[name]))
                + write_numbers(3, (rows, *example[name].shape[1:])),
            )
            for name in self._names
        )

    def over(self, outputs: Mapping[str, Array]) -> Callable[[bytes, int], bytes]:
        """What writes the answers of one batch, each from its id and its first row there."""
        opening, middle = self._opening, self._middle
        every = [binary_rows(outputs[name], self._rows) for name in self._names]

        def write(request_id: bytes, start: int) -> bytes:
            pieces = [opening, varint(len(request_id)), request_id, middle]
            for values in every:
                content = values(start)
                pieces += (b"2", varint(len(content)), content)
            return b"".join(pieces)

        return write
