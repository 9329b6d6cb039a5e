"""What a relay knows of runs, experiments and logged models: seen in answers, or begun while the server was away.

It is what is answered while the server cannot be asked. It is kept in a file, so that it outlives the relay; metrics are
kept in memory only.
"""

import contextlib
import os
from collections import OrderedDict
from pathlib import Path
from typing import TypeVar

import msgspec

from sill.protocols.mlflow.experiments import CreateExperiment, Tag, TagOut, WireExperiment
from sill.protocols.mlflow.inputs import InputsOut, OutputsOut
from sill.protocols.mlflow.logged_models import CreateLoggedModel, LoggedModelData, LoggedModelInfo, WireLoggedModel
from sill.protocols.mlflow.runs import CreateRun, MetricOut, RunData, RunInfo, WireRun
from sill.protocols.mlflow.wire import number
from sill.runs.types import Metric

T = TypeVar("T")

RUNS_MAX = 1_000
EXPERIMENTS_MAX = 10_000
MODELS_MAX = 1_000
METRICS_MAX = 10_000
"""Metrics of one run whose last points are known; of further ones nothing is told while the server is away."""
SERVED = "mlflow-artifacts:/"
"""Where a server of ours keeps artifacts, as its clients write it."""
ACTIVE = "active"
DEFAULT_ID = "0"
RUN_NAME_TAG, USER_TAG = "mlflow.runName", "mlflow.user"
PENDING = "LOGGED_MODEL_PENDING"


class KnownRun(msgspec.Struct, kw_only=True):
    """One run."""

    info: RunInfo
    params: dict[str, str] = {}
    tags: dict[str, str] = {}
    metrics: dict[str, Metric] = {}
    is_trusted: bool = False
    """The server has taken something for it: points may be acknowledged before it has seen them."""


class _Kept(msgspec.Struct, kw_only=True):
    runs: list[KnownRun] = []
    experiments: list[WireExperiment] = []
    models: list[WireLoggedModel] = []


