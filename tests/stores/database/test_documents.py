"""Documents: every query has its tenant, every change its revision."""

from typing import Any

import pytest

from sill.core.errors import Conflict, InvalidValue, NotFound
from sill.stores.database import Database, Documents


@pytest.fixture
def filled(database: Database, things: Documents[Any], thing: Any) -> Database:
    def fill(tx: Any) -> None:
        for number in range(5):
            color = "red" if number % 2 else "blue"
            value = thing(name=f"t{number}", color=type(thing(name="x").color)(color), size=number, is_new=number > 2)
            things.create(tx, value)
        things.create(tx, thing(project="other", name="t0", size=99))

    database.write_sync(fill)
    return database


def test_a_value_is_got_by_its_project_and_key(filled: Database, things: Documents[Any]) -> None:
    assert filled.read_sync(lambda connection: things.get(connection, "churn", "t0")).size == 0
    assert filled.read_sync(lambda connection: things.get(connection, "other", "t0")).size == 99
    with pytest.raises(NotFound):
        filled.read_sync(lambda connection: things.get(connection, "other", "t1"))


def test_a_taken_key_is_a_conflict(filled: Database, things: Documents[Any], thing: Any) -> None:
    with pytest.raises(Conflict):
        filled.write_sync(lambda tx: things.create(tx, thing(name="t0")))


def test_a_change_from_an_old_revision_is_a_conflict(filled: Database, things: Documents[Any], thing: Any) -> None:
    changed = filled.write_sync(lambda tx: things.replace(tx, thing(name="t0", size=7, revision=1)))

    assert changed.revision == 2
    with pytest.raises(Conflict) as refused:
        filled.write_sync(lambda tx: things.replace(tx, thing(name="t0", size=8, revision=1)))
    assert refused.value.details == {"revision": 2}


def test_put_makes_or_changes(filled: Database, things: Documents[Any], thing: Any) -> None:
    assert filled.write_sync(lambda tx: things.put(tx, thing(name="new"))).revision == 1
    assert filled.write_sync(lambda tx: things.put(tx, thing(name="new", size=3))).revision == 2


def test_pages_hold_all_once_in_either_direction(filled: Database, things: Documents[Any]) -> None:
    for descending in (False, True):
        names: list[str] = []
        after = ""
        while True:
            page = filled.read_sync(
                lambda connection: things.page(connection, "churn", after=after, limit=2, descending=descending)  # noqa: B023
            )
            names += [value.name for value in page.items]
            after = page.next
            if not after:
                break
        assert names == sorted(names, reverse=descending)
        assert len(names) == 5


def test_where_compares_text_enums_numbers_and_booleans(filled: Database, things: Documents[Any]) -> None:
    def names(**where: Any) -> list[str]:
        return [value.name for value in filled.read_sync(lambda connection: things.every(connection, "churn", **where))]

    assert names(color="red") == ["t1", "t3"]
    assert names(size=(0, 4)) == ["t0", "t4"]
    assert names(is_new=True, color="blue") == ["t4"]
    assert filled.read_sync(lambda connection: things.count(connection, size=(0, 99))) == 2


def test_a_deleted_value_is_gone(filled: Database, things: Documents[Any]) -> None:
    filled.write_sync(lambda tx: things.delete(tx, "churn", "t0"))

    assert filled.read_sync(lambda connection: things.find(connection, "churn", "t0")) is None
    with pytest.raises(NotFound):
        filled.write_sync(lambda tx: things.delete(tx, "churn", "t0"))


def test_keys_are_ordered_by_their_bytes_on_every_database(
    database: Database, things: Documents[Any], thing: Any
) -> None:
    keys = ["a-b", "a.b", "a_b", "ab", "aB", "B", "é", "z"]
    database.write_sync(lambda tx: [things.create(tx, thing(name=key)) for key in keys])

    found = database.read_sync(lambda connection: things.page(connection, "churn"))
    assert [value.name for value in found.items] == sorted(keys, key=str.encode)


def test_a_limit_out_of_range_is_refused(database: Database, things: Documents[Any]) -> None:
    for limit in (0, 1_001):
        with pytest.raises(InvalidValue):
            database.read_sync(lambda connection: things.page(connection, "churn", limit=limit))  # noqa: B023


def test_a_column_of_another_kind_fails_when_it_is_declared(thing: Any) -> None:
    import msgspec

    class Odd(msgspec.Struct):
        project: str
        name: str
        revision: int
        parts: list[str]

    with pytest.raises(TypeError, match="parts"):
        Documents("test_odd", Odd, columns=("parts",))
