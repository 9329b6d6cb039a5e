"""The writer: groups, savepoints, errors that stay with their write, and what a broken connection leaves."""

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, select

from sill.core.clock import ManualClock, SystemClock
from sill.core.errors import Conflict, InvalidValue, Limited, SillError, Unavailable
from sill.governance.audit import verify_log
from sill.stores.database import Database, Tx, metadata, open_database
from sill.stores.database import database as module
from sill.stores.database.schema import events, idempotency
from sill.testing.servers import Postgres

pytestmark = pytest.mark.anyio


def note(name: str) -> Any:
    """A write that leaves one event."""
    return lambda tx: tx.emit("thing.noted", "churn", name, "tester", name=name)


def subjects(database: Database) -> list[str]:
    return database.read_sync(
        lambda connection: list(connection.execute(select(events.c.subject).order_by("seq")).scalars())
    )


async def test_what_a_write_returns_comes_after_the_commit(database: Database) -> None:
    assert await database.write(lambda tx: (note("a")(tx), 7)[1]) == 7
    assert subjects(database) == ["a"]


async def test_events_are_numbered_without_gaps_and_chained(database: Database) -> None:
    await asyncio.gather(*(database.write(note(str(number))) for number in range(50)))
    report = verify_log(database, None)

    assert (report.checked, report.head_seq, report.problem) == (50, 50, "")


@pytest.mark.parametrize(
    "error",
    [ValueError("bad"), ZeroDivisionError(), RuntimeError("odd"), OSError("disk"), Conflict("taken."), KeyError("x")],
)
async def test_a_failing_write_takes_nothing_with_it(database: Database, error: Exception) -> None:
    def fail(tx: Tx) -> None:
        note("lost")(tx)
        tx.execute(insert(idempotency).values(key="lost", digest="", result="", at_us=0))
        raise error

    results = await asyncio.gather(
        database.write(note("a")), database.write(fail), database.write(note("b")), return_exceptions=True
    )

    assert results[1] is error
    assert subjects(database) == ["a", "b"]
    assert database.read_sync(lambda connection: connection.execute(select(idempotency)).all()) == []
    assert verify_log(database, None).problem == ""


async def test_sql_errors_become_ours_and_stay_with_their_write(database: Database) -> None:
    def twice(tx: Tx) -> None:
        for _ in range(2):
            tx.execute(insert(idempotency).values(key="k", digest="", result="", at_us=0))

    def nonsense(tx: Tx) -> None:
        tx.connection.exec_driver_sql("SELECT nonsense FROM nowhere")

    results = await asyncio.gather(
        database.write(note("a")),
        database.write(twice),
        database.write(nonsense),
        database.write(note("b")),
        return_exceptions=True,
    )
    assert [type(result) for result in results] == [type(None), Conflict, Unavailable, type(None)]
    assert subjects(database) == ["a", "b"]


async def test_an_event_that_cannot_be_written_fails_its_write_only(database: Database) -> None:
    results = await asyncio.gather(
        database.write(lambda tx: tx.emit("thing.noted", "churn", "x", "tester", odd=object())),
        database.write(note("a")),
        return_exceptions=True,
    )

    assert isinstance(results[0], TypeError)
    assert subjects(database) == ["a"]


async def test_event_data_may_have_the_names_of_the_columns(database: Database) -> None:
    await database.write(lambda tx: tx.emit("run.submitted", "churn", "r", "tester", kind="train", subject="s"))

    assert subjects(database) == ["r"]


async def test_waiting_writes_share_a_commit(database: Database) -> None:
    gate, commits = threading.Event(), []
    database.on_commit(commits.append)
    first = asyncio.ensure_future(database.write(lambda tx: (gate.wait(10), note("first")(tx))))
    await asyncio.sleep(0.05)  # the writer is inside the first
    others = [asyncio.ensure_future(database.write(note(str(number)))) for number in range(100)]
    await asyncio.sleep(0)
    gate.set()
    await asyncio.gather(first, *others)

    assert commits == [1, 101]


