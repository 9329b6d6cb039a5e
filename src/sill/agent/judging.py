"""Judges a fitted model: exports it, compares export and original, and evaluates it beside the champion."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from sill.agent.data import Split, matrix
from sill.core.errors import SillError
from sill.core.labels import class_name
from sill.runs.training.evaluate import HeldOut, Incumbent, evaluate, latency_ms_p99
from sill.runs.training.export import export, signature
from sill.runs.training.families import predict
from sill.runs.training.parity import answer, check_parity
from sill.runs.training.types import Evaluation, TrainingSpec
from sill.runtimes.port import Runtime, open_runtime
from sill.runtimes.types import Signature

if TYPE_CHECKING:
    import numpy as np

RUNTIME = "onnx"


@dataclass(frozen=True)
class Judged:
    """An exported model, loaded, with what was found."""

    file: bytes
    runtime: Runtime
    signature: Signature
    evaluation: Evaluation


def judge(spec: TrainingSpec, model: Any, split: Split, champion: tuple[int, bytes] | None, snapshot: str) -> Judged:
    """Export a model and evaluate it on the held-out rows; raises what `export` and `check_parity` raise.

    Args:
        champion: version and file of the model that serves now, to be judged on the same rows.
        snapshot: address of the data.
    """
    data, held = split.data, split.held
    wanted = signature(data.features, data.classes, data.task)
    file = export(model, wanted)
    runtime = open_runtime(RUNTIME, file)
    predicted = answer(runtime, held.X)
    difference = check_parity(predict(model, held.X, data.task), predicted, spec.gate.parity_max, data.task)
    rows = HeldOut(y=held.y, task=data.task, columns=_slice_columns(spec, split))
    report = evaluate(rows, predicted, spec.gate, incumbent=_incumbent(champion, split), seed=spec.seed)
    report = msgspec.structs.replace(
        report,
        parity_max_difference=difference,
        latency_ms_p99=latency_ms_p99(lambda row: answer(runtime, row), held.X),
        data=snapshot,
    )
    return Judged(file, runtime, wanted, report)


def decided(judged: Judged, x: "np.ndarray[Any, Any]") -> list[Any]:
    """What the exported model answers for rows: the class's name, or the number."""
    predicted = answer(judged.runtime, x)
    classes = judged.signature.classes
    if not classes:
        return [float(value) for value in predicted]
    return [classes[place] for place in predicted.argmax(axis=1)]


def align(probabilities: "np.ndarray[Any, Any]", theirs: Sequence[str], ours: Sequence[str]) -> "np.ndarray[Any, Any]":
    """Probabilities [n, k'] over one model's classes, as [n, k] over another's; a class it never knew has 0.

    A row that has nothing left, or was never a number, is an even guess.
    """
    import numpy as np

    aligned = np.zeros((len(probabilities), len(ours)))
    for place, name in enumerate(ours):
        if name in theirs:
            aligned[:, place] = probabilities[:, theirs.index(name)]
    total = np.nan_to_num(aligned).sum(axis=1)
    lost = ~np.isfinite(aligned).all(axis=1) | (total <= 0)
    aligned[lost] = 1 / len(ours)
    return np.asarray(aligned / aligned.sum(axis=1, keepdims=True))


def _incumbent(champion: tuple[int, bytes] | None, split: Split) -> Incumbent | None:
    """What the champion answers for the held-out rows, by its own features and classes; None if it cannot answer."""
    if champion is None:
        return None
    version, file = champion
    try:
        runtime = open_runtime(RUNTIME, file)
        known = runtime.signature()
        predicted = answer(runtime, matrix(split.held.table, known.features or split.data.features))
    except SillError as unusable:
        print(f"the champion, version {version}, cannot be evaluated on these rows: {unusable}", flush=True)
        return None
    if split.data.classes:
        predicted = align(predicted, known.classes or split.data.classes, split.data.classes)
    return Incumbent(version=version, predicted=predicted)


def _slice_columns(spec: TrainingSpec, split: Split) -> dict[str, list[Any]]:
    """The columns the evaluation is broken down by; unknown ones are named in the log and left out."""
    table = split.held.table
    for name in spec.slices:
        if name not in table.column_names:
            print(f"slice column {name!r} is not in {spec.data!r}: left out", flush=True)
    columns = {name: table[name].to_pylist() for name in spec.slices if name in table.column_names}
    if split.data.classes and spec.label in columns:
        columns[spec.label] = [class_name(value) for value in columns[spec.label]]
    return columns
