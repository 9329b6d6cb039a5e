"""Request bodies to checked values, answers to bytes: plain JSON, or JSON with the tensors' bytes behind it.

Source: the protocol's REST specification, and its binary tensor data extension as Triton documents it
(triton-inference-server/server, docs/protocol/extension_binary_data.md).
"""

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np

from sill.core.errors import InvalidValue, UnsupportedType
from sill.core.names import shorten
from sill.core.values import Value
from sill.protocols.oip.binary import read_binary, write_binary
from sill.protocols.oip.classes import classify
from sill.protocols.oip.tensors import datatype_of, read_tensor, write_tensor
from sill.protocols.oip.types import InferRequest, InferResponse, RequestInput, ResponseOutput
from sill.safety.bodies import Content
from sill.safety.strict_json import decode

INPUTS_MAX = 2_000
OUTPUTS_MAX = 64
CLASSES_MAX = 10_000
ID_LENGTH_MAX = 128
UINT64_MAX = 2**64 - 1
NAME_LENGTH_MAX = 200
ENTITY_KEYS_MAX = 16
BINARY_HEADER = b"inference-header-content-length"
JSON_TYPE, BINARY_TYPE = b"application/json", b"application/octet-stream"
_SHARED_MEMORY = ("shared_memory_region", "shared_memory_byte_size", "shared_memory_offset")

_NO_DATA = (b"", b"null", b"[]")
"""What may stand beside `binary_data_size`: KServe's client sends an empty list with a tensor without values."""

_encoder = msgspec.json.Encoder()

Array = np.ndarray[Any, Any]


class Wanted(Value, frozen=True, kw_only=True):
    """How one output is to be answered. `classes` above 0: the so many likeliest classes instead of the tensor."""

    name: str
    is_binary: bool = False
    classes: int = 0


class Inference(Value, frozen=True, kw_only=True):
    """A request, checked: arrays by name, the outputs that are wanted (none: all), our own parameters."""

    id: str
    tensors: dict[str, Any]
    inputs: tuple[RequestInput, ...]
    """As they came."""
    outputs: tuple[Wanted, ...] = ()
    is_binary: bool = False
    """How outputs are answered that nothing else was said about."""
    entity: dict[str, str] = {}
    priority: str = ""
    """`interactive`, `batch` or `background`; empty if nothing was said."""
    timeout_ms: float = 0.0
    """0 if nothing was said."""

    def wanted(self, outputs: Mapping[str, Array]) -> tuple[Wanted, ...]:
        """What is to be answered; every output, if the request names none.

        Raises:
            InvalidValue: it names one that there is not.
        """
        for one in self.outputs:
            if one.name not in outputs:
                raise InvalidValue(
                    f"output {shorten(one.name)!r} is not known; the model gives {', '.join(outputs)}.", field="outputs"
                )
        return self.outputs or tuple(Wanted(name=name, is_binary=self.is_binary) for name in outputs)


def read_request(body: Content, header_bytes: int | None = None) -> Inference:
    """The request a body holds.

    Args:
        header_bytes: how much of the body is JSON; the rest is the tensors' bytes. None: all of it.
    Raises:
        InvalidValue: not strict JSON, no input, a name given twice, a tensor that contradicts itself, bytes left over.
        TooLarge: a tensor too large once widened.
        UnsupportedType: an unknown datatype, or the shared-memory extension.
    """
    header, rest = _split(body, header_bytes)
    asked = decode(header, InferRequest, integer_max=UINT64_MAX)
    check(asked)
    return checked(asked, _tensors(asked.inputs, rest))


def check(asked: InferRequest) -> None:
    """What can be said before its tensors are read.

    Raises:
        InvalidValue: no input, too many, or an id that cannot be one.
        UnsupportedType: the shared-memory extension.
    """
    _check_extensions(asked)
    if not 1 <= len(asked.inputs) <= INPUTS_MAX:
        raise InvalidValue(f"{len(asked.inputs)} inputs were given; 1 to {INPUTS_MAX} are allowed.", field="inputs")
    if asked.id:
        _check_text(asked.id, "id", ID_LENGTH_MAX)


def checked(asked: InferRequest, tensors: dict[str, Any]) -> Inference:
    """A request whose tensors were read, whatever wire they came over.

    Raises:
        InvalidValue: an output that is asked for twice, a parameter that is not of its kind.
    """
    return Inference(
        id=asked.id or "",
        tensors=tensors,
        inputs=asked.inputs,
        outputs=_wanted(asked),
        is_binary=_flag(asked.parameters, "binary_data_output"),
        entity=_entity(asked.parameters),
        priority=_priority(asked.parameters),
        timeout_ms=_timeout_ms(asked.parameters),
    )


def write_response(
    name: str,
    version: int,
    request_id: str,
    parameters: dict[str, Any],
    outputs: Mapping[str, Array],
    wanted: tuple[Wanted, ...],
) -> tuple[bytes, int | None]:
    """The answer's body, and how much of it is JSON: None if all of it is.

    Raises:
        InvalidValue: classes are wanted of something that has none.
    """
    told: list[ResponseOutput] = []
    binary: list[bytes] = []
    for want in wanted:
        array = outputs[want.name]
        if want.classes:
            array = classify(want.name, array, want.classes)
        if want.is_binary:
            content = write_binary(array)
            size = {"binary_data_size": len(content)}
            shape, datatype = array.shape, datatype_of(array)
            told.append(ResponseOutput(name=want.name, datatype=datatype, shape=shape, parameters=size))
            binary.append(content)
        else:
            told.append(write_tensor(want.name, array))
    header = _encoder.encode(
        InferResponse(
            model_name=name, model_version=str(version), id=request_id, parameters=parameters, outputs=tuple(told)
        )
    )
    return (b"".join((header, *binary)), len(header)) if binary else (header, None)


