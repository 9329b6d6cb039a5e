"""Datasets, inputs, outputs and logged models, as the API, the SDK and the store know them."""

from enum import StrEnum
from typing import Self

import msgspec

from sill.core.numbers import Number, to_number
from sill.core.values import Value
from sill.runs.types import Lifecycle


class Dataset(Value, frozen=True, kw_only=True):
    """A dataset as a run saw it: a name, a digest of its content, and where it came from. Known once an experiment."""

    name: str
    digest: str
    source_type: str
    source: str
    schema: str | None = None
    profile: str | None = None


class DatasetInput(Value, frozen=True, kw_only=True):
    """A dataset that a run read, with tags such as `mlflow.data.context`."""

    dataset: Dataset
    tags: dict[str, str] = {}


class ModelOutput(Value, frozen=True, kw_only=True):
    """A logged model that a run made, and at which step."""

    model_id: str
    step: int = 0


class RunInputs(Value, frozen=True, kw_only=True):
    """What a run read: datasets and ids of logged models."""

    datasets: tuple[DatasetInput, ...] = ()
    models: tuple[str, ...] = ()


class RunLinks(Value, frozen=True, kw_only=True):
    """What a run read and made."""

    inputs: RunInputs = RunInputs()
    outputs: tuple[ModelOutput, ...] = ()


class DatasetSummary(Value, frozen=True, kw_only=True):
    """A dataset that runs of an experiment read, and in which context."""

    experiment_id: str
    name: str
    digest: str
    context: str = ""


class LoggedModelStatus(StrEnum):
    """A logged model is pending until its files are there."""

    PENDING = "pending"
    READY = "ready"
    FAILED = "failed"


class ModelMetric(Value, frozen=True, kw_only=True):
    """A point measured of a logged model, by which run, on which dataset (if one was named)."""

    key: str
    value: float
    step: int = 0
    timestamp_ms: int = 0
    run_id: str = ""
    dataset_name: str = ""
    dataset_digest: str = ""


class LoggedModel(Value, frozen=True, kw_only=True):
    """A model that a run logged: its record, beside its files. Registering it is another step."""

    id: str
    project: str
    experiment_id: str
    name: str
    run_id: str = ""
    """The run that made it; may be empty."""
    model_type: str = ""
    status: LoggedModelStatus = LoggedModelStatus.PENDING
    status_message: str = ""
    artifact_uri: str = ""
    params: dict[str, str] = {}
    tags: dict[str, str] = {}
    metrics: tuple[ModelMetric, ...] = ()
    lifecycle: Lifecycle = Lifecycle.ACTIVE
    created_us: int = 0
    updated_us: int = 0
    deleted_us: int = 0
    revision: int = 0


class WireModelMetric(Value, frozen=True, kw_only=True):
    """A `ModelMetric` on the wire."""

    key: str
    value: Number
    step: int = 0
    timestamp_ms: int = 0
    run_id: str = ""
    dataset_name: str = ""
    dataset_digest: str = ""


class WireModel(Value, frozen=True, kw_only=True):
    """A `LoggedModel` on the wire."""

    model: LoggedModel
    """Without its metrics."""
    metrics: tuple[WireModelMetric, ...] = ()

    @classmethod
    def of(cls, model: LoggedModel) -> Self:
        """The model for the wire."""
        metrics = tuple(
            WireModelMetric(**msgspec.structs.asdict(one) | {"value": to_number(one.value)}) for one in model.metrics
        )
        return cls(model=msgspec.structs.replace(model, metrics=()), metrics=metrics)

    def whole(self) -> LoggedModel:
        """The model itself."""
        metrics = tuple(
            ModelMetric(**msgspec.structs.asdict(one) | {"value": float(one.value)}) for one in self.metrics
        )
        return msgspec.structs.replace(self.model, metrics=metrics)


class LoggedModelSpec(Value, frozen=True, kw_only=True):
    """A logged model to make; an empty name is made up."""

    experiment_id: str = "0"
    name: str = ""
    run_id: str = ""
    model_type: str = ""
    params: dict[str, str] = {}
    tags: dict[str, str] = {}


class DatasetFilter(Value, frozen=True, kw_only=True):
    """Only models measured on this dataset; an empty digest means any."""

    name: str
    digest: str = ""


class ModelOrder(Value, frozen=True, kw_only=True):
    """One key of an order: `name`, `creation_time` … or `metrics.KEY`, the latter measured on one dataset if named."""

    field: str
    is_ascending: bool = True
    dataset_name: str = ""
    dataset_digest: str = ""
