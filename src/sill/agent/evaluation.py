"""Evaluates a registered version anew, on the held-out rows of the data as it is now."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from sill.agent.data import make_split
from sill.agent.platform import Platform
from sill.agent.recording import RunRecorder, write_json
from sill.agent.registered import predictions
from sill.core.values import Value
from sill.runs.training.evaluate import HeldOut, evaluate
from sill.runs.training.types import TrainingSpec


class EvaluationTask(Value, frozen=True, kw_only=True):
    """Which version is evaluated, and the training whose data, label, holdout, gate and slices say how."""

    version: int
    training: TrainingSpec


def execute_evaluation(platform: Platform, task: Mapping[str, Any], _folder: Path) -> None:
    """Do a task of the kind `evaluate`: metrics on the run, and `evaluation.json` among its artifacts."""
    asked = msgspec.convert(task["evaluation"], EvaluationTask)
    spec = asked.training
    version = platform.version(spec.model, asked.version)
    table, _ = platform.training_set(spec.data)
    feedback = platform.feedback(spec.feedback) if spec.feedback else None
    split = make_split(spec, platform.view(spec.data), table, feedback)
    predicted = predictions(platform, version, split)
    columns = {
        name: split.held.table[name].to_pylist() for name in spec.slices if name in split.held.table.column_names
    }
    report = evaluate(HeldOut(y=split.held.y, task=split.data.task, columns=columns), predicted, spec.gate)
    recorder = RunRecorder(platform.run_id, platform.log, {}, spec.seed)
    recorder.log_metrics(report.metrics)
    recorder.flush()
    write_json("evaluation.json", report)
    scores = ", ".join(f"{name} {value:.4f}" for name, value in report.metrics.items())
    print(f"{spec.model} version {asked.version} on {report.rows} held-out rows: {scores}", flush=True)