async def test_a_cancelled_caller_does_not_stop_the_writer(database: Database) -> None:
    gate = threading.Event()
    running = asyncio.ensure_future(database.write(lambda tx: (gate.wait(10), note("running")(tx))))
    await asyncio.sleep(0.05)
    waiting = asyncio.ensure_future(database.write(note("waiting")))
    await asyncio.sleep(0)
    running.cancel()
    waiting.cancel()
    await asyncio.sleep(0)
    gate.set()
    await database.write(note("after"))

    assert subjects(database) == ["running", "after"]


async def test_a_failing_listener_does_not_stop_the_writer(database: Database) -> None:
    database.on_commit(lambda seq: 1 / 0)
    await database.write(note("a"))
    await database.write(note("b"))

    assert subjects(database) == ["a", "b"]


async def test_listeners_hear_of_commits_with_events_only(database: Database) -> None:
    heard: list[int] = []
    database.on_commit(heard.append)
    await database.write(lambda tx: None)
    await database.write(note("a"))
    await database.write(lambda tx: None)

    assert heard == [1]


async def test_a_write_inside_a_write_is_an_error_not_a_deadlock(database: Database) -> None:
    with pytest.raises(RuntimeError, match="inside a write"):
        await database.write(lambda tx: database.write_sync(lambda inner: None))


