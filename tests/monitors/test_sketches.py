"""Columns in little space."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sill.monitors import sketches
from sill.monitors.sketches import PREDICTION, bin_counts, merge, profile_numbers, profile_texts, read_reference, update
from sill.monitors.types import Sketch
from sill.testing.platform import parquet

NUMBERS = [float(value) for value in range(1_000)]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-1e6, 1e6), max_size=200), st.lists(st.floats(-1e6, 1e6), max_size=200))
def test_merged_numbers_are_those_sketched_together(one: list[float], other: list[float]) -> None:
    profile = profile_numbers(NUMBERS, 200)

    together = update(Sketch(), profile, one + other)
    merged = merge(update(Sketch(), profile, one), update(Sketch(), profile, other))

    assert bin_counts(profile, merged) == bin_counts(profile, together)
    assert (merged.count, merged.missing) == (together.count, together.missing)
    assert merged.total == pytest.approx(together.total)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.text("abcde", max_size=2)), st.lists(st.text("abcde", max_size=2)))
def test_merged_texts_are_those_sketched_together(one: list[str], other: list[str]) -> None:
    profile = profile_texts(["a", "b", "ab", None])

    merged = merge(update(Sketch(), profile, one), update(Sketch(), profile, other))

    assert merged == update(Sketch(), profile, one + other)


def test_a_large_window_is_within_one_percent_of_rank() -> None:
    profile = profile_numbers(NUMBERS, 200)
    values = NUMBERS * 20
    random.Random(7).shuffle(values)

    counts = bin_counts(profile, update(Sketch(), profile, values))

    assert all(abs(count / len(values) - 0.1) < 0.02 for count in counts[:-1])


def test_the_bins_of_the_reference_hold_the_same_part_each() -> None:
    assert profile_numbers(NUMBERS, 200).counts == (100,) * 10 + (0,)


def test_few_distinct_values_have_a_bin_each_and_unseen_ones_their_own() -> None:
    profile = profile_numbers([0.0] * 30 + [1.0] * 70, 200)

    counts = bin_counts(profile, update(Sketch(), profile, [0.0, 1.0, 1.0, -5.0, 9.0]))

    assert profile.counts == (0, 30, 70, 0, 0)
    assert counts == (1, 1, 2, 1, 0)


def test_what_is_not_a_finite_number_counts_as_missing() -> None:
    profile = profile_numbers(NUMBERS, 200)

    sketch = update(Sketch(), profile, [1.0, float("nan"), float("inf"), None, "x", "2.5", [1]])

    assert (sketch.count, sketch.missing) == (2, 5)


def test_whole_numbers_are_one_category_however_they_came() -> None:
    profile = profile_texts(["0", "1"])

    assert bin_counts(profile, update(Sketch(), profile, [1, 1.0, "1", "0"]))[:2] == (1, 3)


def test_categories_beyond_the_bound_share_bins() -> None:
    profile = profile_texts([f"name-{index}" for index in range(1_000)])

    assert len(profile.counts) == sketches.NAMES_MAX + sketches.HASHED_BINS + 1
    assert sum(profile.counts) == 1_000


def test_a_classifiers_prediction_is_a_category_and_the_label_is_not_watched() -> None:
    data = parquet({"age": [1.0, 2.0], "plan": ["a", "b"], "label": [0, 1], "prediction": [0, 1]})

    profiles = read_reference(data, 200, is_classifier=True)

    assert {name: profile.is_number for name, profile in profiles.items()} == {
        "age": True,
        "plan": False,
        PREDICTION: False,
    }
