"""Recognises gRPC requests that differ from an earlier one in their numbers (and id) only, and writes their answers.

The same idea as `forms`, for messages: what stands around the tensors' bytes was read, and found good, when it came
first. A message is of a form when it is as long, and those bytes are the very same.
"""

from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np

from sill.protocols.oip.binary import KINDS, write_binary
from sill.protocols.oip.grpc_answers import write_parameters
from sill.protocols.oip.grpc_requests import GrpcInference
from sill.protocols.oip.tensors import datatype_of
from sill.protocols.protobuf import varint, write_bytes, write_numbers, write_text

ID_FIELD = 3 << 3 | 2
ID_LENGTH_MAX = 127
PLAIN = frozenset(KINDS) - {"BOOL", "BF16"}
"""Datatypes of which every pattern of bits is a value."""

Array = np.ndarray[Any, Any]


class GrpcForm:
    """A request that was read, with raw tensors whose numbers may differ.

    Args:
        message: as it came.
        asked: what was read in it.
        spans: where each tensor's bytes begin and end in the message without its id.
        id_at: where the id begins, with its tag; -1 for none.
    """

    __slots__ = ("_glue", "_head", "_id_at", "_size", "_tensors", "asked")

    def __init__(self, message: bytes, asked: GrpcInference, spans: list[tuple[int, int]], id_at: int) -> None:
        self.asked = asked
        self._id_at = id_at
        self._head = message[: id_at + 1] if id_at >= 0 else b""
        plain = _without_id(message, id_at)[0] if id_at >= 0 else message
        self._size = len(plain)
        edges = [0, *(edge for span in spans for edge in span), len(plain)]
        places = zip(edges[0::2], edges[1::2], strict=True)
        self._glue = [(plain[start:stop], start, stop) for start, stop in places if stop > start]
        self._tensors = [
            (given.name, KINDS[given.datatype], prod(given.shape), start, given.shape)
            for given, (start, _) in zip(asked.request.inputs, spans, strict=True)
        ]

    def read(self, message: bytes) -> tuple[str, dict[str, Array]] | None:
        """Id and tensors, or None if the message is not of this form."""
        request_id = ""
        if self._id_at >= 0:
            if not message.startswith(self._head):
                return None
            message, content = _without_id(message, self._id_at)
            if not content.isalnum():
                return None  # the long way says whether it may be one
            request_id = content.decode()
        if len(message) != self._size:
            return None
        for glue, start, stop in self._glue:
            if message[start:stop] != glue:
                return None
        return request_id, {
            name: np.frombuffer(message, kind, count, start).reshape(shape)
            for name, kind, count, start, shape in self._tensors
        }


def _without_id(message: bytes, at: int) -> tuple[bytes, bytes]:
    start = at + 2
    stop = start + message[at + 1]
    return message[:at] + message[stop:], message[start:stop]


def form_of(message: bytes, asked: GrpcInference) -> GrpcForm | None:
    """The form of a message that was read; None if it has none that could be recognised."""
    request = asked.request
    is_plain = all(one.datatype in PLAIN and prod(one.shape) for one in request.inputs)
    if not asked.raw or not is_plain or request.entity or any(one.classes for one in request.outputs):
        return None
    id_at = -1
    if request.id:
        field = write_text(3, request.id)
        id_at = message.find(field)
        if (
            len(field) > ID_LENGTH_MAX
            or not request.id.isascii()
            or not request.id.isalnum()
            or message.count(field) > 1
        ):
            return None
    id_size = len(write_text(3, request.id))
    base = _address(message)
    spans = []
    for content in asked.raw:
        start = _address(content) - base
        start -= id_size if 0 <= id_at < start else 0
        spans.append((start, start + len(content)))
    return GrpcForm(message, asked, spans, id_at) if spans == sorted(spans) else None


def _address(content: bytes | memoryview) -> int:
    found: int = np.frombuffer(content, dtype=np.uint8).__array_interface__["data"][0]
    return found


class GrpcAnswerForm:
    """What stays the same in the answers of one model version to one form of request."""

    __slots__ = ("_middle", "_names", "_opening", "_outputs", "_shapes")

    def __init__(
        self, name: str, version: int, parameters: Mapping[str, Any], asked: GrpcInference, outputs: Mapping[str, Array]
    ) -> None:
        self._opening = write_text(1, name) + write_text(2, str(version))
        self._middle = write_parameters(4, parameters)
        self._names = [want.name for want in asked.request.wanted(outputs)]
        self._shapes: list[tuple[int, ...]] = []
        self._outputs = b""

    def write(self, request_id: str, outputs: Mapping[str, Array]) -> bytes:
        """The answer with these outputs."""
        names = self._names
        shapes = [outputs[name].shape for name in names]
        if shapes != self._shapes:
            self._shapes = shapes
            self._outputs = self._middle + b"".join(
                write_bytes(
                    5,
                    write_text(1, name)
                    + write_text(2, datatype_of(outputs[name]))
                    + write_numbers(3, outputs[name].shape),
                )
                for name in names
            )
        pieces = [self._opening, b"\x1a", varint(len(request_id)), request_id.encode(), self._outputs]
        for name in names:
            content = write_binary(outputs[name])
            pieces += (b"2", varint(len(content)), content)
        return b"".join(pieces)
