"""Walks an ONNX file before any library sees it. Whether the model computes something sensible is left to the runtime."""

import mmap
import re
from math import prod
from typing import NamedTuple

from sill.core.errors import InvalidValue
from sill.core.names import shorten

DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml", "com.microsoft"})
DEPTH_MAX = 64
FIELDS_MAX = 5_000_000
ELEMENTS_MAX = 2**40

Bytes = bytes | mmap.mmap


class OnnxSummary(NamedTuple):
    """What was found on the walk. Counts are over all graphs and functions."""

    ir_version: int
    nodes: int
    tensors: int
    domains: frozenset[str]


def walk_onnx(data: Bytes) -> OnnxSummary:
    """Checks the structure of a ModelProto by our own small reader.

    Refused: fields that ONNX does not have, nesting over 64, external data of any kind, a tensor whose raw bytes do
    not fit its shape, operators of a domain that is neither on the list nor a function inside the model.

    Raises:
        InvalidValue: one of the above, or not an ONNX model at all.
    """
    walk = _Walk(data)
    walk.message("Model", 0, len(data), 1)
    if not walk.ir_version or not walk.has_graph:
        raise _refused("it has no version or no graph")
    local = {domain for domain, _ in walk.functions}
    foreign = {domain for domain, name in walk.operators - walk.functions if domain not in DOMAINS}
    for domain in sorted(foreign | (walk.imported - DOMAINS - local)):
        listed = ", ".join(repr(name) for name in sorted(DOMAINS))
        raise _refused(f"it uses operators of the domain {shorten(domain)!r}; allowed are {listed}")
    return OnnxSummary(walk.ir_version, walk.nodes, walk.tensors, frozenset(walk.imported))


# Field numbers of onnx.proto (ir_version 14). V: number, F: 4 bytes, D: 8 bytes, S: string, bytes or a message that
# is of no interest; else the name of a message.
SCHEMA: dict[str, dict[int, str]] = {
    "Model": {
        **dict.fromkeys((1, 5), "V"),
        **dict.fromkeys((2, 3, 4, 6, 14, 26), "S"),
        7: "Graph",
        8: "OperatorSetId",
        20: "TrainingInfo",
        25: "Function",
    },
    "OperatorSetId": {1: "S", 2: "V"},
    "Graph": {
        **dict.fromkeys((2, 10, 14, 16), "S"),
        **dict.fromkeys((11, 12, 13), "ValueInfo"),
        1: "Node",
        5: "Tensor",
        15: "SparseTensor",
    },
    "Node": {**dict.fromkeys((1, 2, 3, 4, 6, 7, 8, 9, 10), "S"), 5: "Attribute"},
    "Attribute": {
        **dict.fromkeys((1, 4, 9, 13, 21), "S"),
        **dict.fromkeys((3, 8, 20), "V"),
        **dict.fromkeys((2, 7), "F"),
        **dict.fromkeys((5, 10), "Tensor"),
        **dict.fromkeys((6, 11), "Graph"),
        **dict.fromkeys((14, 15), "Type"),
        **dict.fromkeys((22, 23), "SparseTensor"),
    },
    "Tensor": {
        **dict.fromkeys((1, 2, 5, 7, 11, 14), "V"),
        **dict.fromkeys((3, 6, 8, 9, 12, 13, 16), "S"),
        4: "F",
        10: "D",
    },
    "SparseTensor": {1: "Tensor", 2: "Tensor", 3: "V"},
    "ValueInfo": {1: "S", 2: "Type", 3: "S", 4: "S"},
    "Type": {1: "TensorType", 4: "ElementType", 5: "MapType", 6: "S", 7: "S", 8: "TensorType", 9: "ElementType"},
    "TensorType": {1: "V", 2: "S"},
    "ElementType": {1: "Type"},
    "MapType": {1: "V", 2: "Type"},
    "TrainingInfo": {1: "Graph", 2: "Graph", 3: "S", 4: "S"},
    "Function": {
        **dict.fromkeys((1, 4, 5, 6, 8, 10, 13, 14), "S"),
        7: "Node",
        9: "OperatorSetId",
        11: "Attribute",
        12: "ValueInfo",
    },
}

# Given twice, readers merge or take the last; we could be shown another value than they use.
_ONCE = {
    "Model": {1, 7},
    "Node": {4, 7},
    "Attribute": {5, 6, 14, 20, 22},
    "Tensor": {2, 9, 14},
    "SparseTensor": {1, 2},
    "OperatorSetId": {1},
    "Function": {1, 10},
}
_WIRE_TYPES = {"V": (0, 2), "F": (5, 2), "D": (1, 2)}
_BITS = dict(zip(range(1, 27), (32, 8, 8, 16, 16, 32, 64, 0, 8, 16, 64, 32, 64, 64, 128, 16), strict=False)) | {
    **dict.fromkeys((17, 18, 19, 20, 24), 8),
    **dict.fromkeys((21, 22, 23), 4),
    **dict.fromkeys((25, 26), 2),
    **dict.fromkeys((27, 28), 6),
}
# Tree models hold millions of unpacked numbers in a row; they are skipped at C speed.
_RUNS = {
    ("Attribute", 0x3D): re.compile(rb"(?:\x3d.{4})++", re.DOTALL),
    ("Attribute", 0x40): re.compile(rb"(?:\x40[\x80-\xff]{0,9}+[\x00-\x7f])++"),
}
_NAME_BYTES_MAX = 1_000


