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
    """What is asked of a model. KServe's client repeats the path's model name in the body; the path decides."""

    inputs: tuple[RequestInput, ...]
    id: str | None = ""
    model_name: str | None = ""
    model_version: str | None = ""
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


class TensorConfig(Value, frozen=True, kw_only=True):
    """A tensor in a model's configuration. `dims` leave out the batch axis of a model that has one."""

    name: str
    data_type: str
    """As Triton names it: `TYPE_FP32`, `TYPE_STRING` ..."""
    dims: tuple[int, ...]


class TransactionPolicy(Value, frozen=True, kw_only=True):
    """Whether a request may be answered by none or several answers."""

    decoupled: bool


class DynamicBatching(Value, frozen=True, kw_only=True):
    """How many rows are answered together; nothing waits for a batch to fill."""

    preferred_batch_size: tuple[int, ...]
    max_queue_delay_microseconds: int = 0


class ModelConfig(Value, frozen=True, kw_only=True):
    """How a model is served, in the fields of Triton's configuration that mean something here."""

    name: str
    platform: str
    backend: str
    max_batch_size: int
    """Most rows of one request; 0 for a model whose tensors have no batch axis."""
    input: tuple[TensorConfig, ...]
    output: tuple[TensorConfig, ...]
    model_transaction_policy: TransactionPolicy
    dynamic_batching: DynamicBatching | None = None


class Duration(Value, frozen=True, kw_only=True):
    """How often, and how long in all, in nanoseconds."""

    count: int = 0
    ns: int = 0


class InferenceStatistics(Value, frozen=True, kw_only=True):
    """Summed over requests. What is not measured here stays 0: reading and writing tensors is part of `success`."""

    success: Duration = Duration()
    fail: Duration = Duration()
    queue: Duration = Duration()
    compute_input: Duration = Duration()
    compute_infer: Duration = Duration()
    compute_output: Duration = Duration()
    cache_hit: Duration = Duration()
    cache_miss: Duration = Duration()


class BatchStatistics(Value, frozen=True, kw_only=True):
    """Executions of one batch size."""

    batch_size: int
    compute_input: Duration = Duration()
    compute_infer: Duration = Duration()
    compute_output: Duration = Duration()


class MemoryUsage(Value, frozen=True, kw_only=True):
    """What a loaded model holds."""

    type: str
    id: int
    byte_size: int


class ModelStatistics(Value, frozen=True, kw_only=True):
    """What one version of a model did since it was loaded. `last_inference`: milliseconds since 1970 UTC, 0 for never."""

    name: str
    version: str
    last_inference: int
    inference_count: int
    execution_count: int
    inference_stats: InferenceStatistics
    batch_stats: tuple[BatchStatistics, ...] = ()
    memory_usage: tuple[MemoryUsage, ...] = ()


class StatisticsAnswer(Value, frozen=True, kw_only=True):
    """Answer of the statistics paths."""

    model_stats: tuple[ModelStatistics, ...]


class IndexRequest(Value, frozen=True, kw_only=True):
    """What is asked of the repository's index."""

    ready: bool = False
    """Only the models that are ready."""
    repository_name: str = ""


class IndexedModel(Value, frozen=True, kw_only=True, omit_defaults=True):
    """One version in the repository. `state` is READY, LOADING or UNAVAILABLE."""

    name: str
    version: str = ""
    state: str = ""
    reason: str = ""


class RepositoryRequest(Value, frozen=True, kw_only=True):
    """Body of load and unload."""

    parameters: dict[str, Any] = {}


class ProtocolError(Value, frozen=True, kw_only=True):
    """The protocol's only error form."""

    error: str
