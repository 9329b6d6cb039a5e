"""Tunes a training: tries parameters, in this process and in queued runs beside it, and gives the best.

Stands a restart: finished trials are in the working folder, which the next attempt takes over.
"""

import math
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from sill.agent.calling import call
from sill.agent.data import TrainingData
from sill.agent.platform import Platform, as_params, now_us
from sill.agent.provenance import seed_everything
from sill.agent.recording import RunRecorder
from sill.core.errors import Conflict, InvalidValue, Refused, SillError
from sill.core.names import shorten
from sill.runs.training.families import predict
from sill.runs.training.scores import score
from sill.runs.training.types import TrainingSpec, Tune
from sill.runs.tuning.study import Study, Trial
from sill.runs.types import InlineRun, RunSpec, RunState

TRIALS_FILE = ".sill-trials.jsonl"
"""Finished trials, in the working folder, which the next attempt of the run takes over."""
FAILURES_IN_A_ROW_MAX = 10
POLL_S = 0.5
TRIAL_TAG = "trial"

Fit = Callable[..., Any]


class Search:
    """One tuning of one training.

    Args:
        folder: the run's working folder, with the code.
    """

    def __init__(self, platform: Platform, spec: TrainingSpec, tune: Tune, folder: Path) -> None:
        self._platform = platform
        self._spec = spec
        self._tune = tune
        self._folder = folder
        self._failures = 0
        self.study = Study(tune, spec.seed, _read_trials(folder))

    def best(self, fit: Fit, data: TrainingData) -> Trial:
        """Try until all trials are done; the best one.

        Raises:
            Refused: every trial failed, or too many did in a row.
        """
        if self.study.trials:
            print(f"tuning goes on after {len(self.study.trials)} trials of an earlier attempt", flush=True)
        self._try_together(fit, data)
        best = self.study.best()
        if best is None:
            last = self.study.trials[-1].reason if self.study.trials else "none was made"
            raise Refused(f"all {len(self.study.trials)} trials failed; the last: {last}", fix="Correct the function.")
        print(f"best: trial {best.number}, {self._tune.metric} {best.value:.4f}, {best.params}", flush=True)
        return best

    def _try_here(self, asked: Trial, fit: Fit, data: TrainingData) -> None:
        """Do a trial in this process, and record it as a run."""
        started_us = now_us()
        recorder = RunRecorder(self._platform.run_id, None, asked.params, self._spec.seed + asked.number)
        told = try_once(self._spec, asked, fit, data, recorder, self._folder)
        self._take(told, (now_us() - started_us) / 1e6)
        with suppress(Conflict):  # an attempt whose folder was lost has recorded this number before
            self._platform.record_inline(
                _inline(self._spec, self._platform.run_id, told, recorder, started_us),
                key=f"{self._platform.run_id}/trial/{told.number}",
            )

    def _try_together(self, fit: Fit, data: TrainingData) -> None:
        """Keep `workers` trials going: one here, the others as queued runs.

        This run holds its own place while it searches, so on a full machine the others may never be started. When
        nothing new is left to try, those that still wait are taken back and done here: the search ends in any case.
        """
        flying: dict[str, Trial] = {}
        if self._tune.workers > 1:
            self._platform.cancel_children()  # of an attempt that was killed
        try:
            while True:
                self._collect(flying)
                while len(flying) < self._tune.workers - 1 and (asked := self.study.ask()) is not None:
                    spec = _queued(self._spec, self._platform.run_id, asked)
                    flying[self._platform.submit(spec, key="").id] = asked
                own = self.study.ask() or self._take_back(flying)
                if own is not None:
                    self._try_here(own, fit, data)
                elif flying:
                    time.sleep(POLL_S)
                else:
                    return
        finally:
            for run_id in flying:  # only after an error: their results are of no use any more
                with suppress(SillError):
                    self._platform.cancel(run_id)

    def _collect(self, flying: dict[str, Trial]) -> None:
        """Take in the queued trials that are over."""
        for run_id, asked in list(flying.items()):
            run = self._platform.run(run_id)
            if run.state.is_final:
                del flying[run_id]
                told = self._result(run_id, run.state, run.reason, asked)
                self._take(told, max(0, run.ended_us - run.started_us) / 1e6)

    def _take_back(self, flying: dict[str, Trial]) -> Trial | None:
        """A trial that still waits in the queue, to be done here instead; None if all have started."""
        for run_id in list(flying):
            if self._platform.run(run_id).state is RunState.QUEUED:
                with suppress(Conflict):  # it has ended this moment: the next look takes it in
                    self._platform.cancel(run_id)
                    return flying.pop(run_id)
        return None

    def _result(self, run_id: str, state: RunState, reason: str, asked: Trial) -> Trial:
        value = self._platform.run_data(run_id).metrics.get(self._tune.metric)
        if state is RunState.FINISHED and value is not None:
            return msgspec.structs.replace(asked, value=value)
        return msgspec.structs.replace(asked, reason=reason or f"the run ended {state.value}")

    def _take(self, told: Trial, seconds: float) -> None:
        """Tell the sampler, write the trial down, and print a line.

        Raises:
            Refused: too many failed in a row.
        """
        self.study.tell(told)
        with (self._folder / TRIALS_FILE).open("ab") as kept:
            kept.write(msgspec.json.encode(told) + b"\n")
        outcome = told.reason if told.value is None else f"{self._tune.metric} {told.value:.4f}"
        print(f"trial {told.number + 1}/{self._tune.trials}: {outcome} {told.params} ({seconds:.2f} s)", flush=True)
        self._failures = self._failures + 1 if told.value is None else 0
        if self._failures >= FAILURES_IN_A_ROW_MAX:
            raise Refused(
                f"{self._failures} trials in a row failed; the last: {told.reason}", fix="Correct the function."
            )


