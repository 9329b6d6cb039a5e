"""What a model takes and gives."""

from typing import Literal

from sill.core.values import Value


class TensorSpec(Value, frozen=True, kw_only=True):
    """A named tensor. `datatype` is the Open Inference Protocol's (FP32, INT64, BYTES ...); -1 is a free dimension."""

    name: str
    datatype: str
    shape: tuple[int, ...]


class Signature(Value, frozen=True, kw_only=True):
    """What a model takes and gives. `features` names the columns of a tabular input tensor, in order.

    `classes` names the classes of a classifier, in the order of its probabilities. A model that `streams` can give its
    answer in parts, each of them rows of the same outputs.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    features: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    task: Literal["classification", "regression", "other"] = "classification"
    streams: bool = False


class Inspection(Value, frozen=True, kw_only=True):
    """What a model's file says of itself, the memory it takes once loaded, and how long one row takes (p99).

    `latency_ms_p99` is None for a model that does not answer a row of zeros.
    """

    signature: Signature
    memory_bytes: int
    latency_ms_p99: float | None = None