def _split(body: Content, header_bytes: int | None) -> tuple[bytes, memoryview]:
    if header_bytes is None:
        return bytes(body), memoryview(b"")
    if not 0 < header_bytes <= len(body):
        raise InvalidValue(
            f"the JSON part is said to have {header_bytes} bytes, the body has {len(body)}.",
            fix="Send Inference-Header-Content-Length as it is.",
            field="inference-header-content-length",
        )
    return bytes(body[:header_bytes]), memoryview(body)[header_bytes:]


def _tensors(inputs: tuple[RequestInput, ...], rest: memoryview) -> dict[str, Any]:
    tensors: dict[str, Any] = {}
    at = 0
    for given in inputs:
        _check_text(given.name, "inputs.name", NAME_LENGTH_MAX)
        if given.name in tensors:
            raise InvalidValue(f"input {shorten(given.name)!r} is given twice.", fix="Give it once.", field="inputs")
        size = given.parameters.get("binary_data_size")
        if size is None:
            tensors[given.name] = read_tensor(given)
            continue
        if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= len(rest) - at:
            raise InvalidValue(
                f"input {shorten(given.name)!r} is said to have {shorten(str(size))} bytes; {len(rest) - at} are left.",
                field="binary_data_size",
            )
        if bytes(given.data) not in _NO_DATA:
            raise InvalidValue(f"input {shorten(given.name)!r} has both data and binary_data_size.", field="inputs")
        tensors[given.name] = read_binary(given, rest[at : at + size])
        at += size
    if at != len(rest):
        raise InvalidValue(f"{len(rest) - at} bytes follow the last tensor.", fix="Name each with binary_data_size.")
    return tensors


def _wanted(asked: InferRequest) -> tuple[Wanted, ...]:
    names = [one.name for one in asked.outputs]
    for name in names:
        _check_text(name, "outputs.name", NAME_LENGTH_MAX)
    if len(names) > OUTPUTS_MAX or len(set(names)) != len(names):
        raise InvalidValue(f"an output is asked for twice, or more than {OUTPUTS_MAX} are.", field="outputs")
    by_default = _flag(asked.parameters, "binary_data_output")
    found = []
    for one in asked.outputs:
        is_binary = _flag(one.parameters, "binary_data") if "binary_data" in one.parameters else by_default
        classes = one.parameters.get("classification", 0)
        if not isinstance(classes, int) or isinstance(classes, bool) or not 0 <= classes <= CLASSES_MAX:
            raise InvalidValue(
                f"classification is a number of classes, 1 to {CLASSES_MAX}, not {shorten(str(classes))}.",
                field="outputs.parameters.classification",
            )
        found.append(Wanted(name=one.name, is_binary=is_binary, classes=classes))
    return tuple(found)


def _flag(parameters: dict[str, Any], name: str) -> bool:
    value = parameters.get(name, False)
    if not isinstance(value, bool):
        raise InvalidValue(f"{name} is true or false, not {shorten(str(value))}.", field=f"parameters.{name}")
    return value


def _check_extensions(asked: InferRequest) -> None:
    everywhere = [
        asked.parameters,
        *(one.parameters for one in asked.inputs),
        *(one.parameters for one in asked.outputs),
    ]
    if any(name in parameters for parameters in everywhere for name in _SHARED_MEMORY):
        raise UnsupportedType("shared memory is not supported.", fix="Send the data itself.")


def _check_text(text: str, field: str, length_max: int) -> None:
    if not text or len(text) > length_max or not text.isprintable():
        raise InvalidValue(
            f"{field} {shorten(text)!r} is not allowed: 1 to {length_max} printable characters are.", field=field
        )


def _priority(parameters: dict[str, Any]) -> str:
    """Triton's numbers, 1 the highest and 0 the default; two are all we have below it."""
    value = parameters.get("priority", 0)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise InvalidValue(f"priority is a whole number, not {shorten(str(value))}.", field="parameters.priority")
    return ("", "interactive", "batch", "background")[min(value, 3)]


def _timeout_ms(parameters: dict[str, Any]) -> float:
    """Triton's `timeout`, microseconds."""
    value = parameters.get("timeout", 0)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise InvalidValue(
            f"timeout is a number of microseconds, not {shorten(str(value))}.", field="parameters.timeout"
        )
    return value / 1e3


def _entity(parameters: dict[str, Any]) -> dict[str, str]:
    given = parameters.get("entity", {})
    if isinstance(given, str):  # gRPC's parameters are flat: there the object comes as its JSON
        given = decode(given.encode(), dict[str, Any])
    is_plain = isinstance(given, dict) and all(isinstance(value, str) for value in given.values())
    if not is_plain or len(given) > ENTITY_KEYS_MAX:
        raise InvalidValue(
            f"parameters.entity is an object of up to {ENTITY_KEYS_MAX} strings, such as {{'customer_id': '8'}}.",
            field="parameters.entity",
        )
    return dict(given)
