"""S14: the interval in which a waiting job is said to start, made when it comes, on ITP cluster 04 without known run times."""

from collections.abc import Iterator
from pathlib import Path

from bench.scheduler.tables import goal
from sill.scheduler.policies import policy_named
from sill.scheduler.simulation.report import quantile
from sill.scheduler.simulation.simulate import Simulation
from sill.scheduler.simulation.traces import itp
from sill.scheduler.starts import Forecaster, StartInterval
from sill.scheduler.state import State
from sill.scheduler.types import Action, Start

EVERY = 5
"""One of so many jobs that have to wait is forecast."""
LEAST, MOST = 0.75, 0.85


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
        new = [name for name in reversed(state.entries) if state.entries[name].job.submitted_us == state.now_us]
        for name in new[:8]:
            if name in self._seen or name in state.running:
                continue
            self._seen.add(name)
            self._waited += 1
            if self._waited % EVERY == 0 and (made := self.forecaster.forecast(state, name)) is not None:
                self.made[name] = made


def measure(folder: Path) -> Iterator[str]:
    """Every fifth job that waits is told an interval; it is compared with its start."""
    watch = _Watch()
    Simulation(itp(folder, "04"), policy_named("sill"), observe=watch.look).run()
    held = [made.low_us <= at_us <= made.high_us for made, at_us in watch.done]
    early = sum(at_us < made.low_us for made, at_us in watch.done) / len(held)
    late = sum(at_us > made.high_us for made, at_us in watch.done) / len(held)
    widths = sorted((made.high_us - made.low_us) / 1e6 for made, _ in watch.done)
    waits = sorted((at_us - made.made_us) / 1e6 for made, at_us in watch.done)
    share = sum(held) / len(held)
    yield f"{len(held):,} forecasts came true: {share:.1%} within, {early:.1%} started earlier, {late:.1%} later"
    middle = quantile(waits, 0.5), quantile(widths, 0.5), quantile(widths, 0.9)
    yield "median wait {:,.0f} s, median width of the interval {:,.0f} s, 90th percentile {:,.0f} s".format(*middle)
    yield goal("share of starts within the 80 % interval", share, LEAST, least=True)
    yield goal("the same, not too wide", share, MOST)
