"""Requests of the protocol's gRPC form to the same checked values as its HTTP form has.

Source: kserve/open-inference-protocol, specification/protocol/open_inference_grpc.proto. Raw and typed contents both;
a typed tensor is written as its raw bytes and read as such, so that one set of checks holds for all.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from sill.core.errors import InvalidValue, UnsupportedType
from sill.core.names import shorten
from sill.core.values import Value
from sill.protocols import protobuf
from sill.protocols.oip.binary import read_binary
from sill.protocols.oip.codec import INPUTS_MAX, OUTPUTS_MAX, Inference, check, checked
from sill.protocols.oip.long import LONG_TEXT_BYTES
from sill.protocols.oip.tensors import BYTES_PER_TEXT, TENSOR_BYTES_MAX, count_of
from sill.protocols.oip.types import InferRequest, RequestInput, RequestOutput
from sill.runtimes.dtypes import LITTLE
from sill.safety.bodies import Content

PARAMETERS_MAX = 1_000
"""Parameters of one request, its inputs and outputs together."""
DIMENSIONS_MAX = 64
FIELDS_MAX = 2 * INPUTS_MAX + OUTPUTS_MAX + PARAMETERS_MAX + 100
"""Fields of a request, known or not; a tensor's values are not among them."""
TYPED = {
    "BOOL": 1,
    "INT8": 2,
    "INT16": 2,
    "INT32": 2,
    "INT64": 3,
    "UINT8": 4,
    "UINT16": 4,
    "UINT32": 4,
    "UINT64": 5,
    "FP32": 6,
    "FP64": 7,
    "BYTES": 8,
}
"""By datatype, the field of typed contents that holds it. Those not listed have raw contents only."""
_VARINT_BYTES_MAX = 10
VARINTS_BYTES = 256 * 1024
"""Of packed numbers that are unpacked at a time."""
VALUES_MAX = TENSOR_BYTES_MAX // BYTES_PER_TEXT + 1
"""Values of a tensor that are fields of their own: texts, and numbers that were not packed."""


class GrpcInference(Value, frozen=True, kw_only=True):
    """A request for a model. `raw` are the raw contents of its inputs, in their order; none of typed contents."""

    model_name: str
    model_version: str
    request: Inference
    raw: tuple[Any, ...]
    wants_empty_final: bool = False
    """Of a stream: an answer without outputs says that there are no more."""


class _Given:
    """A message as far as it was read."""

    def __init__(self) -> None:
        self.name = self.version = self.id = ""
        self.parameters: dict[str, Any] = {}
        self.inputs: list[RequestInput] = []
        self.contents: list[memoryview | None] = []
        self.outputs: list[RequestOutput] = []
        self.raw: list[memoryview] = []
        self.parameters_left = PARAMETERS_MAX


def read_infer(message: Content) -> GrpcInference:
    """What a ModelInferRequest asks.

    Raises:
        InvalidValue: a malformed message, no input, a tensor that contradicts itself, raw and typed contents together.
        TooLarge: a tensor too large once widened.
        UnsupportedType: an unknown datatype, or the shared-memory extension.
    """
    given = _read(message)
    wants_empty_final = given.parameters.pop("triton_enable_empty_final_response", False) is True
    asked = InferRequest(
        id=given.id, inputs=tuple(given.inputs), parameters=given.parameters, outputs=tuple(given.outputs)
    )
    check(asked)
    return GrpcInference(
        model_name=given.name,
        model_version=given.version,
        request=checked(asked, _tensors(given)),
        raw=tuple(given.raw),
        wants_empty_final=wants_empty_final,
    )


def is_long(message: Content) -> bool:
    """Whether a message is to be read elsewhere: it has many texts, or typed numbers. Raw numbers are taken as they are.

    Raises:
        InvalidValue: it is malformed.
    """
    if len(message) <= LONG_TEXT_BYTES:
        return False
    given = _read(message)
    texts = [raw for raw, tensor in zip(given.raw, given.inputs, strict=False) if tensor.datatype == "BYTES"]
    return any(len(one) > LONG_TEXT_BYTES for one in (*texts, *given.contents) if one is not None)


def read_id(message: Content) -> str:
    """The id of a request that could not be read, as far as it can; for the answer that says so."""
    try:
        return next(
            (protobuf.text(one) for one in protobuf.fields(memoryview(message), FIELDS_MAX) if one.number == 3), ""
        )[:128]
    except InvalidValue:
        return ""


