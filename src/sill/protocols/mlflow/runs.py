"""Messages about runs and what they log, and runs of ours as such."""

import re
from collections import Counter
from typing import Annotated, Any

import msgspec

from sill.core.names import shorten
from sill.protocols.mlflow import errors
from sill.protocols.mlflow.experiments import Tag, TagOut, texts_in, texts_out
from sill.protocols.mlflow.inputs import InputsOut, OutputsOut, inputs_out, outputs_out
from sill.protocols.mlflow.wire import INT64_MAX, Int64, Number, Wire, number
from sill.runs.tracking.types import RunMetric, RunRecord
from sill.runs.types import Batch, Metric, Run, RunState

TIME_MS_MAX = INT64_MAX // 1_000
"""Times of runs are kept in microseconds."""
TimeMs = Annotated[int, msgspec.Meta(ge=0, le=INT64_MAX)]

_SHOWN_MAX = 10
"""Most keys that a refusal names."""
_RUN_ID = re.compile(r"run-[0-9a-z]{8,40}")
_STATUS = {
    RunState.QUEUED: "SCHEDULED",
    RunState.RUNNING: "RUNNING",
    RunState.FINISHED: "FINISHED",
    RunState.FAILED: "FAILED",
    RunState.CANCELLED: "KILLED",
}
_STATES = {name: state for state, name in _STATUS.items()}
_NUMBERS = ("RUNNING", "SCHEDULED", "FINISHED", "FAILED", "KILLED")


class MetricIn(Metric, frozen=True, kw_only=True, rename={"timestamp_ms": "timestamp"}, forbid_unknown_fields=False):
    """A point of a batch: decoded straight into what the tracking service takes."""

    timestamp_ms: TimeMs
    step: Int64 = 0


class LogBatch(Wire, frozen=True, kw_only=True):
    """Request."""

    run_id: str | None = None
    metrics: tuple[MetricIn, ...] = ()
    params: tuple[Tag, ...] = ()
    tags: tuple[Tag, ...] = ()


class LogMetric(Wire, frozen=True, kw_only=True):
    """Request."""

    run_id: str | None = None
    run_uuid: str | None = None
    key: str | None = None
    value: float | None = None
    timestamp: TimeMs | None = None
    step: Int64 = 0
    model_id: str = ""
    dataset_name: str = ""
    dataset_digest: str = ""


class RunText(Wire, frozen=True, kw_only=True):
    """Request of log-parameter, set-tag and delete-tag."""

    run_id: str | None = None
    run_uuid: str | None = None
    key: str | None = None
    value: str = ""


class CreateRun(Wire, frozen=True, kw_only=True):
    """Request."""

    experiment_id: str | None = None
    user_id: str = ""
    run_name: str = ""
    start_time: TimeMs | None = None
    tags: tuple[Tag, ...] = ()


class UpdateRun(Wire, frozen=True, kw_only=True):
    """Request."""

    run_id: str | None = None
    run_uuid: str | None = None
    status: int | str | None = None
    end_time: TimeMs | None = None
    run_name: str | None = None


class RunId(Wire, frozen=True, kw_only=True):
    """Request of get, delete and restore."""

    run_id: str | None = None
    run_uuid: str | None = None


class SearchRuns(Wire, frozen=True, kw_only=True):
    """Request."""

    experiment_ids: tuple[str, ...] = ()
    filter: str = ""
    run_view_type: int | str | None = None
    max_results: Int64 = 1_000
    order_by: tuple[str, ...] = ()
    page_token: str = ""


class GetMetricHistory(Wire, frozen=True, kw_only=True):
    """Request."""

    run_id: str | None = None
    run_uuid: str | None = None
    metric_key: str | None = None
    page_token: str = ""
    max_results: Int64 | None = None


class GetHistoryBulk(Wire, frozen=True, kw_only=True):
    """Request, as MLflow's own pages send it."""

    run_id: tuple[str, ...] = ()
    metric_key: str | None = None
    max_results: Int64 | None = None


class GetHistoryInterval(Wire, frozen=True, kw_only=True):
    """Request of get-history-bulk-interval."""

    run_ids: tuple[str, ...] = ()
    metric_key: str | None = None
    start_step: Int64 | None = None
    end_step: Int64 | None = None
    max_results: Int64 | None = None


class LogModel(Wire, frozen=True, kw_only=True):
    """Request of log-model: a model's MLmodel file as JSON text."""

    run_id: str | None = None
    model_json: str | None = None


class MetricOut(Wire, frozen=True, kw_only=True):
    """A point of a series."""

    key: str
    value: Number
    timestamp: int
    step: int
    dataset_name: str = ""
    dataset_digest: str = ""
    model_id: str = ""
    run_id: str = ""


class RunInfo(Wire, frozen=True, kw_only=True):
    """What is known of a run besides what it logged."""

    run_id: str
    run_uuid: str
    run_name: str
    experiment_id: str
    user_id: str
    status: str
    start_time: int
    artifact_uri: str
    lifecycle_stage: str
    end_time: int | None = None


