"""Deletion that deletes: undone for a while, then rows and bytes are gone; what others share stays."""

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from sill.core.actors import Actor
from sill.core.clock import ManualClock
from sill.core.errors import Conflict, Forbidden, InvalidValue, NotFound
from sill.runs.experiments.types import Experiment, ExperimentSpec
from sill.runs.logged_models.types import Dataset, DatasetInput, LoggedModelSpec, ModelOutput
from sill.runs.retention.types import RetentionSpec
from sill.runs.types import Batch, ExternalStart, Lifecycle, Metric, Run
from sill.stores.blobs.sweeping import check_not_swept, let_go
from sill.stores.database import metadata
from sill.stores.database.schema import cursors, events, idempotency

pytestmark = pytest.mark.anyio
DAY_S = 86_400
AT_ONCE = 100
KEPT = {
    *(events.name, idempotency.name, cursors.name),  # what happened stays
    *("experiments", "experiment_counters", "swept_blobs"),
}


async def chunks(data: bytes) -> AsyncIterator[bytes]:
    yield data


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def host(tmp_path: Path, clock: ManualClock) -> AsyncIterator[Any]:
    """Everything on a clock that stands still."""
    built = sys.modules["runs_host"].build(tmp_path / "home", clock)
    yield built
    built.database.close()


async def make(host: Any, ada: Actor, name: str) -> Experiment:
    made: Experiment = await host.experiments.create(ada, "p", ExperimentSpec(name=name))
    return made


async def begin(host: Any, ada: Actor, experiment: str = "0", number: int = 0, parent: str = "") -> Run:
    """A run that left one of everything: points, texts, a file of its own and one that it shares, a dataset."""
    tags = {"mlflow.parentRunId": parent} if parent else {}
    run: Run = await host.external.start(ada, "p", ExternalStart(experiment_id=experiment, tags=tags))
    await host.tracking.log(ada, "p", run.id, Batch(metrics=(Metric(key="m", value=1.0),), params={"a": "1"}))
    await host.artifacts.put(ada, "p", run.id, "own.bin", chunks(b"%06d" % number * 1_000))
    await host.artifacts.put(ada, "p", run.id, "shared.bin", chunks(b"shared" * 1_000))
    dataset = Dataset(name=f"d{number}", digest="1", source_type="local", source="x")
    await host.models.log_inputs(ada, "p", run.id, [DatasetInput(dataset=dataset)])
    return run


def rows(host: Any) -> dict[str, int]:
    """How many rows each table has, those that stay left out."""
    with host.database.engine.connect() as connection:
        counted = {
            name: connection.execute(select(func.count()).select_from(table)).scalar_one()
            for name, table in metadata.tables.items()
            if name not in KEPT and not name.startswith("test_")
        }
    return {name: count for name, count in counted.items() if count}


def bytes_on_disk(host: Any) -> int:
    return sum(path.stat().st_size for path in (host.settings.home / "blobs" / "blobs").rglob("*") if path.is_file())


async def test_a_deleted_run_can_be_restored_until_its_time_is_over(host: Any, ada: Actor, clock: ManualClock) -> None:
    run = await begin(host, ada)
    gone = await host.retention.delete_run(ada, "p", run.id)
    clock.advance(29 * DAY_S)
    await host.retention.erase_due()
    back = await host.retention.restore_run(ada, "p", run.id)

    assert (gone.runs, gone.bytes_freed) == ((run.id,), 0)
    assert gone.restorable_until_us == clock.now_us() + DAY_S * 1_000_000
    assert back.runs == (run.id,)
    assert (await host.tracking.data(ada, "p", run.id)).metrics == {"m": 1.0}


async def test_after_its_time_a_deleted_run_is_erased_and_its_bytes_are_free(
    host: Any, ada: Actor, clock: ManualClock
) -> None:
    run, other = await begin(host, ada, number=1), await begin(host, ada, number=2)
    await host.retention.delete_run(ada, "p", run.id)
    clock.advance(31 * DAY_S)
    before = bytes_on_disk(host)
    erased = await host.retention.erase_due()

    assert (erased.runs, erased.bytes_freed) == (1, 6_000)
    assert bytes_on_disk(host) == before - 6_000
    with pytest.raises(NotFound):
        await host.runs.run(ada, "p", run.id)
    with pytest.raises(NotFound):
        await host.retention.restore_run(ada, "p", run.id)
    assert len((await host.artifacts.list(ada, "p", other.id)).items) == 2


async def erase_and_count(host: Any, ada: Actor, count: int) -> tuple[int, int, dict[str, int]]:
    """Delete so many runs beside one that stays: bytes said to be freed, bytes that are free, rows left beyond before."""
    await begin(host, ada, number=999_999)
    before, used = rows(host), bytes_on_disk(host)
    made = await make(host, ada, "many")
    for at in range(0, count, AT_ONCE):
        numbers = range(at, min(at + AT_ONCE, count))
        await asyncio.gather(*(begin(host, ada, made.id, number) for number in numbers))
    full = bytes_on_disk(host)
    gone = await host.retention.delete_experiment(ada, "p", made.id, now=True)

    assert gone.runs == count
    assert bytes_on_disk(host) == used
    after = rows(host)
    return gone.bytes_freed, full - used, {name: after[name] - before.get(name, 0) for name in after}


async def test_erasing_runs_frees_their_bytes_leaves_shared_ones_and_no_rows(host: Any, ada: Actor) -> None:
    said, measured, left = await erase_and_count(host, ada, 30)

    assert said == measured == 30 * 6_000
    assert set(left.values()) == {0}


