"""Views on a real lake: training sets, online lookups, and that the two agree."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pyarrow as pa
import pytest

from sill.core.actors import Actor
from sill.core.clock import ManualClock
from sill.core.errors import Conflict, Forbidden, InvalidValue, NotFound, Refused
from sill.features.service import Features
from sill.features.types import FeatureView, LookupRequest
from sill.lake.service import Lake
from sill.stores.kv import Online

ROOT = Actor(id="root", scopes=frozenset({"*"}))
NOW = datetime.fromtimestamp(1_700_000_000, UTC)
VIEW = FeatureView(project="churn", name="orders", entity=("customer_id",), table="customers", time="updated_at")
SUMS = msgspec.structs.replace(
    VIEW,
    name="sums",
    sql="select customer_id, max(updated_at) as updated_at, sum(amount) as total, count(*) as orders "
    "from customers group by customer_id order by customer_id",
)


def rows(*given: tuple[int, float, float]) -> pa.Table:
    """(customer, days before now, amount)."""
    columns = {
        "customer_id": pa.array([row[0] for row in given], pa.int64()),
        "updated_at": pa.array([NOW - timedelta(days=row[1]) for row in given], pa.timestamp("us", tz="UTC")),
        "amount": pa.array([row[2] for row in given], pa.float64()),
    }
    return pa.table(columns)


async def fill(lake: Lake, *given: tuple[int, float, float]) -> int:
    return (await lake.append(ROOT, "churn", "customers", rows(*given))).snapshot_id


async def look(features: Features, *customers: int, view: str = "orders") -> list[dict[str, Any]]:
    request = LookupRequest(entities=tuple({"customer_id": one} for one in customers))
    return [row.features for row in (await features.lookup(ROOT, "churn", view, request)).rows]


@pytest.mark.anyio
async def test_a_training_set_holds_the_newest_row_of_each_entity(features: Features, lake: Lake) -> None:
    snapshot = await fill(lake, (1, 5, 10.0), (2, 3, 20.0), (1, 1, 30.0))
    await features.declare(ROOT, VIEW)
    table, found = await features.training_set(ROOT, "churn", "orders")
    assert found == snapshot
    assert table.column_names == ["customer_id", "updated_at", "amount"]
    assert table.column("amount").to_pylist() == [30.0, 20.0]


@pytest.mark.anyio
async def test_a_spine_gets_what_was_known_at_its_times(features: Features, lake: Lake) -> None:
    await fill(lake, (1, 5, 10.0), (1, 1, 30.0))
    await features.declare(ROOT, VIEW)
    asked = pa.array([NOW - timedelta(days=days) for days in (6, 3, 0)], pa.timestamp("us", tz="UTC"))
    spine = pa.table({"customer_id": [1, 1, 1], "at": asked, "churned": [0, 0, 1]})
    table, _ = await features.training_set(ROOT, "churn", "orders", spine=spine, spine_time="at")
    assert table.column_names == ["customer_id", "at", "churned", "amount"]
    assert table.column("amount").to_pylist() == [None, 10.0, 30.0]


@pytest.mark.anyio
@pytest.mark.parametrize("view", [VIEW, SUMS])
async def test_lookups_serve_what_training_saw(features: Features, lake: Lake, view: FeatureView) -> None:
    await fill(
        lake, *((customer, customer % 7 + step, customer + step / 10) for step in (2, 0, 1) for customer in range(40))
    )
    await features.declare(ROOT, view)
    table, _ = await features.training_set(ROOT, "churn", view.name)
    trained = {row.pop("customer_id"): row for row in table.to_pylist()}
    assert len(trained) == 40
    for customer, found in zip(trained, await look(features, *trained, view=view.name), strict=True):
        expected = {name: value for name, value in trained[customer].items() if name != "updated_at"}
        assert found == expected
        assert [type(value) for value in found.values()] == [type(value) for value in expected.values()]


@pytest.mark.anyio
async def test_a_lookup_follows_the_table(features: Features, lake: Lake) -> None:
    await fill(lake, (1, 5, 10.0))
    await features.declare(ROOT, VIEW)
    before = await look(features, 1)
    first = (await lake.table(ROOT, "churn", "customers")).snapshot_id
    await fill(lake, (1, 1, 30.0))
    after = await look(features, 1)
    await lake.rollback(ROOT, "churn", "customers", first)
    assert [before, after, await look(features, 1)] == [[{"amount": 10.0}], [{"amount": 30.0}], [{"amount": 10.0}]]


@pytest.mark.anyio
async def test_many_lookups_fill_the_online_store_once(
    features: Features, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(lake, (1, 5, 10.0))
    await features.declare(ROOT, VIEW)
    scans = []
    scan = lake.scan
    monkeypatch.setattr(lake, "scan", lambda *given, **named: (scans.append(given), scan(*given, **named))[1])
    found = await asyncio.gather(*(look(features, 1) for _ in range(20)))
    assert (len(scans), found) == (1, [[{"amount": 10.0}]] * 20)


@pytest.mark.anyio
async def test_an_old_value_is_not_served_nor_trained_on(features: Features, lake: Lake, clock: ManualClock) -> None:
    await fill(lake, (1, 5, 10.0), (2, 1, 20.0))
    await features.declare(ROOT, msgspec.structs.replace(VIEW, ttl_s=2 * 86_400))
    assert await look(features, 1, 2, 3) == [{}, {"amount": 20.0}, {}]
    clock.advance(2 * 86_400)
    assert await look(features, 2) == [{}]
    spine = pa.table({"customer_id": [1, 2], "at": pa.array([NOW, NOW], pa.timestamp("us", tz="UTC"))})
    table, _ = await features.training_set(ROOT, "churn", "orders", spine=spine, spine_time="at")
    assert table.column("amount").to_pylist() == [None, 20.0]


@pytest.mark.anyio
async def test_an_emptied_online_store_is_filled_again(features: Features, lake: Lake, online: Online) -> None:
    await fill(lake, (1, 5, 10.0))
    await features.declare(ROOT, VIEW)
    await look(features, 1)
    online.close()  # type: ignore[attr-defined]  # the in-process store forgets everything
    assert await look(features, 1) == [{"amount": 10.0}]


@pytest.mark.anyio
async def test_an_earlier_snapshot_gives_the_earlier_features(features: Features, lake: Lake) -> None:
    first = await fill(lake, (1, 5, 10.0))
    await fill(lake, (1, 1, 30.0))
    for view in (VIEW, SUMS):
        await features.declare(ROOT, view)
        table, found = await features.training_set(ROOT, "churn", view.name, snapshot_id=first)
        assert (found, table.num_rows) == (first, 1)
        assert 10.0 in table.to_pylist()[0].values()


@pytest.mark.anyio
async def test_a_composite_entity_is_looked_up(features: Features, lake: Lake) -> None:
    data = pa.table({"shop": ["a", "a", "b"], "item": [1, 2, 1], "stock": [5, 6, 7]})
    await lake.append(ROOT, "churn", "stocks", data)
    view = FeatureView(project="churn", name="stock", entity=("item", "shop"), table="stocks")
    await features.declare(ROOT, view)
    request = LookupRequest(entities=({"shop": "b", "item": 1}, {"item": "2", "shop": "a"}, {"item": 9, "shop": "a"}))
    found = await features.lookup(ROOT, "churn", "stock", request)
    assert [row.features for row in found.rows] == [{"stock": 7}, {"stock": 6}, {}]


@pytest.mark.anyio
async def test_declaring_again_changes_nothing_and_a_stale_change_is_refused(features: Features) -> None:
    first = await features.declare(ROOT, VIEW)
    assert await features.declare(ROOT, VIEW) == first
    second = await features.declare(ROOT, msgspec.structs.replace(first, ttl_s=60))
    assert second.revision == 2
    with pytest.raises(Conflict):
        await features.declare(ROOT, msgspec.structs.replace(first, ttl_s=90))


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"entity": ("nobody",)}, InvalidValue, "yields no column 'nobody'"),
        ({"time": "never"}, InvalidValue, "yields no column 'never'"),
        ({"sql": "select customer_id, updated_at from customers"}, InvalidValue, "no feature"),
        ({"sql": "drop table customers"}, Refused, "one SELECT is allowed"),
        ({"sql": "select * from read_csv('/etc/passwd')"}, Refused, "read_csv"),
        ({"entity": ()}, InvalidValue, "1 to 8"),
        ({"ttl_s": -1}, InvalidValue, "ttl_s -1"),
        ({"ttl_s": 5, "time": ""}, InvalidValue, "without a time column"),
        ({"name": "../x"}, InvalidValue, "not a name"),
    ],
)
async def test_a_view_that_cannot_work_is_refused(
    features: Features, lake: Lake, change: dict[str, Any], error: type[Exception], message: str
) -> None:
    await fill(lake, (1, 5, 10.0))
    with pytest.raises(error, match=message):
        await features.declare(ROOT, msgspec.structs.replace(VIEW, **change))
    assert (await features.views(ROOT, "churn")).items == ()


@pytest.mark.anyio
async def test_a_view_needs_rights_and_its_own_project(features: Features, lake: Lake) -> None:
    await fill(lake, (1, 5, 10.0))
    await features.declare(ROOT, VIEW)
    reader = Actor(id="reader", scopes=frozenset({"features:read"}), projects=frozenset({"churn"}))
    foreign = Actor(id="foreign", scopes=frozenset({"*"}), projects=frozenset({"other"}))
    table, _ = await features.training_set(reader, "churn", "orders")
    assert table.num_rows == 1
    with pytest.raises(Forbidden):
        await features.declare(reader, VIEW)
    with pytest.raises(NotFound):
        await features.training_set(foreign, "churn", "orders")


@pytest.mark.anyio
async def test_a_truncated_view_is_refused_not_served(features: Features, lake: Lake) -> None:
    await fill(lake, (1, 5, 10.0), (2, 5, 10.0))
    features._sql_rows_max = 1
    await features.declare(ROOT, SUMS)
    with pytest.raises(Refused, match="more than 1 rows"):
        await features.training_set(ROOT, "churn", "sums")


@pytest.mark.anyio
async def test_a_deleted_view_is_gone(features: Features, lake: Lake) -> None:
    await fill(lake, (1, 5, 10.0))
    await features.declare(ROOT, VIEW)
    assert (await features.materialize(ROOT, "churn", "orders")).entities == 1
    await features.delete(ROOT, "churn", "orders")
    with pytest.raises(NotFound):
        await look(features, 1)


@pytest.mark.anyio
async def test_sql_that_is_wrong_is_refused_before_there_are_rows(features: Features) -> None:
    view = FeatureView(project="churn", name="v", entity=("id",), table="later", sql="select id, at, load from later")
    with pytest.raises(InvalidValue, match=r"syntax error at or near \",\" \(behind 'select id, at'\)"):
        await features.declare(ROOT, view)