class RunData(Wire, frozen=True, kw_only=True):
    """What a run logged: the last point of each metric, params, tags."""

    metrics: tuple[MetricOut, ...] = ()
    params: tuple[TagOut, ...] = ()
    tags: tuple[TagOut, ...] = ()


class WireRun(Wire, frozen=True, kw_only=True):
    """A run."""

    info: RunInfo
    data: RunData
    inputs: InputsOut
    outputs: OutputsOut | None = None
    """Left out of the answer to create."""


class RunAnswer(Wire, frozen=True, kw_only=True):
    """Answer of create and get."""

    run: WireRun


class UpdatedRun(Wire, frozen=True, kw_only=True):
    """Answer of update."""

    run_info: RunInfo


class FoundRuns(Wire, frozen=True, kw_only=True):
    """Answer of search."""

    runs: tuple[WireRun, ...] = ()
    next_page_token: str = ""


class Points(Wire, frozen=True, kw_only=True):
    """Answer of the histories."""

    metrics: tuple[MetricOut, ...] = ()
    next_page_token: str = ""


class BulkPoints(Wire, frozen=True, kw_only=True):
    """Answer of the histories of several runs in bulk: the list is there also when it is empty."""

    metrics: tuple[MetricOut, ...]


def batch_in(body: LogBatch) -> Batch:
    """What a batch logs.

    Raises:
        InvalidValue: a param is given twice, or a key is missing.
    """
    params = texts_in(body.params, "params")
    if len(params) != len(body.params):
        twice = [key for key, count in Counter(param.key for param in body.params).items() if count > 1][:_SHOWN_MAX]
        raise errors.invalid(
            f"Duplicate parameter keys have been submitted: {twice}. Please ensure the request contains only one param "
            "value per param key."
        )
    for index, metric in enumerate(body.metrics):
        if not metric.key:
            raise errors.missing_value(f"metrics[{index}].key")
    return Batch(metrics=body.metrics, params=params, tags=texts_in(body.tags, "tags"))


def metric_in(body: LogMetric) -> Batch:
    """The one point of log-metric; its required fields were given."""
    point = Metric(
        key=body.key or "",
        value=body.value or 0.0,
        step=body.step,
        timestamp_ms=body.timestamp or 0,
        model_id=body.model_id,
        dataset_name=body.dataset_name,
        dataset_digest=body.dataset_digest,
    )
    return Batch(metrics=(point,))


def run_id_in(body: Any) -> str:
    """The id of the run that a message is about.

    Raises:
        NotFound: it does not look like one of ours, so there is none.
    """
    run_id: str = body.run_id or getattr(body, "run_uuid", None) or ""
    if not _RUN_ID.fullmatch(run_id):
        raise errors.refusal(errors.RESOURCE_DOES_NOT_EXIST, f"Run with id={shorten(run_id)} not found")
    return run_id


def time_us(given_ms: int | None, field: str) -> int | None:
    """A time of a run in microseconds.

    Raises:
        InvalidValue: it lies beyond what is kept.
    """
    if given_ms is not None and given_ms > TIME_MS_MAX:
        raise errors.invalid_value(field, given_ms, f"It is milliseconds since 1970, at most {TIME_MS_MAX}.")
    return None if given_ms is None else given_ms * 1_000


def state_in(given: int | str | None) -> RunState | None:
    """A state by MLflow's name or number; None if it is not given.

    Raises:
        InvalidValue: it is neither.
    """
    if given is None or given == "":
        return None
    name = _NUMBERS[int(given) - 1] if str(given) in ("1", "2", "3", "4", "5") else str(given)
    if name not in _STATES:
        raise errors.invalid_value("status", given, f"Allowed are {', '.join(_NUMBERS)}.")
    return _STATES[name]


def info_out(run: Run) -> RunInfo:
    """A run without what it logged."""
    return RunInfo(
        run_id=run.id,
        run_uuid=run.id,
        run_name=run.name,
        experiment_id=run.experiment_id,
        user_id=run.user,
        status=_STATUS[run.state],
        start_time=(run.started_us or run.created_us) // 1_000,
        artifact_uri=run.artifact_uri,
        lifecycle_stage=run.lifecycle.value,
        end_time=run.ended_us // 1_000 if run.ended_us else None,
    )


def run_out(record: RunRecord) -> WireRun:
    """A run with what it logged."""
    return WireRun(
        info=info_out(record.run),
        data=RunData(
            metrics=tuple([metric_out(metric) for metric in record.metrics]),
            params=texts_out(record.params),
            tags=texts_out(record.tags),
        ),
        inputs=inputs_out(record.links.inputs),
        outputs=outputs_out(record.links.outputs),
    )


def metric_out(metric: Metric, run_id: str = "") -> MetricOut:
    """A point in MLflow's form."""
    return MetricOut(
        key=metric.key,
        value=number(metric.value),
        timestamp=metric.timestamp_ms,
        step=metric.step,
        dataset_name=metric.dataset_name,
        dataset_digest=metric.dataset_digest,
        model_id=metric.model_id,
        run_id=run_id,
    )


def points_out(points: tuple[RunMetric, ...]) -> tuple[MetricOut, ...]:
    """Points of several runs."""
    return tuple([metric_out(point.metric, point.run_id) for point in points])
