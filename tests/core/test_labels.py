"""When two labels are one class."""

import pytest

from sill.core.labels import class_name, distinct, means_same


@pytest.mark.parametrize(
    ("first", "second"), [("a", "a"), ("1", "1.0"), ("true", "yes"), ("No", "false"), ("1", "true"), ("TRUE", "true")]
)
def test_spellings_of_one_class_mean_the_same(first: str, second: str) -> None:
    assert means_same(first, second)
    assert means_same(second, first)


@pytest.mark.parametrize(("first", "second"), [("a", "b"), ("yes", "1"), ("true", "no"), ("yes", "y"), ("1", "2")])
def test_other_labels_are_two_classes(first: str, second: str) -> None:
    assert not means_same(first, second)


def test_values_are_named_as_they_are_meant() -> None:
    assert [class_name(value) for value in (True, 1.0, 1, "1.5", 1.5)] == ["true", "1", "1", "1.5", "1.5"]


def test_the_first_spelling_stays() -> None:
    assert distinct(["false", "true", "yes", "0", "maybe"], 10) == ["false", "true", "maybe"]
    assert len(distinct(map(str, range(100)), 5)) == 6
