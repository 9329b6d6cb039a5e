"""A candidate beside the incumbent, on the same rows."""

from typing import Any

import numpy as np
import pytest

from sill.core.errors import Refused
from sill.runs.training.evaluate import HeldOut, Incumbent, evaluate, latency_ms_p99, paired_interval, slices
from sill.runs.training.regime import alike_from, differs
from sill.runs.training.types import GateSpec


def guesses(y: Any, right: float, random: np.random.Generator) -> Any:
    """Probabilities of two classes, right for a share of the rows."""
    positive = np.where(random.random(len(y)) < right, y, 1 - y) * 0.8 + 0.1
    return np.column_stack([1 - positive, positive])


def test_the_interval_holds_the_true_difference_about_as_often_as_it_says(random: np.random.Generator) -> None:
    hits = 0
    for round_ in range(40):
        y = random.integers(0, 2, 200)
        low, high = paired_interval("accuracy", y, guesses(y, 0.9, random), guesses(y, 0.8, random), 0.9, round_)
        hits += low <= 0.1 <= high

    assert hits >= 30


def test_the_interval_is_the_same_for_the_same_seed_and_nothing_for_equal_predictions(
    random: np.random.Generator,
) -> None:
    y = random.integers(0, 2, 100)
    p, q = guesses(y, 0.9, random), guesses(y, 0.7, random)

    assert paired_interval("auc", y, p, q, 0.9, 3) == paired_interval("auc", y, p, q, 0.9, 3)
    assert paired_interval("auc", y, p, p, 0.9, 3) == (0.0, 0.0)


def test_of_a_loss_less_is_better(random: np.random.Generator) -> None:
    y = random.normal(size=100)
    rows = HeldOut(y=y, task="regression")
    found = evaluate(rows, y + 0.1, GateSpec(metric="rmse"), incumbent=Incumbent(version=4, predicted=y + 1.0))

    assert found.incumbent_version == 4
    assert found.delta == pytest.approx(0.9)
    assert found.delta_low == pytest.approx(0.9)


def test_slices_are_values_or_quartiles_and_missing_apart() -> None:
    by_value = dict(slices(["a", "b", None, "a"]))
    by_quartile = slices([float(n) for n in range(40)] + [float("nan")])

    assert {name: int(part.sum()) for name, part in by_value.items()} == {"a": 2, "b": 1, "missing": 1}
    assert [int(part.sum()) for _, part in by_quartile] == [10, 10, 10, 10, 1]


def test_a_slice_without_both_classes_is_left_out(random: np.random.Generator) -> None:
    y = np.array([0, 1, 0, 1, 1, 1])
    rows = HeldOut(y=y, task="classification", columns={"plan": ["a", "a", "a", "a", "b", "b"]})
    found = evaluate(rows, guesses(y, 1.0, random), GateSpec(metric="auc"))

    assert [(part.value, part.rows, part.metric) for part in found.slices] == [("a", 4, 1.0)]


def test_a_metric_that_is_not_defined_on_the_rows_is_refused() -> None:
    rows = HeldOut(y=np.zeros(3, int), task="classification")
    with pytest.raises(Refused, match="auc is not defined on 3 held-out rows"):
        evaluate(rows, np.full((3, 2), 0.5), GateSpec(metric="auc"))


def test_latency_is_measured_on_single_rows() -> None:
    seen: list[tuple[int, ...]] = []
    found = latency_ms_p99(lambda row: seen.append(row.shape), np.zeros((5, 3)), calls=20)

    assert set(seen) == {(1, 3)}
    assert found >= 0


def test_the_newest_stretch_that_looks_alike_starts_at_the_shift(random: np.random.Generator) -> None:
    before, after = random.normal(size=(500, 6)), random.normal(size=(300, 6))
    after[:, 2] += 2.5
    start = alike_from(np.concatenate([before, after]))

    assert 500 <= start < 560


def test_rows_without_a_shift_all_look_alike(random: np.random.Generator) -> None:
    assert sum(alike_from(random.normal(size=(600, 30))) > 0 for _ in range(20)) <= 1


def test_columns_with_missing_values_are_compared_by_what_is_there(random: np.random.Generator) -> None:
    a, b = random.normal(size=(200, 1)), random.normal(size=(200, 1))
    b[::2] = np.nan

    assert not differs(a, b)
    assert differs(a, b + 2)
    assert not differs(a, np.full((5, 1), np.nan))
