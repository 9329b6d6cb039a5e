"""Judges a fitted model: exports it, compares export and original, and evaluates it beside the one that serves now."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from sill.agent.data import Split
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


def judge(spec: TrainingSpec, model: Any, split: Split, incumbent: Incumbent | None, snapshot: str) -> Judged:
    """Export a model and evaluate it on the held-out rows; raises what `export` and `check_parity` raise.

    Args:
        incumbent: what the model that serves now says to the same rows.
        snapshot: address of the data.
    """
    data, held = split.data, split.held
    wanted = signature(data.features, data.classes, data.task)
    file = export(model, wanted)
    runtime = open_runtime(RUNTIME, file)
    predicted = answer(runtime, held.X)
    difference = check_parity(predict(model, held.X, data.task), predicted, spec.gate.parity_max, data.task)
    rows = HeldOut(y=held.y, task=data.task, columns=_slice_columns(spec, split))
    report = evaluate(rows, predicted, spec.gate, incumbent=incumbent, seed=spec.seed)
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
