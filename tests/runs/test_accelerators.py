"""Runs on a machine with devices of two kinds, with real processes: each sees those it was given, and no others."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from sill.core.actors import PLATFORM, Actor
from sill.core.errors import Refused
from sill.core.settings import Settings
from sill.queues.service import Queues
from sill.queues.types import QueueSpec
from sill.runs.jobs import running_of
from sill.runs.types import Resources, Run, RunSpec, RunState
from sill.runs.whatif import WhatIfs
from sill.scheduler.simulation.types import WhatIf

pytestmark = pytest.mark.anyio
Program = Callable[..., RunSpec]
Over = Callable[[Run], Awaitable[Run]]
MIB = 1024**2
DECLARED = """
[[types]]
name = "loihi2"
kind = "neuromorphic"
capabilities = ["spikes"]
price_usd_per_h = 100

[[devices]]
type = "loihi2"
names = ["left", "right"]
variable = "LOIHI_BOARDS"

[[devices]]
type = "alveo"
names = ["u55c"]
variable = "XRT_CARD"
"""
TELL = "import os; print(os.environ['LOIHI_BOARDS'], os.environ['XRT_CARD'], sep='|')"


def needing(accelerators: float, *types: str, workers: int = 1, capabilities: tuple[str, ...] = ()) -> Resources:
    return Resources(
        cpus=0.1,
        memory_bytes=64 * MIB,
        accelerators=accelerators,
        accelerator_types=types,
        capabilities=capabilities,
        workers=workers,
    )


@pytest.fixture
async def host(tmp_path: Path, build_host: Any) -> AsyncIterator[Any]:
    """In the place of the common one: its machine has devices."""
    file = tmp_path / "accelerators.toml"
    file.write_text(DECLARED)
    built = build_host(tmp_path / "home", accelerators=str(file))
    yield built
    built.database.close()


async def told(host: Any, ada: Actor, run: Run) -> set[str]:
    """Lines the run printed."""
    chunk = await host.runs.logs(ada, run.project, run.id, 0, 0)
    return {line.split("] ")[-1] for line in chunk.text.splitlines() if "|" in line}


async def test_each_run_sees_the_devices_it_was_given_and_no_others(
    working: Any, ada: Actor, program: Program, over: Over
) -> None:
    for resources, seen in (
        (needing(1, "alveo"), {"|u55c"}),
        (needing(2, "loihi2"), {"left,right|"}),
        (needing(1, capabilities=("spikes",)), {"left|"}),
        (needing(1, "loihi2", workers=2), {"left|", "right|"}),
        (Resources(cpus=0.1, memory_bytes=64 * MIB), {"|"}),
    ):
        run = await over(await working.runs.submit(ada, "p", program(TELL, resources=resources)))
        assert await told(working, ada, run) == seen


async def test_two_runs_at_once_are_given_different_devices_and_parts_share_one(
    working: Any, ada: Actor, program: Program, over: Over
) -> None:
    text = f"{TELL}; import time; time.sleep(0.5)"
    whole = [await working.runs.submit(ada, "p", program(text, resources=needing(1, "loihi2"))) for _ in range(2)]
    ended = [await over(run) for run in whole]
    halves = [await working.runs.submit(ada, "p", program(text, resources=needing(0.5, "loihi2"))) for _ in range(2)]
    shared = [await over(run) for run in halves]

    assert sorted(run.devices for run in ended) == [(0,), (1,)]
    assert [(run.accelerator, run.devices) for run in shared] == [("loihi2", (0,)), ("loihi2", (0,))]


async def test_a_kind_that_is_not_here_is_refused_at_once(host: Any, ada: Actor, program: Program) -> None:
    with pytest.raises(Refused, match="h100"):
        await host.runs.submit(ada, "p", program(resources=needing(1, "h100")))
    with pytest.raises(Refused, match="3"):
        await host.runs.submit(ada, "p", program(resources=needing(3, "loihi2")))


async def test_a_run_found_running_keeps_its_devices_unless_they_are_gone(
    working: Any, ada: Actor, program: Program, over: Over
) -> None:
    run = await over(await working.runs.submit(ada, "p", program(resources=needing(2, "loihi2"))))
    assert run.state is RunState.FINISHED

    there = running_of(run, "p", {"loihi2": 2})
    gone = running_of(run, "p", {"loihi2": 1})
    assert (there.accelerator, there.slots[0].devices, there.job.accelerators) == ("loihi2", (0, 1), 2)
    assert (gone.accelerator, gone.slots[0].devices, gone.job.accelerators) == ("", (), 0)


async def test_a_device_can_have_a_ceiling_of_its_own(host: Any) -> None:
    assert "accelerators/loihi2" in host.runs.board.resources


async def test_a_budget_counts_the_price_of_the_kind_that_is_asked_for(host: Any, ada: Actor, program: Program) -> None:
    board = host.runs.board  # nobody knows how long these take: an hour is expected
    queues = Queues(host.database, board.resources, board.nodes)
    await queues.put(ada, QueueSpec(name="poor", budget={"usd": 10}, projects=("p",)))
    dear = await host.runs.submit(ada, "p", program(resources=needing(1, "loihi2")))
    cheap = await host.runs.submit(ada, "p", program(resources=needing(1, "alveo")))
    await board.refresh()

    assert board.decide().starts == [("p", cheap.id)]
    assert "would pass the budget of queue 'poor'" in board.why(dear.id)


async def test_a_what_if_counts_the_price_of_the_kind_too(host: Any, ada: Actor, program: Program) -> None:
    runs = host.runs
    what_ifs = WhatIfs(host.database, runs.clock, runs.board, runs.costs, Settings())
    bills = []
    for kind in ("alveo", "loihi2"):
        await runs.submit(ada, "p", program(resources=needing(1, kind)))
        await runs.board.refresh()
        bills.append((await what_ifs.ask(PLATFORM, WhatIf(add={"cpus": 1}))).bill_before.usd)

    hours_max = 24  # what is not known to end sooner is taken to run an hour, or a day
    assert 0 < bills[0] < 2.1 * hours_max
    assert bills[1] - bills[0] >= 100