def try_once(
    spec: TrainingSpec, asked: Trial, fit: Fit, data: TrainingData, recorder: RunRecorder, folder: Path
) -> Trial:
    """Fit on the inner training rows, score on the inner validation rows. A failure becomes the trial's reason."""
    metric = spec.tune.metric if spec.tune else spec.gate.metric
    try:
        seed_everything(spec.seed + asked.number)
        model = call(fit, folder, data.for_trial(), {**spec.params, **asked.params}, recorder)
        value = score(metric, data.valid.y, predict(model, data.valid.X, data.task))
        if not math.isfinite(value):
            raise InvalidValue(f"{metric} is not defined on {len(data.valid)} validation rows.")
    except SillError as failed:
        return msgspec.structs.replace(asked, reason=shorten(str(failed), 500))
    except Exception as failed:  # a model that cannot predict is a failed trial, not a failed search
        return msgspec.structs.replace(asked, reason=shorten(f"{type(failed).__name__}: {failed}", 500))
    recorder.log_metric(metric, value)
    return msgspec.structs.replace(asked, value=value)


def _trial_spec(spec: TrainingSpec, parent_id: str, trial: Trial) -> RunSpec:
    asked = Trial(number=trial.number, params=trial.params)
    return RunSpec(
        name=f"{spec.name}-trial-{trial.number}",
        kind="trial",
        code=spec.code,
        task={"training": msgspec.to_builtins(spec), "trial": msgspec.to_builtins(asked)},
        experiment=spec.name,
        params=as_params({**spec.params, **trial.params}),
        tags={TRIAL_TAG: str(trial.number)},
        parent_id=parent_id,
        seed=spec.seed + trial.number,
    )


def _inline(spec: TrainingSpec, parent_id: str, told: Trial, recorder: RunRecorder, started_us: int) -> InlineRun:
    return InlineRun(
        spec=_trial_spec(spec, parent_id, told),
        state=RunState.FAILED if told.value is None else RunState.FINISHED,
        started_us=started_us,
        ended_us=now_us(),
        reason=told.reason,
        batch=recorder.batch(),
    )


def _queued(spec: TrainingSpec, parent_id: str, asked: Trial) -> RunSpec:
    return msgspec.structs.replace(
        _trial_spec(spec, parent_id, asked), resources=spec.resources, timeout_s=spec.timeout_s
    )


def _read_trials(folder: Path) -> list[Trial]:
    """Trials an earlier attempt finished. A last line that was cut off by a crash is left out."""
    try:
        lines = (folder / TRIALS_FILE).read_bytes().splitlines()
    except FileNotFoundError:
        return []
    told = []
    for line in lines:
        try:
            told.append(msgspec.json.decode(line, type=Trial))
        except msgspec.DecodeError:
            break
    return told
