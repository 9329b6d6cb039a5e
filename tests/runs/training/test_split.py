"""An entity never changes sides."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sill.core.errors import InvalidValue
from sill.runs.training.split import held_out, is_held_out


@given(st.text(), st.lists(st.text()), st.floats(0, 0.9))
def test_an_entity_stays_on_its_side_whatever_other_rows_there_are(name: str, others: list[str], part: float) -> None:
    alone = held_out([(name,)], part, "salt")[0]
    among = held_out([(other,) for other in others] + [(name,)], part, "salt")[-1]

    assert alone == among


@given(st.text(), st.floats(0, 0.9), st.floats(0, 0.9))
def test_a_larger_fraction_keeps_what_a_smaller_held_out(name: str, one: float, other: float) -> None:
    small, large = sorted([one, other])

    assert not is_held_out((name,), small, "s") or is_held_out((name,), large, "s")


def test_a_fraction_of_the_entities_is_held_out() -> None:
    sides = held_out([(number,) for number in range(4_000)], 0.25, "holdout")

    assert 0.22 < sides.mean() < 0.28


def test_another_salt_holds_out_others() -> None:
    entities = [(number,) for number in range(200)]

    assert (held_out(entities, 0.5, "a") != held_out(entities, 0.5, "b")).any()


def test_7_and_7_point_0_are_one_entity() -> None:
    assert all(
        is_held_out((n,), 0.5, "s") == is_held_out((float(n),), 0.5, "s") == is_held_out((str(n),), 0.5, "s")
        for n in range(50)
    )


def test_a_fraction_out_of_range_is_refused() -> None:
    with pytest.raises(InvalidValue, match=r"0\.95"):
        held_out([], 0.95, "s")