class Known:
    """All a relay knows.

    Args:
        path: the file it is kept in.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.runs: OrderedDict[str, KnownRun] = OrderedDict()
        self.experiments: OrderedDict[str, WireExperiment] = OrderedDict()
        self.models: OrderedDict[str, WireLoggedModel] = OrderedDict()
        with contextlib.suppress(FileNotFoundError, msgspec.DecodeError):
            kept = msgspec.json.decode(path.read_bytes(), type=_Kept)
            self.runs.update((run.info.run_id, run) for run in kept.runs)
            self.experiments.update((each.experiment_id, each) for each in kept.experiments)
            self.models.update((each.info.model_id, each) for each in kept.models)

    def see_run(self, run: WireRun) -> None:
        """Take a run as the server tells it."""
        known = KnownRun(
            info=run.info,
            params={each.key: each.value for each in run.data.params},
            tags={each.key: each.value for each in run.data.tags},
            metrics={each.key: _metric_in(each) for each in run.data.metrics},
            is_trusted=run.info.lifecycle_stage == ACTIVE,
        )
        _put(self.runs, run.info.run_id, known, RUNS_MAX)
        self.keep()

    def begin_run(self, run_id: str, body: CreateRun, now_ms: int) -> KnownRun:
        """Note a run that begins while the server is away."""
        tags = pairs(body.tags)
        name = body.run_name or tags.get(RUN_NAME_TAG, "") or run_id
        experiment_id = body.experiment_id or DEFAULT_ID
        info = RunInfo(
            run_id=run_id,
            run_uuid=run_id,
            run_name=name,
            experiment_id=experiment_id,
            user_id=body.user_id or tags.get(USER_TAG, ""),
            status="RUNNING",
            start_time=now_ms if body.start_time is None else body.start_time,
            artifact_uri=f"{self._location(experiment_id)}/{run_id}/artifacts",
            lifecycle_stage=ACTIVE,
        )
        run = KnownRun(info=info, tags={RUN_NAME_TAG: name} | tags, is_trusted=True)
        _put(self.runs, run_id, run, RUNS_MAX)
        self.keep()
        return run

    def change_run(self, run_id: str, **fields: object) -> RunInfo | None:
        """The run with other facts; None if it is not known."""
        run = self.runs.get(run_id)
        if run is None:
            return None
        run.info = msgspec.structs.replace(run.info, **fields)
        self.keep()
        return run.info

    def see_experiment(self, experiment: WireExperiment) -> None:
        """Take an experiment as the server tells it, or as it is begun here."""
        if self.experiments.get(experiment.experiment_id) != experiment:
            _put(self.experiments, experiment.experiment_id, experiment, EXPERIMENTS_MAX)
            self.keep()

    def experiment_named(self, name: str) -> WireExperiment | None:
        """The experiment of this name, if it is known."""
        return next((each for each in self.experiments.values() if each.name == name), None)

    def begin_experiment(self, experiment_id: str, body: CreateExperiment, workspace: str, now_ms: int) -> None:
        """Note an experiment that is made while the server is away."""
        self.see_experiment(
            WireExperiment(
                experiment_id=experiment_id,
                name=body.name or "",
                artifact_location=body.artifact_location or f"{SERVED}{experiment_id}",
                lifecycle_stage=ACTIVE,
                last_update_time=now_ms,
                creation_time=now_ms,
                workspace=workspace,
                tags=texts(pairs(body.tags)),
            )
        )

    def see_model(self, model: WireLoggedModel) -> None:
        """Take a logged model as the server tells it, or as it is begun here."""
        _put(self.models, model.info.model_id, model, MODELS_MAX)
        self.keep()

    def begin_model(self, model_id: str, body: CreateLoggedModel, now_ms: int) -> WireLoggedModel:
        """Note a logged model that begins while the server is away."""
        experiment_id = body.experiment_id or DEFAULT_ID
        info = LoggedModelInfo(
            model_id=model_id,
            experiment_id=experiment_id,
            name=body.name or model_id,
            creation_timestamp_ms=now_ms,
            last_updated_timestamp_ms=now_ms,
            artifact_uri=f"{self._location(experiment_id)}/models/{model_id}/artifacts",
            status=PENDING,
            model_type=body.model_type,
            source_run_id=body.source_run_id,
            tags=texts(pairs(body.tags)),
        )
        model = WireLoggedModel(info=info, data=LoggedModelData(params=texts(pairs(body.params))))
        self.see_model(model)
        return model

    def change_model(self, model_id: str, **fields: object) -> WireLoggedModel | None:
        """The logged model with other facts; None if it is not known."""
        model = self.models.get(model_id)
        if model is None:
            return None
        changed = msgspec.structs.replace(model, info=msgspec.structs.replace(model.info, **fields))
        self.see_model(changed)
        return changed

    def keep(self) -> None:
        """Write it to the file, whole or not at all."""
        runs = [msgspec.structs.replace(run, metrics={}) for run in self.runs.values()]
        kept = _Kept(runs=runs, experiments=list(self.experiments.values()), models=list(self.models.values()))
        fresh = self._path.with_suffix(".new")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(msgspec.json.encode(kept))
        fresh.rename(self._path)

    def _location(self, experiment_id: str) -> str:
        experiment = self.experiments.get(experiment_id)
        return experiment.artifact_location if experiment else f"{SERVED}{experiment_id}"


def note_metrics(run: KnownRun, points: tuple[Metric, ...]) -> None:
    """The last point of each metric is that of the highest step, then time, then value."""
    for point in points:
        last = run.metrics.get(point.key)
        if last is None and len(run.metrics) >= METRICS_MAX:
            continue
        if last is None or (point.step, point.timestamp_ms, point.value) >= (last.step, last.timestamp_ms, last.value):
            run.metrics[point.key] = point


def as_wire(run: KnownRun) -> WireRun:
    """A run as the server would tell it."""
    metrics = tuple(
        MetricOut(key=each.key, value=number(each.value), timestamp=each.timestamp_ms, step=each.step)
        for each in run.metrics.values()
    )
    data = RunData(metrics=metrics, params=texts(run.params), tags=texts(run.tags))
    return WireRun(info=run.info, data=data, inputs=InputsOut(), outputs=OutputsOut())


def texts(given: dict[str, str]) -> tuple[TagOut, ...]:
    """Params or tags in MLflow's form."""
    return tuple(TagOut(key=key, value=value) for key, value in given.items())


def pairs(given: tuple[Tag, ...]) -> dict[str, str]:
    """Params or tags out of MLflow's form."""
    return {each.key: each.value for each in given}


def _metric_in(point: MetricOut) -> Metric:
    return Metric(key=point.key, value=float(point.value), step=point.step, timestamp_ms=point.timestamp)


def _put(known: "OrderedDict[str, T]", key: str, value: T, most: int) -> None:
    known[key] = value
    known.move_to_end(key)
    while len(known) > most:
        known.popitem(last=False)