def read_texts(message: Content, *numbers: int) -> tuple[str, ...]:
    """The string fields of a small request; empty where one is not there. Other fields are passed over."""
    found = dict.fromkeys(numbers, "")
    for field in protobuf.fields(memoryview(message), FIELDS_MAX):
        if field.number in found:
            found[field.number] = protobuf.text(field)
    return tuple(found.values())


def read_flag(message: Content, number: int) -> bool:
    """A bool field."""
    return any(
        protobuf.number(one) != 0 for one in protobuf.fields(memoryview(message), FIELDS_MAX) if one.number == number
    )


def has_field(message: Content, number: int) -> bool:
    """Whether a field is there at all."""
    return any(one.number == number for one in protobuf.fields(memoryview(message), FIELDS_MAX))


def _read(message: Content) -> _Given:
    given = _Given()
    for field in protobuf.fields(memoryview(message), FIELDS_MAX):
        if field.number == 1:
            given.name = protobuf.text(field)
        elif field.number == 2:
            given.version = protobuf.text(field)
        elif field.number == 3:
            given.id = protobuf.text(field)
        elif field.number == 4:
            _read_parameter(field, given.parameters, given)
        elif field.number == 5:
            _check_count(given.inputs, INPUTS_MAX, "inputs")
            _read_input(protobuf.content(field), given)
        elif field.number == 6:
            _check_count(given.outputs, OUTPUTS_MAX, "outputs")
            _read_output(protobuf.content(field), given)
        elif field.number == 7:
            _check_count(given.raw, INPUTS_MAX, "raw_input_contents")
            given.raw.append(protobuf.content(field))
    return given


def _read_input(content: memoryview, given: _Given) -> None:
    name = datatype = ""
    shape: list[int] = []
    parameters: dict[str, Any] = {}
    typed: memoryview | None = None
    for field in protobuf.fields(content, FIELDS_MAX):
        if field.number == 1:
            name = protobuf.text(field)
        elif field.number == 2:
            datatype = protobuf.text(field)
        elif field.number == 3:
            shape += _sizes(field)
            _check_count(shape, DIMENSIONS_MAX, "shape")
        elif field.number == 4:
            _read_parameter(field, parameters, given)
        elif field.number == 5:
            typed = protobuf.content(field)
    given.inputs.append(RequestInput(name=name, datatype=datatype, shape=tuple(shape), parameters=parameters))
    given.contents.append(typed)


def _read_output(content: memoryview, given: _Given) -> None:
    name = ""
    parameters: dict[str, Any] = {}
    for field in protobuf.fields(content, FIELDS_MAX):
        if field.number == 1:
            name = protobuf.text(field)
        elif field.number == 2:
            _read_parameter(field, parameters, given)
    given.outputs.append(RequestOutput(name=name, parameters=parameters))


def _read_parameter(entry: protobuf.Field, into: dict[str, Any], given: _Given) -> None:
    given.parameters_left -= 1
    if given.parameters_left < 0:
        raise InvalidValue(f"more than {PARAMETERS_MAX} parameters were given.", field="parameters")
    key, value = "", None
    for field in protobuf.fields(protobuf.content(entry), FIELDS_MAX):
        if field.number == 1:
            key = protobuf.text(field)
        elif field.number == 2:
            value = _parameter(protobuf.content(field))
    into[key] = value


_PARAMETERS: dict[int, Callable[[protobuf.Field], Any]] = {
    1: lambda field: protobuf.number(field) != 0,
    2: protobuf.signed,
    3: protobuf.text,
    4: protobuf.double,
    5: protobuf.number,
}


def _parameter(content: memoryview) -> Any:
    value = None
    for field in protobuf.fields(content, FIELDS_MAX):
        if field.number in _PARAMETERS:
            value = _PARAMETERS[field.number](field)
    return value


def _sizes(field: protobuf.Field) -> Iterator[int]:
    """A shape, packed or not."""
    if field.wire != protobuf.BYTES:
        yield protobuf.signed(field)
        return
    yield from unpack_varints(field.content, DIMENSIONS_MAX + 1).view(np.int64).tolist()


