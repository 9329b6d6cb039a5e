"""Messages about what runs read and made: datasets and logged models."""

from sill.protocols.mlflow import errors
from sill.protocols.mlflow.experiments import Tag, TagOut, texts_in, texts_out
from sill.protocols.mlflow.wire import Int64, Wire
from sill.runs.logged_models.types import Dataset, DatasetInput, DatasetSummary, ModelOutput, RunInputs

EXPERIMENTS_MAX = 20
"""Experiments that one search for datasets may name."""


class DatasetIn(Wire, frozen=True, kw_only=True):
    """A dataset as a run saw it."""

    name: str | None = None
    digest: str | None = None
    source_type: str | None = None
    source: str | None = None
    schema: str | None = None
    profile: str | None = None


class DatasetInputIn(Wire, frozen=True, kw_only=True):
    """A dataset that was read, with tags."""

    tags: tuple[Tag, ...] = ()
    dataset: DatasetIn | None = None


class ModelInput(Wire, frozen=True, kw_only=True):
    """A logged model that was read."""

    model_id: str = ""


class ModelOutputIn(Wire, frozen=True, kw_only=True):
    """A logged model that was made, at a step."""

    model_id: str = ""
    step: Int64 = 0


class LogInputs(Wire, frozen=True, kw_only=True):
    """Request."""

    run_id: str | None = None
    datasets: tuple[DatasetInputIn, ...] = ()
    models: tuple[ModelInput, ...] = ()


class LogOutputs(Wire, frozen=True, kw_only=True):
    """Request."""

    run_id: str | None = None
    models: tuple[ModelOutputIn, ...] | None = None


class SearchDatasets(Wire, frozen=True, kw_only=True):
    """Request."""

    experiment_ids: tuple[str, ...] = ()


class DatasetOut(Wire, frozen=True, kw_only=True):
    """A dataset."""

    name: str
    digest: str
    source_type: str
    source: str
    schema: str | None = None
    profile: str | None = None


class DatasetInputOut(Wire, frozen=True, kw_only=True):
    """A dataset that was read."""

    dataset: DatasetOut
    tags: tuple[TagOut, ...] = ()


class ModelOutputOut(Wire, frozen=True, kw_only=True):
    """A logged model that was made."""

    model_id: str
    step: int


class InputsOut(Wire, frozen=True, kw_only=True):
    """What a run read."""

    dataset_inputs: tuple[DatasetInputOut, ...] = ()
    model_inputs: tuple[ModelInput, ...] = ()


class OutputsOut(Wire, frozen=True, kw_only=True):
    """What a run made."""

    model_outputs: tuple[ModelOutputOut, ...] = ()


class SummaryOut(Wire, frozen=True, kw_only=True):
    """A dataset that runs of an experiment read."""

    experiment_id: str
    name: str
    digest: str
    context: str = ""


class FoundDatasets(Wire, frozen=True, kw_only=True):
    """Answer of search-datasets."""

    dataset_summaries: tuple[SummaryOut, ...] = ()


def inputs_in(body: LogInputs) -> RunInputs:
    """What a run says it read.

    Raises:
        InvalidValue: a dataset, or a part of one that it cannot do without, is missing.
    """
    return RunInputs(
        datasets=tuple(_dataset_in(given, index) for index, given in enumerate(body.datasets)),
        models=tuple(model.model_id for model in body.models),
    )


def outputs_in(body: LogOutputs) -> tuple[ModelOutput, ...]:
    """What a run says it made."""
    return tuple(ModelOutput(model_id=model.model_id, step=model.step) for model in body.models or ())


def inputs_out(inputs: RunInputs) -> InputsOut:
    """What a run read, in MLflow's form."""
    return InputsOut(
        dataset_inputs=tuple(
            DatasetInputOut(dataset=_dataset_out(each.dataset), tags=texts_out(each.tags)) for each in inputs.datasets
        ),
        model_inputs=tuple(ModelInput(model_id=model_id) for model_id in inputs.models),
    )


def outputs_out(outputs: tuple[ModelOutput, ...]) -> OutputsOut:
    """What a run made, in MLflow's form."""
    return OutputsOut(model_outputs=tuple(ModelOutputOut(model_id=made.model_id, step=made.step) for made in outputs))


def summary_out(summary: DatasetSummary) -> SummaryOut:
    """A summary in MLflow's form."""
    return SummaryOut(
        experiment_id=summary.experiment_id, name=summary.name, digest=summary.digest, context=summary.context
    )


def _dataset_in(given: DatasetInputIn, index: int) -> DatasetInput:
    if given.dataset is None:
        raise errors.invalid("Dataset input must have a dataset associated with it.")
    told = given.dataset
    for name in ("name", "digest", "source_type", "source"):
        if getattr(told, name) is None:
            raise errors.invalid(f"Dataset {name} cannot be None (datasets[{index}]).")
    dataset = Dataset(
        name=told.name or "",
        digest=told.digest or "",
        source_type=told.source_type or "",
        source=told.source or "",
        schema=told.schema,
        profile=told.profile,
    )
    return DatasetInput(dataset=dataset, tags=texts_in(given.tags, f"datasets[{index}].tags"))


def _dataset_out(dataset: Dataset) -> DatasetOut:
    return DatasetOut(
        name=dataset.name,
        digest=dataset.digest,
        source_type=dataset.source_type,
        source=dataset.source,
        schema=dataset.schema,
        profile=dataset.profile,
    )
