"""The calls of MLflow's clients that may be acknowledged before the server has seen them: how each is checked here, by the
server's own rules, and what is answered while the server is away."""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sill.core.errors import Conflict
from sill.core.names import shorten
from sill.protocols.mlflow import errors
from sill.protocols.mlflow.experiments import CreatedExperiment, CreateExperiment, ExperimentTag
from sill.protocols.mlflow.inputs import LogInputs, LogOutputs
from sill.protocols.mlflow.logged_models import (
    CreateLoggedModel,
    FinalizeLoggedModel,
    LoggedModelAnswer,
    ModelParams,
    ModelTags,
    status_in,
)
from sill.protocols.mlflow.runs import (
    CreateRun,
    LogBatch,
    LogMetric,
    LogModel,
    RunAnswer,
    RunText,
    UpdatedRun,
    UpdateRun,
    batch_in,
    metric_in,
    state_in,
)
from sill.protocols.mlflow.wire import Wire
from sill.relay.known import Known, as_wire, note_metrics, pairs
from sill.runs.tracking.rules import PARAM_LENGTH_MAX, TAG_LENGTH_MAX, check_batch, check_texts
from sill.runs.types import Batch

READY, FAILED = "LOGGED_MODEL_READY", "LOGGED_MODEL_UPLOAD_FAILED"


@dataclass(frozen=True)
class Said:
    """One call as a relay looks at it.

    Attributes:
        values: of the `{names}` in its path.
        given: the provisional id, if the call makes something.
        workspace: the project it is for, as far as it says.
    """

    message: Any
    values: dict[str, str]
    given: str = ""
    workspace: str = ""

    @property
    def run_id(self) -> str:
        """The run it is about; empty for none."""
        return getattr(self.message, "run_id", "") or getattr(self.message, "run_uuid", "") or ""


@dataclass(frozen=True)
class Deferrable:
    """One kind of call.

    Attributes:
        body: its message.
        required: parameters that must be given and not empty; `run_id` may come as `run_uuid`.
        check: refuses what the server would refuse.
        note: takes it as done and says what is answered while the server is away; None means `{}`.
        makes: it makes something that has an id.
    """

    body: type[Wire]
    required: tuple[str, ...]
    check: Callable[[Known, Said], None]
    note: Callable[[Known, Said], Wire | None]
    makes: bool = False

    def look(self, known: Known, said: Said) -> None:
        """Refuse what the server would refuse.

        Raises:
            SillError: it would; with MLflow's code.
        """
        for name in self.required:
            if getattr(said.message, name) in (None, "") and not (name == "run_id" and said.run_id):
                raise errors.missing_value(name)
        self.check(known, said)


def batch_of(message: Any) -> Batch:
    """What a call logs; nothing for the other calls.

    Raises:
        InvalidValue: a param is given twice, or a key is missing.
    """
    if isinstance(message, LogMetric):
        return metric_in(message)
    return batch_in(message) if isinstance(message, LogBatch) else Batch()


def _check_batch(known: Known, said: Said) -> None:
    batch = batch_of(said.message)
    check_batch(batch)
    _check_params(known, said.run_id, batch.params)


def _note_batch(known: Known, said: Said) -> None:
    batch = batch_of(said.message)
    run = known.runs.get(said.run_id)
    if run is not None:
        note_metrics(run, batch.metrics)
        run.params |= batch.params
        run.tags |= batch.tags


def _check_param(known: Known, said: Said) -> None:
    given = {said.message.key: said.message.value}
    check_texts(given, "params", PARAM_LENGTH_MAX)
    _check_params(known, said.run_id, given)


def _check_params(known: Known, run_id: str, given: dict[str, str]) -> None:
    run = known.runs.get(run_id)
    for key, value in given.items():
        if run is not None and run.params.get(key, value) != value:
            raise Conflict(
                f"param {shorten(key)!r} of run {run_id} is {shorten(run.params[key])!r} and cannot become "
                f"{shorten(value)!r}.",
                fix="A param is set once; log what changes as a metric or a tag.",
            )


def _note_param(known: Known, said: Said) -> None:
    if said.run_id in known.runs:
        known.runs[said.run_id].params[said.message.key] = said.message.value


def _check_tag(_known: Known, said: Said) -> None:
    check_texts({said.message.key: said.message.value}, "tags", TAG_LENGTH_MAX)


def _note_tag(known: Known, said: Said) -> None:
    if said.run_id in known.runs:
        known.runs[said.run_id].tags[said.message.key] = said.message.value


def _note_tag_gone(known: Known, said: Said) -> None:
    if said.run_id in known.runs:
        known.runs[said.run_id].tags.pop(said.message.key, None)


def _check_create_run(_known: Known, said: Said) -> None:
    check_texts(pairs(said.message.tags), "tags", TAG_LENGTH_MAX)


def _note_create_run(known: Known, said: Said) -> RunAnswer:
    return RunAnswer(run=as_wire(known.begin_run(said.given, said.message, _now_ms())))


def _check_update_run(_known: Known, said: Said) -> None:
    state_in(said.message.status)


