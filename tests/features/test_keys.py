"""Keys of entities: two different entities never share one, equal ones always do."""

from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sill.core.errors import InvalidValue
from sill.features.keys import convert_entity, entity_key

PART = st.one_of(
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.text(max_size=8),
    st.sampled_from(["1:", "s1:a", "i1:1", "e", "", ":"]),
    st.dates(),
    st.datetimes(timezones=st.just(UTC)),
)


@given(one=st.lists(PART, min_size=1, max_size=3), other=st.lists(PART, min_size=1, max_size=3))
def test_keys_are_equal_exactly_when_entities_are(one: list[object], other: list[object]) -> None:
    is_same = [(type(value), value) for value in one] == [(type(value), value) for value in other]
    assert (entity_key(one) == entity_key(other)) == is_same


def test_a_long_entity_has_a_short_key_of_its_own() -> None:
    keys = {entity_key(["x" * length]) for length in range(200, 2_000)}
    assert len(keys) == 1_800
    assert max(map(len, keys)) <= 250


def test_text_that_spells_the_type_is_taken() -> None:
    kinds = ("int", "float", "text", "date", "time")
    given_entity = {"i": "7", "f": "0.5", "s": "7", "d": "2024-01-02", "t": "2024-01-02T03:04:05"}
    assert convert_entity(given_entity, tuple(given_entity), kinds) == [
        *(7, 0.5, "7", date(2024, 1, 2), datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC))
    ]


@pytest.mark.parametrize(
    ("kind", "value"),
    [("int", "07"), ("int", 1.5), ("int", True), ("text", 7), ("date", "soon"), ("bool", 1), ("int", None)],
)
def test_another_type_is_refused_with_the_value(kind: str, value: object) -> None:
    with pytest.raises(InvalidValue, match="is needed"):
        convert_entity({"id": value}, ("id",), (kind,))


@pytest.mark.parametrize("entity", [{}, {"id": 1, "more": 2}, {"other": 1}])
def test_an_entity_has_exactly_the_columns_of_the_view(entity: dict[str, object]) -> None:
    with pytest.raises(InvalidValue, match="exactly id"):
        convert_entity(entity, ("id",), ("int",))
