"""The protocol's messages, field by field as its specification names them.

Source: kserve/open-inference-protocol, specification/protocol/inference_rest.md. Unknown fields are refused.
"""

from typing import Any

import msgspec

from sill.core.values import Value


class RequestInput(Value, frozen=True, kw_only=True):
    """One input tensor. `data` stays JSON until its datatype is known."""

    name: str
    shape: tuple[int, ...]
    datatype: str
    parameters: dict[str, Any] = {}
    data: msgspec.Raw = msgspec.Raw(b"")


class RequestOutput(Value, frozen=True, kw_only=True):
    """An output that is wanted."""

    name: str
    parameters: dict[str, Any] = {}


class InferRequest(Value, frozen=True, kw_only=True):
    """What is asked of a model."""

    inputs: tuple[RequestInput, ...]
    id: str = ""
    parameters: dict[str, Any] = {}
    outputs: tuple[RequestOutput, ...] = ()


class ResponseOutput(Value, frozen=True, kw_only=True, omit_defaults=True):
    """One output tensor: its data flat in row-major order, or how many bytes of the binary part are its own."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    parameters: dict[str, Any] = {}
    data: list[Any] | None = None


class InferResponse(Value, frozen=True, kw_only=True):
    """What a model answered."""

    model_name: str
    model_version: str
    id: str
    parameters: dict[str, Any]
    outputs: tuple[ResponseOutput, ...]


class ServerMetadata(Value, frozen=True, kw_only=True):
    """What the server is. Extensions are named as Triton names them."""

    name: str
    version: str
    extensions: tuple[str, ...] = ()


class TensorMetadata(Value, frozen=True, kw_only=True):
    """A tensor a model takes or gives; -1 is a free dimension."""

    name: str
    datatype: str
    shape: tuple[int, ...]


class ModelMetadata(Value, frozen=True, kw_only=True):
    """What a model takes and gives, and the versions that can be asked for by number."""

    name: str
    versions: tuple[str, ...]
    platform: str
    inputs: tuple[TensorMetadata, ...]
    outputs: tuple[TensorMetadata, ...]


class ProtocolError(Value, frozen=True, kw_only=True):
    """The protocol's only error form."""

    error: str
