"""How full the machines were and how many jobs waited, over the time of a simulated run.

Between two decisions nothing changes, so means by span are exact. There are at most `SPANS_MAX` spans, however long the run:
when it gets longer than they cover, each becomes twice as long.
"""

from typing import NamedTuple

from sill.scheduler.resources import ACCELERATORS, CPUS
from sill.scheduler.state import State
from sill.scheduler.types import Action

SPANS_MAX = 512
FIRST_SPAN_US = 1_000_000


class Span(NamedTuple):
    """Means over one span of time; `start_s` counts from the first decision."""

    start_s: float
    used: float
    """Part of all devices (cpus if there are none) that jobs held."""
    waiting: float
    """Jobs that waited."""


class Timeline:
    """Observes a simulation: give it as `observe`."""

    def __init__(self) -> None:
        self._first_us = -1
        self._last_us = 0
        self._used = self._waiting = 0.0
        self._span_us = FIRST_SPAN_US
        self._sums: list[list[float]] = []
        """Of each span: used and waiting, times microseconds."""

    def __call__(self, state: State, _actions: list[Action]) -> None:
        """After a decision: so it stays until the next."""
        if self._first_us < 0:
            self._first_us = self._last_us = state.now_us
        self._add(state.now_us)
        total, used = state.resources.total, state.tree.root.used
        counted = ACCELERATORS if total[ACCELERATORS] else CPUS
        self._used = used[counted] / (total[counted] or 1)
        self._waiting = float(len(state.entries) - len(state.running))

    def spans(self) -> list[Span]:
        """Means by span, from the first decision to the last."""
        found = []
        for at, (used, waiting) in enumerate(self._sums):
            start_us = at * self._span_us
            covered_us = min(self._last_us - self._first_us - start_us, self._span_us)
            if covered_us > 0:
                found.append(Span(start_us / 1e6, used / covered_us, waiting / covered_us))
        return found

    def _add(self, now_us: int) -> None:
        """What was so since the last decision counts for the spans it lasted through."""
        while (now_us - self._first_us) > self._span_us * SPANS_MAX:
            self._halve()
        while self._last_us < now_us:
            at = (self._last_us - self._first_us) // self._span_us
            until_us = min(self._first_us + (at + 1) * self._span_us, now_us)
            while len(self._sums) <= at:
                self._sums.append([0.0, 0.0])
            self._sums[at][0] += self._used * (until_us - self._last_us)
            self._sums[at][1] += self._waiting * (until_us - self._last_us)
            self._last_us = until_us

    def _halve(self) -> None:
        """Half as many spans, each twice as long."""
        pairs = [self._sums[at : at + 2] for at in range(0, len(self._sums), 2)]
        self._sums = [[sum(each[0] for each in pair), sum(each[1] for each in pair)] for pair in pairs]
        self._span_us *= 2
