"""What is read back of a run's series and of many runs at once, and the same on the wire."""

from typing import Self

import msgspec

from sill.core.numbers import Number, to_number
from sill.core.values import Value
from sill.runs.logged_models.types import RunLinks
from sill.runs.types import NOW, Batch, Metric, Run, RunData


class RunRecord(Value, frozen=True, kw_only=True):
    """A run with what it logged: the last point of each metric, params, tags, and what it read and made."""

    run: Run
    metrics: tuple[Metric, ...] = ()
    params: dict[str, str] = {}
    tags: dict[str, str] = {}
    links: RunLinks = RunLinks()


class RunMetric(Value, frozen=True, kw_only=True):
    """A point of a series, and whose it is."""

    run_id: str
    metric: Metric


class SeriesState(Value, frozen=True, kw_only=True):
    """How far a series has come. `logged` grows with each point that arrives: ask for it to see whether to read again."""

    key: str
    logged: int
    last: Metric


class WireMetric(Value, frozen=True, kw_only=True):
    """A `Metric` on the wire."""

    key: str
    value: Number
    step: int = 0
    timestamp_ms: int = NOW
    model_id: str = ""
    dataset_name: str = ""
    dataset_digest: str = ""

    @classmethod
    def of(cls, metric: Metric) -> Self:
        """The point for the wire."""
        fields = {name: getattr(metric, name) for name in cls.__struct_fields__}
        return cls(**fields | {"value": to_number(metric.value)})

    def metric(self) -> Metric:
        """The point itself."""
        return Metric(**msgspec.structs.asdict(self) | {"value": float(self.value)})


class WireBatch(Value, frozen=True, kw_only=True):
    """A `Batch` on the wire."""

    metrics: tuple[WireMetric, ...] = ()
    params: dict[str, str] = {}
    tags: dict[str, str] = {}

    @classmethod
    def of(cls, batch: Batch) -> Self:
        """The batch for the wire."""
        metrics = tuple(WireMetric.of(metric) for metric in batch.metrics)
        return cls(metrics=metrics, params=batch.params, tags=batch.tags)

    def batch(self) -> Batch:
        """The batch itself."""
        return Batch(metrics=tuple([metric.metric() for metric in self.metrics]), params=self.params, tags=self.tags)


class WireData(Value, frozen=True, kw_only=True):
    """`RunData` on the wire."""

    metrics: dict[str, Number] = {}
    params: dict[str, str] = {}
    tags: dict[str, str] = {}

    @classmethod
    def of(cls, data: RunData) -> Self:
        """The data for the wire."""
        metrics = {key: to_number(value) for key, value in data.metrics.items()}
        return cls(metrics=metrics, params=data.params, tags=data.tags)

    def data(self) -> RunData:
        """The data itself."""
        metrics = {key: float(value) for key, value in self.metrics.items()}
        return RunData(metrics=metrics, params=self.params, tags=self.tags)


class WireState(Value, frozen=True, kw_only=True):
    """A `SeriesState` on the wire."""

    key: str
    logged: int
    last: WireMetric


class WireRecord(Value, frozen=True, kw_only=True):
    """A `RunRecord` on the wire."""

    run: Run
    metrics: tuple[WireMetric, ...] = ()
    params: dict[str, str] = {}
    tags: dict[str, str] = {}
    links: RunLinks = RunLinks()

    @classmethod
    def of(cls, record: RunRecord) -> Self:
        """The record for the wire."""
        fields = {name: getattr(record, name) for name in cls.__struct_fields__}
        return cls(**fields | {"metrics": tuple(WireMetric.of(metric) for metric in record.metrics)})

    def record(self) -> RunRecord:
        """The record itself."""
        fields = {name: getattr(self, name) for name in self.__struct_fields__}
        return RunRecord(**fields | {"metrics": tuple(metric.metric() for metric in self.metrics)})
