"""Records of an evaluation dataset are known by their inputs."""

from collections.abc import Iterator

import pytest

from sill.core.actors import Actor
from sill.core.clock import Ids, ManualClock
from sill.core.errors import InvalidValue, NotFound
from sill.runs.evaluation.service import EvaluationDatasets
from sill.runs.evaluation.types import RecordUpsert
from sill.runs.experiments import store as experiments
from sill.stores.database import Database, metadata, open_database

ADA = Actor(id="ada", scopes=frozenset({"*"}))
USED = ("evaluation", "experiment", "events", "idempotency")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def database(sqlite_url: str, clock: ManualClock) -> Iterator[Database]:
    opened = open_database(sqlite_url, clock)
    metadata.create_all(opened.engine, tables=[each for name, each in metadata.tables.items() if name.startswith(USED)])
    yield opened
    opened.close()


@pytest.fixture
def datasets(database: Database, clock: ManualClock) -> EvaluationDatasets:
    return EvaluationDatasets(database, Ids(clock))


@pytest.mark.anyio
async def test_records_with_the_same_inputs_are_merged(datasets: EvaluationDatasets) -> None:
    made = await datasets.create(ADA, "p", "questions")
    first = RecordUpsert(inputs={"a": 1, "b": 2}, expectations={"x": 1}, tags={"t": "1"})
    second = RecordUpsert(inputs={"b": 2, "a": 1}, outputs="o", expectations={"y": 2})

    counted = await datasets.upsert(ADA, "p", made.id, [first, second, RecordUpsert(inputs={"a": 2})])
    records = await datasets.records(ADA, "p", made.id)

    assert (counted.inserted, counted.updated) == (2, 1)
    assert sorted(record.inputs["a"] for record in records.items) == [1, 2]
    merged = next(record for record in records.items if record.inputs["a"] == 1)
    assert (merged.outputs, merged.expectations, merged.tags) == ("o", {"x": 1, "y": 2}, {"t": "1"})


@pytest.mark.anyio
async def test_a_dataset_tells_its_schema_and_its_size(datasets: EvaluationDatasets, clock: ManualClock) -> None:
    made = await datasets.create(ADA, "p", "questions")
    clock.advance(1)
    await datasets.upsert(ADA, "p", made.id, [RecordUpsert(inputs={"n": 1, "s": "x"}, outputs=[1])])

    dataset = await datasets.dataset(ADA, "p", made.id)

    assert (dataset.records, dataset.digest != made.digest) == (1, True)
    assert dataset.schema == {
        "inputs": {"n": "integer", "s": "string"},
        "outputs": "array",
        "expectations": {},
        "version": "1.0",
    }


@pytest.mark.anyio
async def test_datasets_are_found_by_tag_and_experiment(datasets: EvaluationDatasets, database: Database) -> None:
    other = database.write_sync(lambda tx: experiments.create(tx, "p", "other", "", {}, "ada"))
    one = await datasets.create(ADA, "p", "one", experiment_ids=["0"], tags={"team": "ml"})
    two = await datasets.create(ADA, "p", "two", experiment_ids=[other.id], tags={"team": "ops"})
    await datasets.use(ADA, "p", one.id, [other.id, other.id])
    await datasets.leave(ADA, "p", two.id, ["0"])

    by_tag = await datasets.search(ADA, "p", filter="tags.team = 'ml' AND name LIKE 'o%'")
    by_experiment = await datasets.search(ADA, "p", experiment_ids=[other.id], order_by=["name DESC"])

    assert [dataset.name for dataset in by_tag.items] == ["one"]
    assert [dataset.name for dataset in by_experiment.items] == ["two", "one"]
    assert by_tag.items[0].experiment_ids == ("0", other.id)


@pytest.mark.anyio
async def test_pages_of_records_come_in_order_and_deleted_ones_are_gone(
    datasets: EvaluationDatasets, clock: ManualClock
) -> None:
    made = await datasets.create(ADA, "p", "many")
    for number in range(3):
        await datasets.upsert(ADA, "p", made.id, [RecordUpsert(inputs={"n": number})])
        clock.advance(1)
    first = await datasets.records(ADA, "p", made.id, limit=2)
    rest = await datasets.records(ADA, "p", made.id, limit=2, after=first.next)

    assert [record.inputs["n"] for record in (*first.items, *rest.items)] == [0, 1, 2]
    assert await datasets.delete_records(ADA, "p", made.id, [first.items[0].id, "dr-gone"]) == 1
    assert (await datasets.dataset(ADA, "p", made.id)).records == 2


@pytest.mark.anyio
async def test_a_deleted_dataset_leaves_no_row(datasets: EvaluationDatasets, database: Database) -> None:
    made = await datasets.create(ADA, "p", "gone", experiment_ids=["0"], tags={"t": "1"})
    await datasets.upsert(ADA, "p", made.id, [RecordUpsert(inputs={"n": 1})])
    await datasets.delete(ADA, "p", made.id)

    with pytest.raises(NotFound, match="not found"):
        await datasets.dataset(ADA, "p", made.id)
    for table in (
        "evaluation_datasets",
        "evaluation_dataset_tags",
        "evaluation_dataset_experiments",
        "evaluation_records",
    ):
        rows = database.read_sync(lambda c, name=table: c.exec_driver_sql(f"SELECT count(*) FROM {name}").scalar())
        assert rows == 0, table


@pytest.mark.anyio
async def test_names_and_experiments_are_checked(datasets: EvaluationDatasets) -> None:
    with pytest.raises(InvalidValue):
        await datasets.create(ADA, "p", "")
    with pytest.raises(NotFound):
        await datasets.create(ADA, "p", "x", experiment_ids=["77"])
    with pytest.raises(InvalidValue):
        await datasets.search(ADA, "p", filter="colour = 'red'")
