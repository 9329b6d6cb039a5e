"""Request bodies to checked values, answers to bytes."""

from typing import Any

import msgspec
import numpy as np

from sill.core.errors import InvalidValue, UnsupportedType
from sill.core.names import shorten
from sill.core.values import Value
from sill.protocols.oip.tensors import read_tensor, write_tensor
from sill.protocols.oip.types import InferRequest, InferResponse, RequestInput
from sill.safety.strict_json import decode

INPUTS_MAX = 2_000
OUTPUTS_MAX = 64
ID_LENGTH_MAX = 128
NAME_LENGTH_MAX = 200
ENTITY_KEYS_MAX = 16
BINARY_HEADER = b"inference-header-content-length"
_BINARY = ("binary_data", "binary_data_output", "binary_data_size")
_SHARED_MEMORY = ("shared_memory_region", "shared_memory_byte_size", "shared_memory_offset")

_encoder = msgspec.json.Encoder()


class Inference(Value, frozen=True, kw_only=True):
    """A request, checked: arrays by name, the outputs that are wanted (none: all), our own parameters."""

    id: str
    tensors: dict[str, Any]
    inputs: tuple[RequestInput, ...]
    """As they came."""
    outputs: tuple[str, ...] = ()
    entity: dict[str, str] = {}


def read_request(body: bytes) -> Inference:
    """The request a body holds.

    Raises:
        InvalidValue: not strict JSON, no input, a name given twice, a tensor that contradicts itself.
        TooLarge: a tensor too large once widened.
        UnsupportedType: an unknown datatype, or the binary or shared-memory extension.
    """
    asked = decode(body, InferRequest)
    _check_extensions(asked)
    if not 1 <= len(asked.inputs) <= INPUTS_MAX:
        raise InvalidValue(f"{len(asked.inputs)} inputs were given; 1 to {INPUTS_MAX} are allowed.", field="inputs")
    tensors: dict[str, Any] = {}
    for given in asked.inputs:
        _check_text(given.name, "inputs.name", NAME_LENGTH_MAX)
        if given.name in tensors:
            raise InvalidValue(f"input {shorten(given.name)!r} is given twice.", fix="Give it once.", field="inputs")
        tensors[given.name] = read_tensor(given)
    if asked.id:
        _check_text(asked.id, "id", ID_LENGTH_MAX)
    outputs = tuple(wanted.name for wanted in asked.outputs)
    if len(outputs) > OUTPUTS_MAX or len(set(outputs)) != len(outputs):
        raise InvalidValue(f"an output is asked for twice, or more than {OUTPUTS_MAX} are.", field="outputs")
    return Inference(
        id=asked.id, tensors=tensors, inputs=asked.inputs, outputs=outputs, entity=_entity(asked.parameters)
    )


def write_response(
    name: str, version: int, request_id: str, parameters: dict[str, Any], outputs: dict[str, "np.ndarray[Any, Any]"]
) -> bytes:
    """The answer's body."""
    return _encoder.encode(
        InferResponse(
            model_name=name,
            model_version=str(version),
            id=request_id,
            parameters=parameters,
            outputs=tuple(write_tensor(output, array) for output, array in outputs.items()),
        )
    )


def _check_extensions(asked: InferRequest) -> None:
    everywhere = [
        asked.parameters,
        *(one.parameters for one in asked.inputs),
        *(one.parameters for one in asked.outputs),
    ]
    for parameters in everywhere:
        if any(parameters.get(name) for name in _BINARY):
            raise UnsupportedType(
                "binary tensor data is not supported; plain JSON data is.", fix="Send and ask with binary_data=False."
            )
        if any(name in parameters for name in _SHARED_MEMORY):
            raise UnsupportedType("shared memory is not supported; plain JSON data is.", fix="Send the data itself.")


def _check_text(text: str, field: str, length_max: int) -> None:
    if not text or len(text) > length_max or not text.isprintable():
        raise InvalidValue(
            f"{field} {shorten(text)!r} is not allowed: 1 to {length_max} printable characters are.", field=field
        )


def _entity(parameters: dict[str, Any]) -> dict[str, str]:
    given = parameters.get("entity", {})
    is_plain = isinstance(given, dict) and all(isinstance(value, str) for value in given.values())
    if not is_plain or len(given) > ENTITY_KEYS_MAX:
        raise InvalidValue(
            f"parameters.entity is an object of up to {ENTITY_KEYS_MAX} strings, such as {{'customer_id': '8'}}.",
            field="parameters.entity",
        )
    return dict(given)
