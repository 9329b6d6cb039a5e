"""The scheduler's picture of the runs is that of the database, however it came about."""

from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from sill.core.actors import Actor
from sill.core.errors import InvalidValue, Refused, Unavailable
from sill.runs import rules
from sill.runs.board import Board
from sill.runs.decisions import Stop
from sill.runs.store import RUNS
from sill.runs.types import Resources, Run, RunState

pytestmark = pytest.mark.anyio
NEEDS = Resources(cpus=3, memory_bytes=1024**2)


def picture(board: Board) -> dict[str, tuple[str, str]]:
    entries = board.scheduler.state.entries
    return {name: (entry.phase.name, entry.leaf.spec.name) for name, entry in entries.items()}


def anew(host: Any) -> Board:
    return Board(host.database, host.runs.clock, host.engine.capacity(), host.runs.costs)


async def test_a_board_made_anew_sees_what_the_old_one_sees(host: Any, ada: Actor, program: Any) -> None:
    await host.runs.submit(ada, "p", program("pass", resources=NEEDS))
    await host.worker.dispatch_once()
    second = await host.runs.submit(ada, "p", program("pass", resources=NEEDS))
    third = await host.runs.submit(ada, "q", program("pass", resources=NEEDS))
    await host.runs.cancel(ada, "q", third.id)
    await host.runs.board.refresh()

    fresh = anew(host)
    await fresh.refresh()
    assert picture(fresh) == picture(host.runs.board)
    for board in (fresh, host.runs.board):
        assert board.why(second.id) == "needs 3 cpus, 1 of 4 are free"
    assert fresh.decide().starts == []


async def test_a_start_that_was_not_committed_gives_its_place_back(host: Any, ada: Actor, program: Any) -> None:
    run = await host.runs.submit(ada, "p", program("pass", resources=NEEDS))
    await host.runs.board.refresh()
    assert host.runs.board.decide().starts == [("p", run.id)]

    await host.runs.board.take_back([("p", run.id)])
    assert picture(host.runs.board) == {run.id: ("WAITING", "p")}
    assert host.runs.board.decide().starts == [("p", run.id)]


async def test_starts_give_their_places_back_when_the_stops_beside_them_cannot_be_committed(
    host: Any, ada: Actor, program: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = await host.runs.submit(ada, "p", program("pass", resources=NEEDS))
    await host.runs.board.refresh()
    decision = host.runs.board.decide()
    decision.stops.append(Stop("p", run.id, "it was stopped", 1))
    monkeypatch.setattr(host.database.engine, "connect", _refused)
    with pytest.raises(Unavailable):
        await host.worker._starter.enact(decision)

    assert host.runs.board.decide().starts == [("p", run.id)]


def _refused() -> None:
    raise OperationalError("BEGIN", {}, Exception("disk I/O error"))


async def test_a_run_cancelled_while_it_was_being_started_holds_nothing(host: Any, ada: Actor, program: Any) -> None:
    run = await host.runs.submit(ada, "p", program("pass", resources=NEEDS))
    await host.runs.board.refresh()
    host.runs.board.decide()
    await host.runs.cancel(ada, "p", run.id)

    await host.runs.board.take_back([("p", run.id)])
    await host.runs.board.refresh()
    assert picture(host.runs.board) == {}


async def test_what_another_control_plane_started_holds_its_place(host: Any, ada: Actor, program: Any) -> None:
    run = await host.runs.submit(ada, "p", program("pass", resources=NEEDS))
    await host.runs.board.refresh()

    def start(tx: Any) -> Run:
        going = rules.started(RUNS.get(tx.connection, "p", run.id), "elsewhere", "other", tx.now_us)
        tx.emit("run.started", "p", run.id, "platform", kind=run.kind)
        return RUNS.replace(tx, going)

    assert (await host.database.write(start)).state is RunState.RUNNING
    await host.runs.board.refresh()
    assert picture(host.runs.board) == {run.id: ("RUNNING", "p")}
    assert host.runs.board.decide().starts == []


async def test_projects_take_turns_by_what_they_hold(host: Any, ada: Actor, program: Any) -> None:
    one = Resources(cpus=1, memory_bytes=1024**2)
    for _ in range(4):
        await host.runs.submit(ada, "p", program("pass", resources=one))
    for _ in range(2):
        await host.runs.submit(ada, "q", program("pass", resources=one))
    await host.runs.board.refresh()

    assert sorted(project for project, _ in host.runs.board.decide().starts) == ["p", "p", "q", "q"]


async def test_half_a_device_more_than_one_is_refused(host: Any, ada: Actor, program: Any) -> None:
    with pytest.raises(InvalidValue, match=r"accelerators 1\.5"):
        await host.runs.submit(ada, "p", program("pass", resources=Resources(accelerators=1.5)))
    with pytest.raises(Refused, match="could never start"):
        await host.runs.submit(ada, "p", program("pass", resources=Resources(cpus=3, workers=2)))