@pytest.mark.slow
async def test_erasing_a_thousand_runs_frees_their_bytes_leaves_shared_ones_and_no_rows(host: Any, ada: Actor) -> None:
    said, measured, left = await erase_and_count(host, ada, 1_000)

    assert said == measured == 1_000 * 6_000
    assert set(left.values()) == {0}


async def test_runs_under_a_deleted_one_go_and_come_back_with_it(host: Any, ada: Actor, clock: ManualClock) -> None:
    parent = await begin(host, ada)
    child, early = await begin(host, ada, parent=parent.id), await begin(host, ada, parent=parent.id)
    await host.external.delete(ada, "p", early.id)
    clock.advance(1)
    gone = await host.retention.delete_run(ada, "p", parent.id)
    back = await host.retention.restore_run(ada, "p", parent.id)

    assert set(gone.runs) == {parent.id, child.id, early.id}
    assert set(back.runs) == {parent.id, child.id}  # the other one had been deleted before, for itself


async def test_an_experiment_goes_and_comes_back_with_its_runs(host: Any, ada: Actor) -> None:
    made = await make(host, ada, "a")
    run, other = await begin(host, ada, made.id), await begin(host, ada)
    gone = await host.retention.delete_experiment(ada, "p", made.id)

    assert (gone.runs, gone.bytes_freed) == (1, 0)
    assert (await host.runs.run(ada, "p", run.id)).lifecycle is Lifecycle.DELETED
    assert (await host.runs.run(ada, "p", other.id)).lifecycle is Lifecycle.ACTIVE
    with pytest.raises(NotFound, match="was deleted"):
        await host.retention.delete_experiment(ada, "p", made.id)
    with pytest.raises(InvalidValue, match="experiment"):
        await host.retention.restore_run(ada, "p", run.id)
    back = await host.retention.restore_experiment(ada, "p", made.id)
    assert (back.lifecycle, back.deleted_us) == (Lifecycle.ACTIVE, 0)
    assert (await host.runs.run(ada, "p", run.id)).lifecycle is Lifecycle.ACTIVE
    with pytest.raises(NotFound, match="active"):
        await host.retention.restore_experiment(ada, "p", made.id)


async def test_an_experiment_is_erased_after_its_time_with_its_models(
    host: Any, ada: Actor, clock: ManualClock
) -> None:
    before = rows(host)
    made = await make(host, ada, "a")
    run = await begin(host, ada, made.id)
    model = await host.models.create(ada, "p", LoggedModelSpec(experiment_id=made.id, params={"a": "1"}))
    await host.models.log_outputs(ada, "p", run.id, [ModelOutput(model_id=model.id)])
    await host.retention.delete_experiment(ada, "p", made.id)
    clock.advance(31 * DAY_S)
    erased = await host.retention.erase_due()

    assert (erased.runs, erased.experiments, erased.bytes_freed) == (1, 1, 12_000)
    assert rows(host) == before


async def test_a_deleted_model_is_erased_after_its_time(host: Any, ada: Actor, clock: ManualClock) -> None:
    model = await host.models.create(ada, "p", LoggedModelSpec(tags={"a": "1"}))
    await host.models.delete(ada, "p", model.id)
    clock.advance(31 * DAY_S)

    assert (await host.retention.erase_due()).logged_models == 1
    with pytest.raises(NotFound):
        await host.models.get(ada, "p", model.id, allow_deleted=True)


async def test_each_project_says_how_long(host: Any, ada: Actor, clock: ManualClock) -> None:
    run = await begin(host, ada)
    await host.retention.delete_run(ada, "p", run.id)
    await host.retention.set_policy(ada, "p", RetentionSpec(days=0.5))
    clock.advance(DAY_S)

    assert (await host.retention.policy(ada, "q")).days == 30
    assert (await host.retention.erase_due()).runs == 1
    with pytest.raises(InvalidValue):
        await host.retention.set_policy(ada, "p", RetentionSpec(days=-1))
    developer = Actor(id="dev", scopes=frozenset({"runs:write"}))
    with pytest.raises(Forbidden):
        await host.retention.set_policy(developer, "p", RetentionSpec(days=1))


async def test_the_default_experiment_and_what_runs_here_are_not_erased(host: Any, ada: Actor, program: Any) -> None:
    run = await host.runs.submit(ada, "p", program(experiment="a"))
    with pytest.raises(InvalidValue, match="default experiment"):
        await host.retention.delete_experiment(ada, "p", "0", now=True)
    with pytest.raises(Conflict, match="not over"):
        await host.retention.delete_experiment(ada, "p", run.experiment_id)
    with pytest.raises(Conflict, match="only runs that are over"):
        await host.retention.delete_run(ada, "p", run.id, now=True)


async def test_bytes_that_come_while_they_are_swept_are_asked_for_again(
    host: Any, ada: Actor, clock: ManualClock
) -> None:
    digest = host.blobs.put_bytes(b"x" * 100)
    began_us = clock.now_us()
    unused = await host.database.write(lambda tx: let_go(tx, {digest}))
    with pytest.raises(Conflict, match="just deleted"):
        await host.database.read(lambda connection: check_not_swept(connection, [digest], began_us))

    assert unused == (digest,)


async def test_a_sweep_that_a_crash_cut_off_is_finished_later(host: Any, ada: Actor, clock: ManualClock) -> None:
    digest = host.blobs.put_bytes(b"x" * 100)
    await host.database.write(lambda tx: let_go(tx, {digest}))
    clock.advance(120)

    assert (await host.retention.erase_due()).bytes_freed == 100
    assert not host.blobs.exists(digest)