def _tensors(given: _Given) -> dict[str, Any]:
    has_typed = any(content is not None for content in given.contents)
    if given.raw and has_typed:
        raise InvalidValue("raw_input_contents and typed contents were both given.", fix="Give one of them.")
    if given.raw and len(given.raw) != len(given.inputs):
        raise InvalidValue(
            f"{len(given.raw)} raw_input_contents were given for {len(given.inputs)} inputs.",
            field="raw_input_contents",
        )
    tensors: dict[str, Any] = {}
    for place, tensor in enumerate(given.inputs):
        if not tensor.name or len(tensor.name) > 200 or not tensor.name.isprintable():
            raise InvalidValue(f"inputs.name {shorten(tensor.name)!r} is not allowed.", field="inputs.name")
        if tensor.name in tensors:
            raise InvalidValue(f"input {shorten(tensor.name)!r} is given twice.", fix="Give it once.", field="inputs")
        content = given.raw[place] if given.raw else _as_raw(tensor, given.contents[place])
        tensors[tensor.name] = read_binary(tensor, content)
    return tensors


def _as_raw(tensor: RequestInput, content: memoryview | None) -> memoryview:
    """Typed contents as raw ones."""
    number = TYPED.get(tensor.datatype)
    found: list[protobuf.Field] = [] if content is None else list(protobuf.fields(content, VALUES_MAX))
    if number is None and found:
        raise UnsupportedType(
            f"{shorten(tensor.datatype)} has no typed contents in the protocol.", fix="Send raw_input_contents."
        )
    if any(field.number != number for field in found):
        raise InvalidValue(
            f"input {shorten(tensor.name)!r} holds {tensor.datatype}, and contents of another type were given.",
            field="contents",
        )
    if tensor.datatype == "BYTES":
        texts = [protobuf.content(field) for field in found]
        return memoryview(b"".join(piece for text in texts for piece in (len(text).to_bytes(4, "little"), text)))
    count = count_of(tensor, len(content or b""))
    return memoryview(b"".join(_raw_numbers(tensor, field, count) for field in found))


def _raw_numbers(tensor: RequestInput, field: protobuf.Field, count: int) -> bytes:
    if tensor.datatype in ("FP32", "FP64"):
        return bytes(field.content)
    if field.wire == protobuf.BYTES:
        values = unpack_varints(field.content, count)
    else:
        values = np.array([protobuf.number(field)], dtype=np.uint64)
    kind = LITTLE[tensor.datatype]
    if tensor.datatype == "BOOL":
        return bytes((values != 0).tobytes())
    if kind.kind == "i":
        values = values.view(np.int64)
    cast = values.astype(kind)
    if (cast != values).any():
        raise InvalidValue(f"input {shorten(tensor.name)!r} holds a value outside {tensor.datatype}.", field="contents")
    return bytes(cast.tobytes())


def unpack_varints(content: memoryview, count_max: int | None = None) -> "np.ndarray[Any, np.dtype[np.uint64]]":
    """Packed numbers, a piece after another: what it takes in between is many times as large as a piece.

    Raises:
        InvalidValue: the last one does not end, one is too long, or there are more than `count_max`.
    """
    octets, pieces, at, count = np.frombuffer(content, dtype=np.uint8), [np.empty(0, dtype=np.uint64)], 0, 0
    while at < len(octets):
        piece = octets[at : at + VARINTS_BYTES]
        ends = np.flatnonzero(piece < 0x80)
        if not len(ends) or (at + len(piece) == len(octets) and ends[-1] != len(piece) - 1):
            raise protobuf.malformed("it ends within a number")
        count += len(ends)
        if count_max is not None and count > count_max:
            raise protobuf.malformed(f"more than {count_max} numbers")
        at += int(ends[-1]) + 1
        pieces.append(_unpacked(piece[: ends[-1] + 1], ends))
    return np.concatenate(pieces)


def _unpacked(octets: "np.ndarray[Any, Any]", ends: "np.ndarray[Any, Any]") -> "np.ndarray[Any, np.dtype[np.uint64]]":
    """Numbers that end at these places."""
    starts = np.concatenate(([0], ends[:-1] + 1))
    lengths = ends - starts + 1
    if lengths.max() > _VARINT_BYTES_MAX or (octets[ends[lengths == _VARINT_BYTES_MAX]] > 1).any():
        raise protobuf.malformed("a number of more than 64 bits")
    shifts = (np.arange(len(octets)) - np.repeat(starts, lengths)).astype(np.uint64) * np.uint64(7)
    return np.bitwise_or.reduceat((octets & 0x7F).astype(np.uint64) << shifts, starts)


def _check_count(found: list[Any], limit: int, field: str) -> None:
    if len(found) > limit:
        raise InvalidValue(f"more than {limit} {field} were given.", field=field)
