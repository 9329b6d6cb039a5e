"""How a candidate does beside the incumbent, on the same held-out rows: scores, slices, a paired interval, latency."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from sill.core.errors import Refused
from sill.runs.training.scores import all_scores, score, signed
from sill.runs.training.types import Evaluation, GateSpec, SliceResult

if TYPE_CHECKING:
    import numpy as np

BOOTSTRAP_ROUNDS = 1_000
BOOTSTRAP_CELLS_MAX = 20_000_000
"""Rows times rounds; with more rows there are fewer rounds, but at least `BOOTSTRAP_ROUNDS_MIN`."""
BOOTSTRAP_ROUNDS_MIN = 100
SLICE_VALUES_MAX = 20
"""Values of a slicing column that are looked at, the most frequent first; numeric columns with more become quartiles."""
LATENCY_CALLS = 200
LATENCY_WARM_UP = 10


class Incumbent(msgspec.Struct, frozen=True, kw_only=True):
    """What the present champion predicts for the same rows."""

    version: int
    predicted: Any


class HeldOut(msgspec.Struct, frozen=True, kw_only=True):
    """The rows both are judged on: truth [n], task, and the columns the slices are cut by."""

    y: Any
    task: str
    columns: Mapping[str, Sequence[Any]] = {}


def evaluate(
    rows: HeldOut,
    predicted: "np.ndarray[Any, Any]",
    gate: GateSpec,
    *,
    incumbent: Incumbent | None = None,
    seed: int = 0,
) -> Evaluation:
    """All the gate judges but latency and parity, which the caller adds.

    Raises:
        Refused: there is no held-out row, or the gate's metric is not defined on these.
    """
    metrics = all_scores(rows.task, rows.y, predicted)
    if gate.metric not in metrics:
        raise Refused(
            f"{gate.metric} is not defined on {len(rows.y)} held-out rows of this training (it needs every class).",
            fix="Bring more rows, raise holdout.fraction, or choose another gate.metric.",
        )
    report = Evaluation(
        metric=gate.metric,
        rows=len(rows.y),
        metrics=metrics,
        slices=slice_results(rows, predicted, gate.metric, None if incumbent is None else incumbent.predicted),
    )
    if incumbent is None:
        return report
    theirs = all_scores(rows.task, rows.y, incumbent.predicted)
    low, high = paired_interval(gate.metric, rows.y, predicted, incumbent.predicted, gate.confidence, seed)
    return msgspec.structs.replace(
        report,
        incumbent_version=incumbent.version,
        incumbent_metrics=theirs,
        delta=signed(gate.metric, metrics[gate.metric]) - signed(gate.metric, theirs[gate.metric]),
        delta_low=low,
        delta_high=high,
    )


def paired_interval(
    metric: str,
    y: "np.ndarray[Any, Any]",
    candidate: "np.ndarray[Any, Any]",
    incumbent: "np.ndarray[Any, Any]",
    confidence: float,
    seed: int,
) -> tuple[float, float]:
    """Bounds of candidate minus incumbent (more is better) at `confidence`, both scored on the same drawn rows.

    Rounds in which the metric is not defined are left out. Equal predictions give (0, 0).
    Source: percentile bootstrap, Efron and Tibshirani (1993), chapter 13, paired by row.
    """
    import numpy as np

    random = np.random.default_rng(seed)
    rounds = max(BOOTSTRAP_ROUNDS_MIN, min(BOOTSTRAP_ROUNDS, BOOTSTRAP_CELLS_MAX // len(y)))
    deltas = []
    for _ in range(rounds):
        drawn = random.integers(0, len(y), len(y))
        ours, theirs = score(metric, y[drawn], candidate[drawn]), score(metric, y[drawn], incumbent[drawn])
        deltas.append(signed(metric, ours) - signed(metric, theirs))
    known = [delta for delta in deltas if math.isfinite(delta)] or [0.0]
    low, high = np.quantile(known, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def slice_results(
    rows: HeldOut,
    predicted: "np.ndarray[Any, Any]",
    metric: str,
    incumbent: "np.ndarray[Any, Any] | None" = None,
) -> tuple[SliceResult, ...]:
    """The metric on each part of the rows; parts where it is not defined are left out."""
    found = []
    for column, values in rows.columns.items():
        for value, members in slices(values):
            ours = score(metric, rows.y[members], predicted[members])
            theirs = None if incumbent is None else score(metric, rows.y[members], incumbent[members])
            if math.isfinite(ours):
                is_known = theirs is not None and math.isfinite(theirs)
                count = int(members.sum())
                found.append(
                    SliceResult(
                        column=column,
                        value=value,
                        rows=count,
                        metric=ours,
                        incumbent_metric=theirs if is_known else None,
                    )
                )
    return tuple(found)


def slices(values: Sequence[Any]) -> list[tuple[str, "np.ndarray[Any, Any]"]]:
    """Parts of a column as (name, boolean [n]): its values, or its quartiles when it has many numbers; missing apart."""
    import numpy as np

    missing = np.array([value is None or value != value for value in values], dtype=bool)
    present = [value for value, is_missing in zip(values, missing, strict=True) if not is_missing]
    parts = _quartiles(values, missing) if _is_continuous(present) else _values(values, missing)
    return [*parts, ("missing", missing)] if missing.any() else parts


def _is_continuous(present: Sequence[Any]) -> bool:
    are_numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in present)
    return are_numbers and len(set(present)) > SLICE_VALUES_MAX


def _values(values: Sequence[Any], missing: "np.ndarray[Any, Any]") -> list[tuple[str, "np.ndarray[Any, Any]"]]:
    import numpy as np

    texts = np.array([str(value) for value in values], dtype=object)
    names, counts = np.unique(texts[~missing], return_counts=True)
    frequent = [names[place] for place in np.argsort(-counts, kind="stable")[:SLICE_VALUES_MAX]]
    return [(str(name), (texts == name) & ~missing) for name in frequent]


def _quartiles(values: Sequence[Any], missing: "np.ndarray[Any, Any]") -> list[tuple[str, "np.ndarray[Any, Any]"]]:
    import numpy as np

    numbers = np.array([np.nan if gone else float(value) for value, gone in zip(values, missing, strict=True)])
    edges = np.quantile(numbers[~missing], [0, 0.25, 0.5, 0.75, 1])
    parts = []
    for quarter in range(4):
        low, high = edges[quarter], edges[quarter + 1]
        is_last = quarter == 3
        inside = (numbers >= low) & ((numbers <= high) if is_last else (numbers < high))
        parts.append((f"{low:.4g} to {high:.4g}", inside))
    return [(name, inside) for name, inside in parts if inside.any()]


def latency_ms_p99(answer: Callable[[Any], Any], x: "np.ndarray[Any, Any]", calls: int = LATENCY_CALLS) -> float:
    """99th percentile, in milliseconds, of answering one row, over `calls` calls after a short warm-up.

    Args:
        answer: takes an array [1, features].
        x: rows [n, features] to take in turn.
    """
    import numpy as np

    spent = []
    for call in range(LATENCY_WARM_UP + calls):
        row = x[call % len(x)][None, :]
        began = time.perf_counter()
        answer(row)
        spent.append((time.perf_counter() - began) * 1e3)
    return float(np.percentile(spent[LATENCY_WARM_UP:], 99))
