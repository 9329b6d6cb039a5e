"""Messages about logged models, and a logged model of ours as one."""

from sill.protocols.mlflow import errors
from sill.protocols.mlflow.experiments import Tag, TagOut, texts_in, texts_out
from sill.protocols.mlflow.runs import MetricOut
from sill.protocols.mlflow.wire import Int64, Wire, number
from sill.runs.logged_models.types import (
    DatasetFilter,
    LoggedModel,
    LoggedModelSpec,
    LoggedModelStatus,
    ModelMetric,
    ModelOrder,
)

MAX_RESULTS = 100

_STATUS = {
    LoggedModelStatus.PENDING: "LOGGED_MODEL_PENDING",
    LoggedModelStatus.READY: "LOGGED_MODEL_READY",
    LoggedModelStatus.FAILED: "LOGGED_MODEL_UPLOAD_FAILED",
}
_NAMES = {name: status for status, name in _STATUS.items()}


class CreateLoggedModel(Wire, frozen=True, kw_only=True):
    """Request."""

    experiment_id: str | None = None
    name: str | None = None
    model_type: str = ""
    source_run_id: str = ""
    params: tuple[Tag, ...] = ()
    tags: tuple[Tag, ...] = ()


class FinalizeLoggedModel(Wire, frozen=True, kw_only=True):
    """Request."""

    model_id: str | None = None
    status: int | str | None = None


class GetLoggedModel(Wire, frozen=True, kw_only=True):
    """Request."""

    allow_deleted: bool = False


class ModelParams(Wire, frozen=True, kw_only=True):
    """Request of params."""

    params: tuple[Tag, ...] = ()


class ModelTags(Wire, frozen=True, kw_only=True):
    """Request of tags."""

    tags: tuple[Tag, ...] = ()


class DatasetWanted(Wire, frozen=True, kw_only=True):
    """A dataset the model must have been measured on."""

    dataset_name: str = ""
    dataset_digest: str = ""


class OrderWanted(Wire, frozen=True, kw_only=True):
    """One key of an order."""

    field_name: str = ""
    ascending: bool = True
    dataset_name: str = ""
    dataset_digest: str = ""


class SearchLoggedModels(Wire, frozen=True, kw_only=True):
    """Request."""

    experiment_ids: tuple[str, ...] = ()
    filter: str = ""
    datasets: tuple[DatasetWanted, ...] = ()
    max_results: Int64 | None = None
    order_by: tuple[OrderWanted, ...] = ()
    page_token: str = ""


class LoggedModelInfo(Wire, frozen=True, kw_only=True):
    """What is known of a logged model besides what was measured."""

    model_id: str
    experiment_id: str
    name: str
    creation_timestamp_ms: int
    last_updated_timestamp_ms: int
    artifact_uri: str
    status: str
    model_type: str = ""
    source_run_id: str = ""
    status_message: str = ""
    tags: tuple[TagOut, ...] = ()


class LoggedModelData(Wire, frozen=True, kw_only=True):
    """Params and what was measured."""

    params: tuple[TagOut, ...] = ()
    metrics: tuple[MetricOut, ...] = ()


class WireLoggedModel(Wire, frozen=True, kw_only=True):
    """A logged model."""

    info: LoggedModelInfo
    data: LoggedModelData


class LoggedModelAnswer(Wire, frozen=True, kw_only=True):
    """Answer of create, get and finalize."""

    model: WireLoggedModel


class FoundLoggedModels(Wire, frozen=True, kw_only=True):
    """Answer of search."""

    models: tuple[WireLoggedModel, ...] = ()
    next_page_token: str = ""


def spec_in(body: CreateLoggedModel) -> LoggedModelSpec:
    """A logged model to make."""
    return LoggedModelSpec(
        experiment_id=body.experiment_id or "",
        name=body.name or "",
        run_id=body.source_run_id,
        model_type=body.model_type,
        params=texts_in(body.params, "params"),
        tags=texts_in(body.tags, "tags"),
    )


def status_in(given: int | str | None) -> LoggedModelStatus:
    """A status by MLflow's name or number.

    Raises:
        InvalidValue: it is neither.
    """
    if str(given) in ("1", "2", "3"):
        return tuple(_STATUS)[int(given or 0) - 1]
    if str(given) not in _NAMES:
        raise errors.invalid_value("status", given, f"Allowed are {', '.join(_NAMES)}.")
    return _NAMES[str(given)]


def filters_in(given: tuple[DatasetWanted, ...]) -> tuple[DatasetFilter, ...]:
    """Datasets the models must have been measured on.

    Raises:
        InvalidValue: one has no name.
    """
    if not all(each.dataset_name for each in given):
        raise errors.invalid("`dataset_name` in the `datasets` clause must be specified.")
    return tuple(DatasetFilter(name=each.dataset_name, digest=each.dataset_digest) for each in given)


def order_in(given: tuple[OrderWanted, ...]) -> tuple[ModelOrder, ...]:
    """The order that is asked for."""
    return tuple(
        ModelOrder(
            field=each.field_name,
            is_ascending=each.ascending,
            dataset_name=each.dataset_name,
            dataset_digest=each.dataset_digest,
        )
        for each in given
    )


def logged_model_out(model: LoggedModel) -> WireLoggedModel:
    """A logged model of ours in MLflow's form."""
    info = LoggedModelInfo(
        model_id=model.id,
        experiment_id=model.experiment_id,
        name=model.name,
        creation_timestamp_ms=model.created_us // 1_000,
        last_updated_timestamp_ms=model.updated_us // 1_000,
        artifact_uri=model.artifact_uri,
        status=_STATUS[model.status],
        model_type=model.model_type,
        source_run_id=model.run_id,
        status_message=model.status_message,
        tags=texts_out(model.tags),
    )
    metrics = tuple(_metric_out(metric, model.id) for metric in model.metrics)
    return WireLoggedModel(info=info, data=LoggedModelData(params=texts_out(model.params), metrics=metrics))


def _metric_out(metric: ModelMetric, model_id: str) -> MetricOut:
    return MetricOut(
        key=metric.key,
        value=number(metric.value),
        timestamp=metric.timestamp_ms,
        step=metric.step,
        dataset_name=metric.dataset_name,
        dataset_digest=metric.dataset_digest,
        model_id=model_id,
        run_id=metric.run_id,
    )
