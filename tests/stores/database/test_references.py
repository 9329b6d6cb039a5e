"""Which rows hold which blobs: kept with the rows, whatever happens to them, and found by one look-up."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, select

from sill.stores.database import Database, Documents, Tx
from sill.stores.database.references import digests_in, references, used

ONE, TWO, THREE = "1" * 64, "2" * 64, "ab" * 32
NOT_ONE = ("1" * 63, "1" * 65, "1" * 63 + "g", "A" * 64)


def held(database: Database) -> set[str]:
    with database.engine.connect() as connection:
        return used(connection, [ONE, TWO, THREE])


def rows(database: Database) -> int:
    with database.engine.connect() as connection:
        return connection.execute(select(func.count()).select_from(references)).scalar_one()


def test_a_value_holds_what_stands_in_it_until_it_changes_or_goes(
    database: Database, things: Documents[Any], thing: type[Any]
) -> None:
    kept = database.write_sync(lambda tx: things.create(tx, thing(name="a", note=f"sha256:{ONE}, blobs/{TWO}.bin")))
    assert held(database) == {ONE, TWO}
    kept = database.write_sync(lambda tx: things.replace(tx, msgspec.structs.replace(kept, note=f"{TWO} {THREE}")))
    assert held(database) == {TWO, THREE}
    database.write_sync(lambda tx: things.put(tx, msgspec.structs.replace(kept, note="")))
    assert (held(database), rows(database)) == (set(), 0)


def test_what_two_values_hold_is_held_until_both_are_gone(
    database: Database, things: Documents[Any], thing: type[Any]
) -> None:
    for project in ("p", "q"):
        database.write_sync(lambda tx, at=project: things.create(tx, thing(project=at, name="a", note=ONE)))
    database.write_sync(lambda tx: things.delete(tx, "p", "a"))
    assert held(database) == {ONE}
    database.write_sync(lambda tx: things.delete(tx, "q", "a"))
    assert (held(database), rows(database)) == (set(), 0)


def test_a_write_that_fails_holds_nothing(database: Database, things: Documents[Any], thing: type[Any]) -> None:
    def work(tx: Tx) -> None:
        things.create(tx, thing(name="a", note=ONE))
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        database.write_sync(work)
    assert held(database) == set()


@pytest.mark.parametrize("text", NOT_ONE)
def test_only_64_lower_case_hex_digits_in_a_row_are_a_digest(text: str) -> None:
    assert digests_in(f'{{"a":"{text}"}}') == set()


@given(st.lists(st.sampled_from([ONE, TWO, THREE]), max_size=4), st.text(st.sampled_from('gz{":, \\é'), min_size=1))
def test_digests_are_found_wherever_they_stand(digests: list[str], between: str) -> None:
    assert digests_in(between + between.join(digests) + between) == set(digests)
