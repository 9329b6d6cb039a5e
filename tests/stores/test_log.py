"""Readers of the log: in order, at least once, without gaps, woken at once."""

import asyncio

import pytest

from sill.core.events import Event
from sill.stores.database import Database
from sill.stores.log import Log

pytestmark = pytest.mark.anyio


async def emit(database: Database, *kinds: str, project: str = "churn") -> None:
    def work(tx: object) -> None:
        for kind in kinds:
            tx.emit(kind, project, "s", "tester")  # type: ignore[attr-defined]

    await database.write(work)


async def followed(log: Log, reader: str, kinds: tuple[str, ...], number: int, fail_at: int = 0) -> list[int]:
    """Sequence numbers of the first events a reader is handed."""
    seen: list[int] = []
    enough = asyncio.Event()

    async def handle(event: Event) -> None:
        seen.append(event.seq)
        if len(seen) == fail_at:
            raise ConnectionError("the handler broke")
        if len(seen) == number:
            enough.set()

    task = asyncio.create_task(log.follow(reader, kinds, handle))
    waiter = asyncio.create_task(enough.wait())
    await asyncio.wait({task, waiter}, timeout=10, return_when=asyncio.FIRST_COMPLETED)
    await asyncio.sleep(0.05)  # the place is written down after the batch
    for one in (task, waiter):
        one.cancel()
    await asyncio.gather(task, waiter, return_exceptions=True)
    return seen


async def test_pages_filter_by_project_and_kind(database: Database) -> None:
    log = Log(database)
    await emit(database, "run.started", "run.finished", "model.registered")
    await emit(database, "run.started", project="other")

    assert [event.seq for event in await log.after(0)] == [1, 2, 3, 4]
    assert [event.seq for event in await log.after(0, project="churn", kinds=("run.",))] == [1, 2]
    assert [event.seq for event in await log.after(1, kinds=("run.started", "model."))] == [3, 4]
    assert [event.seq for event in await log.after(1, limit=2)] == [2, 3]


async def test_a_follower_goes_on_where_it_stopped(database: Database) -> None:
    log = Log(database)
    await emit(database, "run.started", "model.registered", "run.finished")
    first = await followed(log, "r", ("run.",), 2)
    await emit(database, "run.started")
    second = await followed(log, "r", ("run.",), 1)

    assert (first, second) == ([1, 3], [4])


async def test_an_event_whose_handling_broke_comes_again(database: Database) -> None:
    log = Log(database)
    await emit(database, *["run.started"] * 5)
    assert await followed(log, "r", ("run.",), 5, fail_at=3) == [1, 2, 3]
    assert 3 in await followed(log, "r", ("run.",), 5)


async def test_more_events_than_a_batch_come_in_order(database: Database) -> None:
    log = Log(database)
    await emit(database, *["run.started", "other.thing"] * 250)

    assert await followed(log, "r", ("run.",), 250) == list(range(1, 500, 2))


async def test_readers_do_not_share_their_place(database: Database) -> None:
    log = Log(database)
    await emit(database, "run.started")
    assert await followed(log, "one", ("run.",), 1) == [1]
    assert await followed(log, "two", ("run.",), 1) == [1]


async def test_a_commit_wakes_a_waiter(database: Database) -> None:
    log = Log(database)
    waiting = asyncio.create_task(log.wait(60))
    await asyncio.sleep(0)
    await emit(database, "run.started")

    await asyncio.wait_for(waiting, 10)


async def test_a_commit_between_looking_and_waiting_is_not_missed(database: Database) -> None:
    log = Log(database)
    commits = log.commits
    await emit(database, "run.started")
    await asyncio.sleep(0.05)

    await asyncio.wait_for(log.wait(60, since=commits), 10)


@pytest.mark.parametrize("turns", range(5))
async def test_who_waits_can_be_cancelled_also_while_it_is_woken(database: Database, turns: int) -> None:
    log = Log(database)
    waiting = asyncio.create_task(log.wait(60))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await emit(database, "a")
    for _ in range(turns):
        await asyncio.sleep(0)
    was_done = waiting.done()
    waiting.cancel()

    (outcome,) = await asyncio.gather(waiting, return_exceptions=True)

    assert was_done or isinstance(outcome, asyncio.CancelledError)