class _Walk:
    """One pass over the file; remembers what the checks at the end need."""

    def __init__(self, data: Bytes) -> None:
        self.ir_version = 0
        self.has_graph = False
        self.nodes = 0
        self.tensors = 0
        self.operators: set[tuple[str, str]] = set()
        self.functions: set[tuple[str, str]] = set()
        self.imported: set[str] = set()
        self._data = data
        self._fields = 0

    def message(self, kind: str, at: int, end: int, depth: int) -> None:
        if depth > DEPTH_MAX:
            raise _refused(f"it is nested more than {DEPTH_MAX} levels deep")
        schema, once, data = SCHEMA[kind], _ONCE.get(kind, ()), self._data
        spans: dict[int, tuple[int, int]] = {}  # of bytes fields, the last one
        numbers: dict[int, int] = {}
        dims: list[int] = []
        while at < end:
            run = _RUNS.get((kind, data[at]))
            if run is not None and (skipped := run.match(data, at, end)) is not None:
                at = skipped.end()
                continue
            tag, at = self._varint(at, end)
            number, wire = tag >> 3, tag & 7
            part = schema.get(number)
            if part is None or wire not in _WIRE_TYPES.get(part, (2,)):
                raise _refused(f"{kind} has an unknown field {number}")
            if number in once and (number in spans or number in numbers):
                raise _refused(f"{kind} has its field {number} twice")
            self._fields += 1
            if self._fields > FIELDS_MAX:
                raise _refused(f"it has more than {FIELDS_MAX:,} fields")
            if wire == 0:
                numbers[number], at = self._varint(at, end)
                if kind == "Tensor" and number == 1:
                    dims.append(numbers[1])
                continue
            length, at = self._varint(at, end) if wire == 2 else ({5: 4, 1: 8}[wire], at)
            if at + length > end:
                raise _refused(f"field {number} of {kind} reaches beyond its end")
            spans[number] = (at, at + length)
            if part in SCHEMA:
                self.message(part, at, at + length, depth + 1)
            elif kind == "Tensor" and number == 1:
                dims += self._packed(at, at + length)
            at += length
        self._close(kind, spans, numbers, dims)

    def _close(self, kind: str, spans: dict[int, tuple[int, int]], numbers: dict[int, int], dims: list[int]) -> None:
        if kind == "Tensor":
            self._check_tensor(spans, numbers, dims)
        elif kind == "Node":
            self.nodes += 1
            self.operators.add((self._text(spans, 7), self._text(spans, 4)))
        elif kind == "Function":
            self.functions.add((self._text(spans, 10), self._text(spans, 1)))
        elif kind == "OperatorSetId":
            self.imported.add(self._text(spans, 1))
        elif kind == "Model":
            self.ir_version = numbers.get(1, 0)
            self.has_graph = 7 in spans

    def _check_tensor(self, spans: dict[int, tuple[int, int]], numbers: dict[int, int], dims: list[int]) -> None:
        self.tensors += 1
        if 13 in spans or 14 in spans or numbers.get(14, 0):
            raise _refused("a tensor lies in another file; external data is never followed")
        elements = prod(dims)
        if elements > ELEMENTS_MAX or any(dim > ELEMENTS_MAX for dim in dims):
            raise _refused("a tensor has a negative or too large dimension")
        if 2 not in numbers or (numbers[2] not in _BITS):
            raise _refused("a tensor has no known element type")
        if 9 in spans:
            start, end = spans[9]
            bits = _BITS[numbers[2]]
            if not bits or end - start != (elements * bits + 7) // 8:
                raise _refused(f"a tensor of shape {dims[:8]} has {end - start:,} bytes, which do not fit its shape")

    def _text(self, spans: dict[int, tuple[int, int]], number: int) -> str:
        start, end = spans.get(number, (0, 0))
        if end - start > _NAME_BYTES_MAX:
            raise _refused("an operator's name or domain is too long")
        try:
            return bytes(self._data[start:end]).decode("utf-8")
        except UnicodeDecodeError as wrong:
            raise _refused("an operator's name or domain is not UTF-8") from wrong

    def _packed(self, at: int, end: int) -> list[int]:
        if end - at > 8 * _NAME_BYTES_MAX:
            raise _refused("a tensor has too many dimensions")
        numbers = []
        while at < end:
            number, at = self._varint(at, end)
            numbers.append(number)
        return numbers

    def _varint(self, at: int, end: int) -> tuple[int, int]:
        value = shift = 0
        data = self._data
        while at < end and shift < 70:
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value, at
            shift += 7
        raise _refused("a number is cut short or too long")


def _refused(why: str) -> InvalidValue:
    return InvalidValue(
        f"the ONNX model is not accepted: {why}.", fix="Export it again as one self-contained file.", field="model"
    )
