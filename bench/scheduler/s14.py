"""S14: the interval in which a waiting job is said to start, made when it comes, on ITP without known run times."""

from collections.abc import Iterator
from itertools import islice, takewhile
from pathlib import Path

from bench.scheduler.tables import goal
from sill.scheduler.policies import policy_named
from sill.scheduler.simulation.report import quantile
from sill.scheduler.simulation.simulate import Simulation
from sill.scheduler.simulation.traces import itp
from sill.scheduler.starts import Forecaster, StartInterval
from sill.scheduler.state import State
from sill.scheduler.types import Action, Start

EVERY = 10
"""One of so many jobs that have to wait is forecast."""
BATCH = 8
"""Of jobs that come together, so many are looked at."""
LEAST, MOST = 0.75, 0.85
CLUSTERS = (("02", 13), ("03", 20), ("06", 13), ("07", 37), ("04", 72))
"""ITP's clusters that had to wait, and nodes of eight devices, so that each is asked for about 86 % of what it has."""
SEEN = ("02", "04", "06")
"""The way intervals follow misses (`sill.scheduler.calibration`) was found with these in view, its one free number, the step,
on 04."""


class _Watch:
    """Asks for a forecast as jobs come, and notes when they start."""

    def __init__(self) -> None:
        self.forecaster = Forecaster()
        self.made: dict[str, StartInterval] = {}
        self.done: list[tuple[StartInterval, int]] = []
        self._seen: set[str] = set()
        self._waited = 0

    def look(self, state: State, actions: list[Action]) -> None:
        self.forecaster.saw(state, actions)
        for action in actions:
            if isinstance(action, Start) and action.job_id in self.made:
                self.done.append((self.made.pop(action.job_id), state.now_us))
        newest_first = takewhile(
            lambda name: state.entries[name].job.submitted_us == state.now_us, reversed(state.entries)
        )
        for name in list(islice(newest_first, BATCH)):
            if name in self._seen or name in state.running:
                continue
            self._seen.add(name)
            self._waited += 1
            made = self.forecaster.forecast(state, name) if self._waited % EVERY == 0 else None
            if made is not None and made.is_calibrated:  # others are not shown
                self.made[name] = made


def measure(folder: Path) -> Iterator[str]:
    """Every tenth job that waits is told an interval, once that is shown; it is compared with its start. Nothing is known but
    the past."""
    everywhere: list[bool] = []
    unseen: list[bool] = []
    for name, nodes in CLUSTERS:
        watch = _Watch()
        Simulation(itp(folder, name, nodes=nodes), policy_named("sill"), observe=watch.look).run()
        done = sorted(watch.done, key=lambda each: each[0].made_us)
        held = [made.low_us <= at_us <= made.high_us for made, at_us in done]
        halves = held[: len(held) // 2], held[len(held) // 2 :]
        yield f"cluster {name}: {len(held):,} forecasts came true; within: {_share(halves[0])}, then {_share(halves[1])}"
        yield from _widths(done)
        everywhere += held
        unseen += () if name in SEEN else held
    for what, starts in (("all clusters", everywhere), ("those that were not looked at", unseen)):
        share = sum(starts) / len(starts)
        yield goal(f"within the 80 % interval, {what} ({len(starts):,} starts)", share, LEAST, least=True)
        yield goal("the same, not too wide", share, MOST)


def _share(held: list[bool]) -> str:
    return f"{sum(held) / len(held):.1%}" if held else "none"


def _widths(done: list[tuple[StartInterval, int]]) -> Iterator[str]:
    early = sum(at_us < made.low_us for made, at_us in done)
    late = sum(at_us > made.high_us for made, at_us in done)
    widths = sorted((made.high_us - made.low_us) / 1e6 for made, _ in done)
    waits = sorted((at_us - made.made_us) / 1e6 for made, at_us in done)
    yield (
        f"{early:,} started earlier, {late:,} later; median wait {quantile(waits, 0.5):,.0f} s, width of the interval "
        f"{quantile(widths, 0.5):,.0f} s, 90th percentile {quantile(widths, 0.9):,.0f} s"
    )
