"""The generate extension's question: flat JSON, whose values are named like the model's inputs.

Source: triton-inference-server/server, docs/protocol/extension_generate.md. Our own rule: a name beside `id` and
`parameters` that is no input of the model is refused, so that a wrong name is not taken for a parameter.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from sill.core.errors import InvalidValue
from sill.core.names import shorten
from sill.core.values import Value
from sill.protocols.oip.codec import ID_LENGTH_MAX
from sill.protocols.oip.tensors import BINARY_ONLY, read_tensor, unnested
from sill.protocols.oip.types import RequestInput
from sill.runtimes.types import Signature, TensorSpec
from sill.safety.strict_json import decode

RESERVED = ("id", "parameters")


class GenerateRequest(Value, frozen=True, kw_only=True):
    """Tensors by name, and the request's own id, if it brought one."""

    id: str
    tensors: dict[str, Any]


def read_generate(body: bytes, signature: Signature) -> GenerateRequest:
    """What a body asks of a model.

    Raises:
        InvalidValue: a name that is no input, or a value that is not of the input's kind or shape.
    """
    given = decode(body, dict[str, Any])
    return GenerateRequest(tensors=_tensors(signature, given), id=_id(given))


def _tensors(signature: Signature, given: Mapping[str, Any]) -> dict[str, Any]:
    """The values that are named like inputs, as tensors: a value stands for one row, or for one element."""
    parameters = given.get("parameters", {})
    if not isinstance(parameters, dict):
        raise InvalidValue("parameters is an object.", field="parameters")
    specs = {spec.name: spec for spec in signature.inputs}
    for name in given:
        if name not in specs and name not in RESERVED:
            raise InvalidValue(
                f"{shorten(name)!r} is no input; the model takes {', '.join(specs)}.",
                fix="Put parameters into parameters.",
                field=name[:100],
            )
    values = {**{name: value for name, value in parameters.items() if name in specs}, **given}
    return {name: _tensor(spec, values[name]) for name, spec in specs.items() if name in values}


def _tensor(spec: TensorSpec, value: Any) -> Any:
    dims, flat = unnested(spec.name, value)
    rank = len(spec.shape)
    if not dims:
        shape = (1,) * max(rank, 1)
    else:
        shape = (1, *dims) if len(dims) == rank - 1 else dims
    datatype = "FP32" if spec.datatype in BINARY_ONLY else spec.datatype
    data = msgspec.Raw(msgspec.json.encode(flat))
    tensor = read_tensor(RequestInput(name=spec.name, shape=shape, datatype=datatype, data=data))
    return tensor.reshape(()) if rank == 0 and tensor.size == 1 else tensor


def _id(given: Mapping[str, Any]) -> str:
    said = given.get("id", "")
    if not isinstance(said, str) or len(said) > ID_LENGTH_MAX or (said and not said.isprintable()):
        raise InvalidValue(f"id is a text of up to {ID_LENGTH_MAX} printable characters.", field="id")
    return said
