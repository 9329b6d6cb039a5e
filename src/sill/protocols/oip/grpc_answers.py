"""Answers of the protocol's gRPC form, from arrays and from the values its HTTP form has."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from sill.protocols.oip.binary import write_binary
from sill.protocols.oip.classes import classify
from sill.protocols.oip.codec import Wanted
from sill.protocols.oip.grpc_requests import TYPED
from sill.protocols.oip.tensors import datatype_of
from sill.protocols.oip.types import (
    Duration,
    IndexedModel,
    ModelConfig,
    ModelMetadata,
    ModelStatistics,
    ServerMetadata,
    TensorConfig,
    TensorMetadata,
)
from sill.protocols.protobuf import varint, write_bytes, write_double, write_number, write_numbers, write_text

FINAL = "triton_final_response"
_TYPES = {
    name: number
    for number, name in enumerate(
        ("BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16", "FP32", "FP64"), 1
    )
} | {"STRING": 13, "BF16": 14}
"""Triton's numbers of datatypes in a model's configuration."""

Array = np.ndarray[Any, Any]


def write_parameters(number: int, parameters: Mapping[str, Any]) -> bytes:
    """A map of parameters, as a field of that number."""
    return b"".join(
        write_bytes(number, write_text(1, key) + write_bytes(2, _value(value))) for key, value in parameters.items()
    )


def _value(value: Any) -> bytes:
    if isinstance(value, bool):
        return varint(1 << 3) + varint(int(value))
    if isinstance(value, int):
        return varint(2 << 3) + varint(value)
    return write_double(4, value) if isinstance(value, float) else write_bytes(3, str(value).encode())


def write_infer(
    name: str,
    version: int,
    request_id: str,
    parameters: Mapping[str, Any],
    outputs: Mapping[str, Array],
    wanted: tuple[Wanted, ...],
    *,
    is_raw: bool,
) -> bytes:
    """A ModelInferResponse.

    Args:
        is_raw: answer with raw contents; otherwise typed ones, if all that is wanted has them.
    Raises:
        InvalidValue: classes are wanted of something that has none.
    """
    arrays = [
        classify(want.name, outputs[want.name], want.classes) if want.classes else outputs[want.name] for want in wanted
    ]
    datatypes = [datatype_of(array) for array in arrays]
    is_raw = is_raw or any(kind not in TYPED for kind in datatypes)
    pieces = [
        write_text(1, name),
        write_text(2, str(version)),
        write_text(3, request_id),
        write_parameters(4, parameters),
    ]
    for want, array, datatype in zip(wanted, arrays, datatypes, strict=True):
        tensor = write_text(1, want.name) + write_text(2, datatype) + write_numbers(3, array.shape)
        pieces.append(write_bytes(5, tensor if is_raw else tensor + write_bytes(5, _typed(datatype, array))))
    if is_raw:
        pieces += [write_bytes(6, write_binary(array)) for array in arrays]
    return b"".join(pieces)


def write_streamed(answer: bytes = b"", error: str = "") -> bytes:
    """A ModelStreamInferResponse around an answer or an error, or an error with the id of its request in `answer`."""
    return write_text(1, error) + write_bytes(2, answer)


def write_failed(request_id: str, *, is_marked: bool = False) -> bytes:
    """The part of a ModelInferResponse that says which request an error, or an end, is about."""
    return write_text(3, request_id) + (write_parameters(4, {FINAL: True}) if is_marked else b"")


def _typed(datatype: str, array: Array) -> bytes:
    number = TYPED[datatype]
    if datatype == "BYTES":
        items = [one if isinstance(one, bytes) else str(one).encode() for one in array.reshape(-1).tolist()]
        return b"".join(write_bytes(number, item) for item in items)
    if datatype in ("FP32", "FP64"):
        content = write_binary(array)
        return write_bytes(number, content) if content else b""
    return write_numbers(number, map(int, array.reshape(-1).tolist()))


def write_server(server: ServerMetadata) -> bytes:
    """A ServerMetadataResponse."""
    extensions = b"".join(write_text(3, one) for one in server.extensions)
    return write_text(1, server.name) + write_text(2, server.version) + extensions


def write_model(model: ModelMetadata) -> bytes:
    """A ModelMetadataResponse."""
    return b"".join(
        (
            write_text(1, model.name),
            *(write_text(2, version) for version in model.versions),
            write_text(3, model.platform),
            *(write_bytes(4, _metadata(one)) for one in model.inputs),
            *(write_bytes(5, _metadata(one)) for one in model.outputs),
        )
    )


def _metadata(tensor: TensorMetadata) -> bytes:
    return write_text(1, tensor.name) + write_text(2, tensor.datatype) + write_numbers(3, tensor.shape)


def write_config(config: ModelConfig) -> bytes:
    """A ModelConfigResponse. Source: triton-inference-server/common, protobuf/model_config.proto."""
    batching = config.dynamic_batching
    inner = b"".join(
        (
            write_text(1, config.name),
            write_text(2, config.platform),
            write_number(4, config.max_batch_size),
            *(write_bytes(5, _config(one, 4)) for one in config.input),
            *(write_bytes(6, _config(one, 3)) for one in config.output),
            b"" if batching is None else write_bytes(11, write_numbers(1, batching.preferred_batch_size)),
            write_text(17, config.backend),
            write_bytes(19, write_number(1, int(config.model_transaction_policy.decoupled))),
        )
    )
    return write_bytes(1, inner)


def _config(tensor: TensorConfig, dims_field: int) -> bytes:
    datatype = _TYPES.get(tensor.data_type.removeprefix("TYPE_"), 0)
    return write_text(1, tensor.name) + write_number(2, datatype) + write_numbers(dims_field, tensor.dims)


def write_statistics(models: tuple[ModelStatistics, ...]) -> bytes:
    """A ModelStatisticsResponse."""
    return b"".join(write_bytes(1, _statistics(one)) for one in models)


def _statistics(model: ModelStatistics) -> bytes:
    told = model.inference_stats
    durations = (
        *(told.success, told.fail, told.queue, told.compute_input),
        *(told.compute_infer, told.compute_output, told.cache_hit, told.cache_miss),
    )
    return b"".join(
        (
            write_text(1, model.name),
            write_text(2, model.version),
            write_number(3, model.last_inference),
            write_number(4, model.inference_count),
            write_number(5, model.execution_count),
            write_bytes(6, _durations(durations, 1)),
            *(
                write_bytes(
                    7,
                    write_number(1, one.batch_size)
                    + _durations((one.compute_input, one.compute_infer, one.compute_output), 2),
                )
                for one in model.batch_stats
            ),
            *(
                write_bytes(8, write_text(1, one.type) + write_number(2, one.id) + write_number(3, one.byte_size))
                for one in model.memory_usage
            ),
        )
    )


def _durations(durations: tuple[Duration, ...], first: int) -> bytes:
    return b"".join(
        write_bytes(number, write_number(1, one.count) + write_number(2, one.ns))
        for number, one in enumerate(durations, first)
    )


def write_index(models: tuple[IndexedModel, ...]) -> bytes:
    """A RepositoryIndexResponse."""
    return b"".join(
        write_bytes(
            1,
            write_text(1, one.name) + write_text(2, one.version) + write_text(3, one.state) + write_text(4, one.reason),
        )
        for one in models
    )