def _note_update_run(known: Known, said: Said) -> Wire | None:
    body: UpdateRun = said.message
    fields: dict[str, object] = {}
    if body.status not in (None, ""):
        fields["status"] = _status(body.status)
    if body.end_time is not None:
        fields["end_time"] = body.end_time
    if body.run_name:
        fields["run_name"] = body.run_name
    info = known.change_run(said.run_id, **fields)
    return None if info is None else UpdatedRun(run_info=info)


def _status(given: int | str | None) -> str:
    names = ("RUNNING", "SCHEDULED", "FINISHED", "FAILED", "KILLED")
    return names[int(str(given)) - 1] if str(given) in "12345" else str(given)


def _note_create_experiment(known: Known, said: Said) -> CreatedExperiment:
    known.begin_experiment(said.given, said.message, said.workspace, _now_ms())
    return CreatedExperiment(experiment_id=said.given)


def _check_create_experiment(known: Known, said: Said) -> None:
    if known.experiment_named(said.message.name) is not None:
        raise errors.refusal(errors.RESOURCE_ALREADY_EXISTS, f"Experiment(name={said.message.name}) already exists.")


def _note_create_model(known: Known, said: Said) -> LoggedModelAnswer:
    return LoggedModelAnswer(model=known.begin_model(said.given, said.message, _now_ms()))


def _check_finalize(_known: Known, said: Said) -> None:
    status_in(said.message.status)


def _note_finalize(known: Known, said: Said) -> LoggedModelAnswer | None:
    status = {"2": READY, "3": FAILED}.get(str(said.message.status), str(said.message.status))
    model = known.change_model(said.values["model_id"], status=status, last_updated_timestamp_ms=_now_ms())
    return None if model is None else LoggedModelAnswer(model=model)


def _nothing(_known: Known, _said: Said) -> None:
    """No check, or nothing to note."""


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


_RUN = ("run_id",)
CALLS: dict[tuple[str, str], Deferrable] = {
    ("POST", "/mlflow/runs/log-metric"): Deferrable(
        LogMetric, (*_RUN, "key", "value", "timestamp"), _check_batch, _note_batch
    ),
    ("POST", "/mlflow/runs/log-batch"): Deferrable(LogBatch, _RUN, _check_batch, _note_batch),
    ("POST", "/mlflow/runs/log-parameter"): Deferrable(RunText, (*_RUN, "key"), _check_param, _note_param),
    ("POST", "/mlflow/runs/set-tag"): Deferrable(RunText, (*_RUN, "key"), _check_tag, _note_tag),
    ("POST", "/mlflow/runs/delete-tag"): Deferrable(RunText, (*_RUN, "key"), _nothing, _note_tag_gone),
    ("POST", "/mlflow/runs/log-inputs"): Deferrable(LogInputs, _RUN, _nothing, _nothing),
    ("POST", "/mlflow/runs/outputs"): Deferrable(LogOutputs, _RUN, _nothing, _nothing),
    ("POST", "/mlflow/runs/log-model"): Deferrable(LogModel, (*_RUN, "model_json"), _nothing, _nothing),
    ("POST", "/mlflow/runs/create"): Deferrable(
        CreateRun, ("experiment_id",), _check_create_run, _note_create_run, makes=True
    ),
    ("POST", "/mlflow/runs/update"): Deferrable(UpdateRun, _RUN, _check_update_run, _note_update_run),
    ("POST", "/mlflow/experiments/create"): Deferrable(
        CreateExperiment, ("name",), _check_create_experiment, _note_create_experiment, makes=True
    ),
    ("POST", "/mlflow/experiments/set-experiment-tag"): Deferrable(
        ExperimentTag, ("experiment_id", "key"), _nothing, _nothing
    ),
    ("POST", "/mlflow/logged-models"): Deferrable(
        CreateLoggedModel, ("experiment_id",), _nothing, _note_create_model, makes=True
    ),
    ("PATCH", "/mlflow/logged-models/{model_id}"): Deferrable(FinalizeLoggedModel, (), _check_finalize, _note_finalize),
    ("POST", "/mlflow/logged-models/{model_id}/params"): Deferrable(ModelParams, (), _nothing, _nothing),
    ("PATCH", "/mlflow/logged-models/{model_id}/tags"): Deferrable(ModelTags, (), _nothing, _nothing),
}
_MODEL = re.compile(r"/mlflow/logged-models/(?P<model_id>[^/]+)(?P<rest>/params|/tags)?")


def find(method: str, path: str) -> tuple[Deferrable, dict[str, str]] | None:
    """The deferrable call at a path as `bare_path` gives it, and the values in it; None if there is none."""
    fixed = CALLS.get((method, path))
    if fixed is not None:
        return fixed, {}
    model = _MODEL.fullmatch(path)
    if model is None:
        return None
    found = CALLS.get((method, f"/mlflow/logged-models/{{model_id}}{model['rest'] or ''}"))
    return None if found is None else (found, {"model_id": model["model_id"]})


_VERSIONED = re.compile(r"(?P<front>(?:/projects/[^/]+)?)/(?:ajax-)?api/[23]\.0(?P<rest>/.*)")


def bare_path(path: str) -> str:
    """The path without project, alias and version; empty if it is none of MLflow's."""
    found = _VERSIONED.fullmatch(path)
    return found["rest"] if found else ""
