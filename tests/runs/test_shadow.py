"""A policy in shadow is compared with the one that decides, and changes nothing."""

from pathlib import Path

import pytest

from sill.core.actors import PLATFORM, Actor
from sill.core.clock import ManualClock
from sill.core.errors import NotFound
from sill.engines.types import Capacity
from sill.runs.board import Board
from sill.runs.overview import Overview
from sill.testing.fake_engine import FakeEngine
from sill.testing.virtual_daemon import Arrival, open_daemon

pytestmark = pytest.mark.anyio


async def test_what_a_strict_policy_would_not_start_is_noted(tmp_path: Path) -> None:
    clock = ManualClock()
    daemon = open_daemon(tmp_path, clock, FakeEngine(clock, Capacity(cpus=4, memory_bytes=1024**3)))
    costs, capacity = daemon.runs.costs, daemon.engine.capacity()
    shadowed = Board(daemon.database, clock, capacity, costs, shadow_policy="fifo")
    alone = Board(daemon.database, clock, capacity, costs)
    for name, cpus in (("first", 3.0), ("large", 4.0), ("small", 1.0)):
        await daemon.runs.submit(PLATFORM, "p", Arrival(name=name, at_us=0, project="p", runtime_s=9, cpus=cpus).spec())
        clock.advance(0.001)
    for board in (shadowed, alone):
        await board.refresh()

    assert shadowed.decide().starts == alone.decide().starts
    assert shadowed.shadow is not None
    told = shadowed.shadow.report()
    assert (told.policy, told.shadow, told.compared, told.same, told.ours, told.theirs) == ("local", "fifo", 1, 1, 1, 0)
    assert (told.last[0].what, told.last[0].is_ours) == ("start", True)
    shadowed.decide()
    assert shadowed.shadow.report().compared == 1  # not again within a second
    daemon.close()


async def test_without_a_shadow_there_is_nothing_to_see(tmp_path: Path) -> None:
    clock = ManualClock()
    daemon = open_daemon(tmp_path, clock, FakeEngine(clock, Capacity(cpus=4, memory_bytes=1024**3)))
    with pytest.raises(NotFound, match="SILL_SHADOW_POLICY"):
        await Overview(daemon.runs.board, daemon.database).shadow(PLATFORM)
    with pytest.raises(NotFound):
        await Overview(daemon.runs.board, daemon.database).shadow(
            Actor(id="t", scopes=frozenset({"*"}), projects=frozenset({"p"}))
        )
    with pytest.raises(NotFound, match="no policy"):
        Board(daemon.database, clock, daemon.engine.capacity(), daemon.runs.costs, shadow_policy="best")
    daemon.close()
