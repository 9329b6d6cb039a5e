"""The harness of a training run: data, split, tuning, fit, export, evaluation, registration, each with a line in the log."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from sill.agent.calling import call, find_function
from sill.agent.data import Split, make_split
from sill.agent.judging import Judged, decided, judge
from sill.agent.platform import Platform, as_params, now_us
from sill.agent.provenance import packages, provenance, seed_everything
from sill.agent.recording import RunRecorder, outputs_folder, write_json
from sill.agent.registered import incumbent
from sill.agent.search import Search, try_once
from sill.core.addresses import Address
from sill.core.errors import Conflict, Refused
from sill.models.types import ModelVersion, VersionSpec
from sill.runs.training.bundle import Facts, bundle_files, reference_table
from sill.runs.training.families import family_of
from sill.runs.training.regime import SEED_ROWS, alike_from, differs
from sill.runs.training.types import TrainingSpec
from sill.runs.tuning.study import Trial
from sill.runs.types import Provenance, RunUpdate

if TYPE_CHECKING:
    import numpy as np


class TrainingRun:
    """One training, from its declaration to a registered version.

    Args:
        folder: the working folder with the unpacked code.
    """

    def __init__(self, platform: Platform, spec: TrainingSpec, folder: Path) -> None:
        self._platform = platform
        self._spec = spec
        self._folder = folder
        self._provenance = Provenance()

    def execute(self) -> ModelVersion:
        """Do all of it.

        Raises:
            SillError: data, function, export or gate said no; the message is the run's reason.
        """
        spec = self._spec
        self._note_provenance()
        split, inputs = self._data()
        fit = find_function(spec.module, spec.function, self._folder)
        params = dict(spec.params)
        if spec.tune is not None and spec.tune.space:
            params |= Search(self._platform, spec, spec.tune, self._folder).best(fit, split.data).params
        model = self._fit(fit, split, params)
        serving = incumbent(self._platform, spec.model, split)
        began = time.perf_counter()
        judged = judge(spec, model, split, serving, inputs[0])
        self._say_evaluation(judged, time.perf_counter() - began)
        version = self._register(judged, self._bundle(judged, split, model, params, inputs), params, inputs)
        self._platform.update(RunUpdate(inputs=inputs, outputs=(self._address("models", spec.model, version.version),)))
        reason = version.gate_report.reason if version.gate_report else ""
        print(f"{spec.model} version {version.version} is {version.state.value}: {reason}", flush=True)
        return version

    def execute_trial(self, asked: Trial) -> None:
        """Do one trial of a tuning and leave its score as a metric.

        Raises:
            Refused: the trial failed.
        """
        spec = self._spec
        split, _ = self._data()
        fit = find_function(spec.module, spec.function, self._folder)
        recorder = RunRecorder(self._platform.run_id, self._platform.log, asked.params, spec.seed + asked.number)
        told = try_once(spec, asked, fit, split.data, recorder, self._folder)
        recorder.flush()
        if told.value is None:
            raise Refused(told.reason)
        print(f"trial {told.number}: {told.value:.4f}", flush=True)

    def _note_provenance(self) -> None:
        listed = packages()
        self._provenance = provenance(self._spec.code, self._spec.seed, listed)
        (outputs_folder() / "environment.txt").write_text("\n".join(listed) + "\n")
        self._platform.update(RunUpdate(provenance=self._provenance))

    def _data(self) -> tuple[Split, tuple[str, ...]]:
        """The rows, split, and the addresses of what was read, the table's snapshot first."""
        spec = self._spec
        view = self._platform.view(spec.data)
        table, snapshot = self._platform.training_set(spec.data)
        feedback = self._platform.feedback(spec.feedback) if spec.feedback else None
        split = make_split(spec, view, table, feedback)
        extra = split.feedback_fitted + split.feedback_held
        print(
            f"{spec.data}: {table.num_rows} rows of snapshot {snapshot}, {extra} labelled requests; "
            f"{len(split.fitted)} to fit on, {len(split.held)} held out, {len(split.data.features)} features",
            flush=True,
        )
        inputs = [
            self._address("tables", view.table, snapshot),
            self._address("features", view.name, view.revision),
            *([self._address("code", spec.code)] if spec.code else []),
            *([self._address("endpoints", spec.feedback)] if extra else []),
        ]
        return split, tuple(inputs)

    def _fit(self, fit: Callable[..., Any], split: Split, params: dict[str, Any]) -> Any:
        recorder = RunRecorder(self._platform.run_id, self._platform.log, params, self._spec.seed)
        recorder.log_params(params)
        seed_everything(self._spec.seed)
        began = time.perf_counter()
        model = call(fit, self._folder, split.data, params, recorder)
        recorder.log_metric("fit_seconds", time.perf_counter() - began)
        recorder.flush()
        print(f"fitted a {family_of(model)} model in {time.perf_counter() - began:.2f} s", flush=True)
        return model

    def _say_evaluation(self, judged: Judged, seconds: float) -> None:
        report = judged.evaluation
        recorder = RunRecorder(self._platform.run_id, self._platform.log, {}, self._spec.seed)
        recorder.log_metrics({**report.metrics, "latency_ms_p99": report.latency_ms_p99})
        recorder.flush()
        scores = ", ".join(f"{name} {value:.4f}" for name, value in report.metrics.items())
        print(f"evaluated in {seconds:.2f} s: {scores}", flush=True)
        if report.delta is not None:
            bounds = f"{report.delta_low:+.4f} to {report.delta_high:+.4f}"
            print(
                f"against version {report.incumbent_version}: {report.metric} {report.delta:+.4f} ({bounds})",
                flush=True,
            )

    def _bundle(
        self, judged: Judged, split: Split, model: Any, params: dict[str, Any], inputs: tuple[str, ...]
    ) -> dict[str, bytes]:
        rows = reference_rows(split)
        classes = split.data.classes
        truth = split.fitted.y[rows]
        labels = [classes[int(place)] for place in truth] if classes else [float(value) for value in truth]
        x = split.fitted.X[rows]
        facts = Facts(
            spec=self._spec,
            signature=judged.signature,
            evaluation=judged.evaluation,
            run_id=self._platform.run_id,
            made_us=now_us(),
            estimator=f"{type(model).__module__}.{type(model).__qualname__}",
            params=params,
            provenance=self._provenance,
            inputs=inputs,
            rows_fitted=len(split.fitted),
            rows_feedback=split.feedback_fitted,
        )
        reference = reference_table(split.data.features, x, labels, decided(judged, x))
        write_json("evaluation.json", judged.evaluation)
        return bundle_files(judged.file, reference, facts)

    def _register(
        self, judged: Judged, files: dict[str, bytes], params: dict[str, Any], inputs: tuple[str, ...]
    ) -> ModelVersion:
        """Upload the files and register the version; what an earlier attempt of this run registered is found again."""
        spec = self._spec
        stored = {path: self._platform.store_blob(content) for path, content in files.items()}
        wanted = VersionSpec(
            model=spec.model,
            files=stored,
            signature=judged.signature,
            evaluation=judged.evaluation,
            gate=spec.gate,
            run_id=self._platform.run_id,
            inputs=inputs,
            params=as_params(params),
        )
        try:
            return self._platform.register(wanted, key=f"{self._platform.run_id}/register")
        except Conflict:
            version = self._platform.version_of_run(spec.model)
            if version is None:
                raise
            return version

    def _address(self, kind: str, name: str, version: object = "") -> str:
        said = "" if version in ("", 0) else str(version)
        return str(Address(project=self._spec.project, kind=kind, name=name, version=said))


def reference_rows(split: Split) -> "np.ndarray[Any, Any]":
    """Which fitted rows a monitor is to compare traffic with: all, or the newest requests that look alike."""
    import numpy as np

    first = len(split.fitted) - split.feedback_fitted
    start = alike_from(split.fitted.X[first:]) if split.feedback_fitted else 0
    # All requests look alike: they belong together with the training set only if they look like that too.
    is_all = start == 0 and not _has_moved(split, first)
    return np.arange(0 if is_all else first + start, len(split.fitted))


def _has_moved(split: Split, first: int) -> bool:
    is_enough = split.feedback_fitted >= SEED_ROWS and first > 0
    return is_enough and differs(split.fitted.X[:first], split.fitted.X[first:])


def execute_training(platform: Platform, task: dict[str, Any], folder: Path) -> None:
    """Do a task of the kinds `train` and `trial`."""
    run = TrainingRun(platform, msgspec.convert(task["training"], TrainingSpec), folder)
    if "trial" in task:
        run.execute_trial(msgspec.convert(task["trial"], Trial))
    else:
        run.execute()
