"""Quotas, budgets, reservations and maintenance hold for the runs of the platform."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from sill.core.actors import Actor
from sill.core.clock import ManualClock
from sill.core.errors import Forbidden, Refused
from sill.costs.types import Usage
from sill.engines.types import EngineStatus, Life, Machine, Used
from sill.queues.service import Queues
from sill.queues.types import BookingSpec, QueueSpec
from sill.runs.board import Board
from sill.runs.overview import Overview
from sill.runs.types import Resources, RunState
from sill.stores.database import Tx

pytestmark = pytest.mark.anyio
ONE = Resources(cpus=1, memory_bytes=1024**2)
HOUR = 3_600_000_000
MACHINE = Machine(host="h", python="3", machine="m", environment="e")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def host(tmp_path: Path, clock: ManualClock, build_host: Any) -> Any:
    """The parts on a clock that stands still; nothing is started by itself."""
    built = build_host(tmp_path / "home", clock)
    yield built
    built.database.close()


@pytest.fixture
def queues(host: Any) -> Queues:
    return Queues(host.database, host.runs.board.resources, host.runs.board.nodes)


async def chosen(host: Any) -> list[str]:
    """Projects of the runs that would be started now; the starts are committed."""
    board = host.runs.board
    await board.refresh()
    decision = board.decide()
    await host.database.write(lambda tx: host.worker._starter._begin(tx, decision.starts, decision, MACHINE))
    return sorted(project for project, _ in decision.starts)


async def test_a_ceiling_holds_for_all_projects_of_a_queue(host: Any, queues: Queues, ada: Actor, program: Any) -> None:
    await queues.put(ada, QueueSpec(name="vision", ceiling={"cpus": 2}, projects=("p", "q")))
    for project in ("p", "p", "q", "q", "r"):
        await host.runs.submit(ada, project, program(resources=ONE))

    assert await chosen(host) == ["p", "p", "r"]
    waiting = [run for run in (await host.runs.runs(ada, "q")).items if run.state is RunState.QUEUED]
    assert "queue 'vision' holds 2 of its ceiling of 2" in (await host.runs.why(ada, "q", waiting[0].id)).text


async def test_a_quota_raised_lets_more_start_and_one_lowered_stops_nothing(
    host: Any, queues: Queues, ada: Actor, program: Any
) -> None:
    made = await queues.put(ada, QueueSpec(name="vision", ceiling={"cpus": 1}, projects=("p",)))
    for _ in range(4):
        await host.runs.submit(ada, "p", program(resources=ONE))
    assert await chosen(host) == ["p"]

    made = await queues.put(ada, msgspec.structs.replace(made, ceiling={"cpus": 3}))
    assert await chosen(host) == ["p", "p"]
    await queues.put(ada, msgspec.structs.replace(made, ceiling={"cpus": 1}))
    assert await chosen(host) == []
    assert (await Overview(host.runs.board, host.database).standing(ada)).queues[0].held == {
        "cpus": 3.0,
        "memory_bytes": 3 * 1024**2,
    }


async def test_what_was_chosen_under_an_older_quota_is_not_started(
    host: Any, queues: Queues, ada: Actor, program: Any
) -> None:
    await host.runs.submit(ada, "p", program(resources=ONE))
    board = host.runs.board
    await board.refresh()
    decision = board.decide()
    await queues.put(ada, QueueSpec(name="vision", ceiling={"cpus": 0}, projects=("p",)))

    await host.worker._starter.enact(decision)
    assert (await host.runs.runs(ada, "p")).items[0].state is RunState.QUEUED
    assert await chosen(host) == []


async def test_what_its_queue_can_never_hold_is_refused_with_what_it_can(
    host: Any, queues: Queues, ada: Actor, program: Any
) -> None:
    await queues.put(ada, QueueSpec(name="vision", ceiling={"cpus": 2}, projects=("p",)))
    with pytest.raises(Refused, match=r"may hold at most 2 cpus.*Ask for at most 2 cpus"):
        await host.runs.submit(ada, "p", program(resources=Resources(cpus=3)))
    with pytest.raises(Refused, match="4 of these workers would fit"):
        await host.runs.submit(ada, "q", program(resources=Resources(cpus=1, workers=6)))


async def test_a_run_that_would_pass_the_budget_waits_and_says_why(
    host: Any, queues: Queues, ada: Actor, program: Any, clock: ManualClock
) -> None:
    # An hour of one core is 0.04 USD, and nobody knows how long these take: an hour is expected.
    made = await queues.put(ada, QueueSpec(name="poor", budget={"usd": 0.1}, projects=("p",)))
    for _ in range(4):
        await host.runs.submit(ada, "p", program(resources=ONE))
    assert await chosen(host) == ["p", "p"]
    waiting = [run for run in (await host.runs.runs(ada, "p")).items if run.state is RunState.QUEUED]
    text = (await host.runs.why(ada, "p", waiting[0].id)).text
    assert "would pass the budget of queue 'poor': 0 of 0.1 USD are spent this month" in text
    assert "it waits until 2023-12-01" in text

    await queues.put(ada, msgspec.structs.replace(made, budget={"usd": 1.0}))
    assert await chosen(host) == ["p", "p"]


async def test_runs_are_stopped_before_a_budget_is_passed_and_wait_for_the_next_month(
    host: Any, queues: Queues, ada: Actor, program: Any, clock: ManualClock
) -> None:
    await queues.put(ada, QueueSpec(name="poor", budget={"usd": 0.05}, projects=("p",)))
    run = await host.runs.submit(ada, "p", program(resources=ONE))
    assert await chosen(host) == ["p"]
    board = host.runs.board
    clock.advance(3600.0)
    await board.refresh()
    assert board.decide().stops == []

    clock.advance(890.0)  # 0.0497 of 0.05 USD, and a stop may take some seconds
    await board.refresh()
    await host.worker._starter.enact(board.decide())
    stopping = await host.runs.run(ada, "p", run.id)
    assert stopping.put_off_us > clock.now_us()
    await ended(host, stopping, 4490.0)
    waits = await host.runs.run(ada, "p", run.id)
    assert (waits.state, waits.attempt, waits.put_offs) == (RunState.QUEUED, 2, 1)
    assert "stopped before the budget of queue 'poor' was passed" in waits.reason
    assert await chosen(host) == []
    spent = (await Overview(host.runs.board, host.database).standing(ada)).queues[0].spent["usd"]
    assert 0.045 < spent <= 0.05

    clock.advance((waits.not_before_us - clock.now_us()) / 1e6 + 1)
    assert await chosen(host) == ["p"]


async def ended(host: Any, run: Any, wall_s: float) -> None:
    """The engine says that an attempt was stopped, after it used its core for so long."""
    status = EngineStatus(life=Life.ENDED, cause="stopped", usage=Used(wall_s=wall_s, cpu_s=wall_s))
    await host.worker._finisher.finish(run, status)


async def test_a_queue_that_stops_ends_what_it_cannot_pay(host: Any, queues: Queues, ada: Actor, program: Any) -> None:
    await queues.put(ada, QueueSpec(name="poor", budget={"carbon_kg": 0.0}, when_spent="stop", projects=("p",)))
    run = await host.runs.submit(ada, "p", program(resources=ONE))
    await host.runs.board.refresh()
    await host.worker._starter.enact(host.runs.board.decide())

    over = await host.runs.run(ada, "p", run.id)
    assert over.state is RunState.CANCELLED
    assert "would pass the budget of queue 'poor': 0 of 0 kg of CO2e" in over.reason


async def test_what_endpoints_and_other_projects_of_the_queue_spent_counts(
    host: Any, queues: Queues, ada: Actor, program: Any
) -> None:
    await queues.put(ada, QueueSpec(name="above", budget={"usd": 0.1}))
    await queues.put(ada, QueueSpec(name="poor", parent="above", projects=("p", "q")))

    def spend(tx: Tx) -> None:
        host.runs.costs.record(tx, "q", "endpoint", "e", Usage(wall_s=7200, cpu_s=7200.0))

    await host.database.write(spend)
    await host.runs.submit(ada, "p", program(resources=ONE))
    assert await chosen(host) == []


async def test_what_is_reserved_is_kept_for_its_queue(
    host: Any, queues: Queues, ada: Actor, program: Any, clock: ManualClock
) -> None:
    await queues.put(ada, QueueSpec(name="launch", projects=("p",)))
    now_us = clock.now_us()
    booking = BookingSpec(
        name="r",
        kind="reservation",
        queue="launch",
        resources={"cpus": 3},
        start_us=now_us + HOUR,
        end_us=now_us + 2 * HOUR,
    )
    await queues.book(ada, booking)
    clock.advance(3600)
    for project in ("q", "q", "q"):
        await host.runs.submit(ada, project, program(resources=ONE))
    assert await chosen(host) == ["q"]
    await host.runs.submit(ada, "p", program(resources=Resources(cpus=3, memory_bytes=1024**2)))
    assert await chosen(host) == ["p"]
    clock.advance(3600)
    assert host.runs.board.wake_us <= clock.now_us()


async def test_a_node_under_maintenance_takes_nothing_new(
    host: Any, queues: Queues, ada: Actor, program: Any, clock: ManualClock
) -> None:
    now_us = clock.now_us()
    await queues.book(
        ada, BookingSpec(name="m", kind="maintenance", node="local", start_us=now_us, end_us=now_us + HOUR)
    )
    run = await host.runs.submit(ada, "p", program(resources=ONE))
    assert await chosen(host) == []
    assert "no node" in (await host.runs.why(ada, "p", run.id)).text
    clock.advance(3600)
    assert await chosen(host) == ["p"]


async def test_a_board_made_anew_knows_what_runs_on_a_node_under_maintenance(
    host: Any, queues: Queues, ada: Actor, program: Any, clock: ManualClock
) -> None:
    await host.runs.submit(ada, "p", program(resources=ONE))
    assert await chosen(host) == ["p"]
    now_us = clock.now_us()
    await queues.book(
        ada, BookingSpec(name="m", kind="maintenance", node="local", start_us=now_us, end_us=now_us + HOUR)
    )
    fresh = Board(host.database, clock, host.engine.capacity(), host.runs.costs)
    await fresh.refresh()
    await host.runs.board.refresh()
    assert fresh.standing() == host.runs.board.standing()
    assert fresh.standing().running == 1


async def test_a_project_moved_to_another_queue_takes_its_runs_along(
    host: Any, queues: Queues, ada: Actor, program: Any
) -> None:
    a = await queues.put(ada, QueueSpec(name="a", projects=("p",)))
    b = await queues.put(ada, QueueSpec(name="b", ceiling={"cpus": 1}))
    for _ in range(6):
        await host.runs.submit(ada, "p", program(resources=ONE))
    assert await chosen(host) == ["p"] * 4
    await queues.put(ada, msgspec.structs.replace(a, projects=()))
    await queues.put(ada, msgspec.structs.replace(b, projects=("p",)))

    assert await chosen(host) == []
    standing = {queue.name: queue for queue in (await Overview(host.runs.board, host.database).standing(ada)).queues}
    assert (standing["b"].running, standing["b"].waiting, standing["b"].held["cpus"]) == (4, 2, 4.0)
    assert standing["a"].running == 0


async def test_those_that_wait_longest_are_told_with_what_holds_them_back(
    host: Any, queues: Queues, ada: Actor, program: Any
) -> None:
    await queues.put(ada, QueueSpec(name="vision", ceiling={"cpus": 1}, projects=("p",)))
    await queues.put(ada, QueueSpec(name="poor", budget={"usd": 0.0}, projects=("q",)))
    runs = [await host.runs.submit(ada, project, program(resources=ONE)) for project in ("p", "p", "q")]
    overview = Overview(host.runs.board, host.database)
    assert await chosen(host) == ["p"]

    waiting = await overview.waiting(ada)
    assert [each.run_id for each in waiting] == [runs[1].id, runs[2].id]
    assert [each.queue for each in waiting] == ["vision", "poor"]
    assert "holds 1 of its ceiling of 1" in waiting[0].reason
    assert "would pass the budget of queue 'poor'" in waiting[1].reason


async def test_of_other_tenants_nothing_is_told_that_waits(host: Any, ada: Actor, program: Any) -> None:
    for project in ("p", "q"):
        await host.runs.submit(ada, project, program(resources=ONE))
    overview = Overview(host.runs.board, host.database)
    of_q = msgspec.structs.replace(ada, projects=frozenset({"q"}))

    assert [each.project for each in await overview.waiting(of_q)] == ["q"]
    with pytest.raises(Forbidden):
        await overview.waiting(msgspec.structs.replace(of_q, scopes=frozenset({"queues:read"})))