async def test_too_many_waiting_writes_are_refused(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = threading.Event()
    database._waiting.maxsize = 2
    running = asyncio.ensure_future(database.write(lambda tx: gate.wait(10)))
    await asyncio.sleep(0.05)
    waiting = [asyncio.ensure_future(database.write(note(name))) for name in "ab"]
    await asyncio.sleep(0)
    with pytest.raises(Limited):
        await database.write(note("c"))
    gate.set()
    await asyncio.gather(running, *waiting)


async def test_close_finishes_what_waits_and_refuses_what_comes(database: Database) -> None:
    waiting = [database._submit(note(str(number))) for number in range(20)]
    database.close()

    assert [write.result(0) for write in waiting] == [None] * 20
    with pytest.raises(Unavailable):
        await database.write(note("late"))
    with pytest.raises(Unavailable):
        await database.read(lambda connection: 1)


async def test_what_a_reader_changes_is_undone(database: Database) -> None:
    def change(connection: Any) -> None:
        connection.execute(insert(idempotency).values(key="k", digest="", result="", at_us=0))

    try:
        await database.read(change)
    except Unavailable:
        assert database.is_postgres  # refuses it outright
    assert database.read_sync(lambda connection: connection.execute(select(idempotency)).all()) == []


async def test_a_reader_sees_one_state(database: Database) -> None:
    await database.write(note("a"))

    def look(connection: Any) -> list[int]:
        first = len(connection.execute(select(events)).all())
        database.write_sync(note("b"))
        return [first, len(connection.execute(select(events)).all())]

    assert await asyncio.to_thread(database.read_sync, look) == [1, 1]


class TestOnce:
    async def test_a_repeat_answers_as_the_first_did(self, database: Database) -> None:
        numbers = iter([1, 2])
        work = lambda tx: (note("a")(tx), next(numbers))[1]  # noqa: E731

        assert [await database.write_once("k", {"x": 1}, int, work) for _ in range(2)] == [1, 1]
        assert subjects(database) == ["a"]

    async def test_another_request_under_the_key_is_a_conflict(self, database: Database) -> None:
        await database.write_once("k", {"x": 1}, int, lambda tx: 1)
        with pytest.raises(Conflict):
            await database.write_once("k", {"x": 2}, int, lambda tx: 2)

    async def test_a_refused_request_may_be_made_again(self, database: Database) -> None:
        with pytest.raises(ValueError):
            await database.write_once("k", 1, int, lambda tx: int("no number"))
        assert await database.write_once("k", 1, int, lambda tx: 5) == 5

    async def test_without_a_key_nothing_is_remembered(self, database: Database) -> None:
        assert [await database.write_once("", 1, int, lambda tx, n=n: n) for n in (1, 2)] == [1, 2]

    async def test_long_keys_and_simultaneous_repeats(self, database: Database) -> None:
        numbers = iter(range(100))
        key = "k" * 1_000
        answers = await asyncio.gather(*(database.write_once(key, 1, int, lambda tx: next(numbers)) for _ in range(10)))
        assert answers == [0] * 10

    async def test_old_keys_are_forgotten(self, database: Database, clock: ManualClock) -> None:
        await database.write_once("k", 1, int, lambda tx: 1)
        clock.advance(100)
        await database.write(lambda tx: module.forget_keys(tx, clock.now_us()))
        assert await database.write_once("k", 1, int, lambda tx: 2) == 2


class TestPostgresGoesAway:
    @pytest.fixture
    def own(self) -> Any:
        """A server of this class's own: others must not notice."""
        server = Postgres()
        yield server
        server.close()

    async def test_it_comes_back_by_itself(self, own: Postgres) -> None:
        database = open_database(own.new_database(), SystemClock())
        metadata.create_all(database.engine)
        await database.write(note("before"))

        def cut(tx: Tx) -> None:
            note("lost")(tx)
            own.kill()

        cut_off = asyncio.ensure_future(database.write(cut))
        await asyncio.sleep(0)
        with pytest.raises(Unavailable):
            await cut_off
        with pytest.raises(Unavailable):
            await database.write(note("while it is away"))
        with pytest.raises(Unavailable):
            await database.read(lambda connection: connection.execute(select(events)).all())
        await asyncio.to_thread(own.start)
        await database.write(note("after"))

        assert subjects(database) == ["before", "after"]
        assert verify_log(database, None).problem == ""
        database.close()


async def test_a_commit_whose_answer_was_lost_is_not_reported_as_failed(postgres_url: str) -> None:
    database = open_database(postgres_url, SystemClock())
    metadata.create_all(database.engine)
    outcome = await database.write(lambda tx: (note("a")(tx), _transaction(tx))[1])

    assert database._outcome(outcome) == "committed"
    database.close()


def _transaction(tx: Tx) -> str:
    return str(tx.connection.exec_driver_sql("SELECT pg_current_xact_id()::text").scalar_one())


async def test_two_control_planes_take_turns(postgres_url: str) -> None:
    one, two = (open_database(postgres_url, SystemClock()) for _ in range(2))
    metadata.create_all(one.engine)
    await asyncio.gather(*(database.write(note(str(n))) for n in range(100) for database in (one, two)))

    assert verify_log(one, None).checked == 200
    one.close()
    two.close()


async def test_sqlite_whose_disk_fails_answers_unavailable_and_keeps_nothing(tmp_path: Path) -> None:
    database = open_database(f"sqlite:///{tmp_path}/sill.db", SystemClock())
    metadata.create_all(database.engine)
    await database.write(note("before"))
    pages = database.write_sync(lambda tx: tx.connection.exec_driver_sql("PRAGMA page_count").scalar_one())
    await database.write(lambda tx: tx.connection.exec_driver_sql(f"PRAGMA max_page_count={pages + 2}").scalar_one())

    def big(tx: Tx) -> None:
        tx.emit("thing.noted", "churn", "big", "tester", text="x" * 1_000_000)

    results = await asyncio.gather(
        database.write(big), database.write(lambda tx: note("beside")(tx)), return_exceptions=True
    )
    assert isinstance(results[0], SillError)
    assert subjects(database) == (["before"] if isinstance(results[1], Unavailable) else ["before", "beside"])
    assert verify_log(database, None).problem == ""
    database.close()


@pytest.mark.parametrize("url", ["mysql://host/x", "sqlite://", "sqlite:///:memory:"])
def test_another_address_is_refused(url: str) -> None:
    with pytest.raises(InvalidValue):
        open_database(url, SystemClock())


def test_the_file_is_its_owners_alone(tmp_path: Path) -> None:
    database = open_database(f"sqlite:///{tmp_path}/home/sill.db", SystemClock())
    metadata.create_all(database.engine)
    modes = [path.stat().st_mode & 0o777 for path in (tmp_path / "home").iterdir()]
    database.close()

    assert modes == [0o600] * 3
