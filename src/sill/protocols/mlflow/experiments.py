"""Messages about experiments, and an experiment of ours as one."""

from sill.protocols.mlflow import errors
from sill.protocols.mlflow.wire import Int64, Wire
from sill.runs.experiments.types import Experiment
from sill.runs.types import View

MAX_RESULTS = 1_000
"""What a search returns at most if it does not say."""

_VIEWS = (View.ACTIVE, View.DELETED, View.ALL)
_VIEW_NAMES = ("ACTIVE_ONLY", "DELETED_ONLY", "ALL")


class Tag(Wire, frozen=True, kw_only=True):
    """A key with a text; also the form of params."""

    key: str = ""
    value: str = ""


class WireExperiment(Wire, frozen=True, kw_only=True):
    """An experiment."""

    experiment_id: str
    name: str
    artifact_location: str
    lifecycle_stage: str
    last_update_time: int
    creation_time: int
    tags: tuple["TagOut", ...] = ()
    workspace: str


class TagOut(Wire, frozen=True, kw_only=True):
    """A tag or param as it is written: an empty text is written too."""

    key: str
    value: str


class CreateExperiment(Wire, frozen=True, kw_only=True):
    """Request."""

    name: str | None = None
    artifact_location: str = ""
    tags: tuple[Tag, ...] = ()


class CreatedExperiment(Wire, frozen=True, kw_only=True):
    """Answer."""

    experiment_id: str


class ExperimentId(Wire, frozen=True, kw_only=True):
    """Request of get, delete and restore."""

    experiment_id: str | None = None


class ExperimentName(Wire, frozen=True, kw_only=True):
    """Request of get-by-name."""

    experiment_name: str | None = None


class UpdateExperiment(Wire, frozen=True, kw_only=True):
    """Request."""

    experiment_id: str | None = None
    new_name: str | None = None


class ExperimentTag(Wire, frozen=True, kw_only=True):
    """Request of set-experiment-tag and delete-experiment-tag."""

    experiment_id: str | None = None
    key: str | None = None
    value: str = ""


class ExperimentAnswer(Wire, frozen=True, kw_only=True):
    """Answer of get and get-by-name."""

    experiment: WireExperiment


class SearchExperiments(Wire, frozen=True, kw_only=True):
    """Request."""

    max_results: Int64 | None = None
    page_token: str = ""
    filter: str = ""
    order_by: tuple[str, ...] = ()
    view_type: int | str | None = None


class FoundExperiments(Wire, frozen=True, kw_only=True):
    """Answer."""

    experiments: tuple[WireExperiment, ...] = ()
    next_page_token: str = ""


def experiment_out(experiment: Experiment) -> WireExperiment:
    """An experiment of ours in MLflow's form: times in milliseconds."""
    return WireExperiment(
        experiment_id=experiment.id,
        name=experiment.name,
        artifact_location=experiment.artifact_location,
        lifecycle_stage=experiment.lifecycle.value,
        last_update_time=experiment.updated_us // 1_000,
        creation_time=experiment.created_us // 1_000,
        tags=texts_out(experiment.tags),
        workspace=experiment.project,
    )


def texts_out(texts: dict[str, str]) -> tuple[TagOut, ...]:
    """Tags or params as a list of keys with values."""
    return tuple([TagOut(key=key, value=value) for key, value in texts.items()])


def texts_in(given: tuple[Tag, ...], field: str) -> dict[str, str]:
    """Tags or params as a dict; of a repeated key the last counts.

    Raises:
        InvalidValue: a key is missing.
    """
    for index, each in enumerate(given):
        if not each.key:
            raise errors.missing_value(f"{field}[{index}].key")
    return {each.key: each.value for each in given}


def view_in(given: int | str | None, field: str) -> View:
    """The view, by MLflow's name or number; active things if none is given.

    Raises:
        InvalidValue: it is neither.
    """
    if given is None or given == "":
        return View.ACTIVE
    if given in _VIEW_NAMES:
        return _VIEWS[_VIEW_NAMES.index(str(given))]
    if str(given) in ("1", "2", "3"):
        return _VIEWS[int(given) - 1]
    raise errors.invalid_value(field, given, f"Allowed are {', '.join(_VIEW_NAMES)}.")
