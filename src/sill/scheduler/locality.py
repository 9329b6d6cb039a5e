"""How long a gang should wait for a place where its workers are near each other, before it takes one where they are not.

A gang whose workers do not share a node (or rack, or block) runs slower, how much depends on its kind of work. It is placed
within the nearest level that can hold it for as long as running farther apart would cost it: waiting longer than the
slowdown would cost is worth less than starting. So work that suffers waits for whole nodes, and work that does not takes
what is scattered. Source: Zaharia et al., "Delay scheduling", EuroSys 2010, with the delay from the measured slowdown.
"""

from itertools import pairwise

from sill.scheduler.ledger import Ledger
from sill.scheduler.machines import MILLI
from sill.scheduler.placement import Need
from sill.scheduler.types import Job

NODE = "node"


class Locality:
    """Which level a gang is held to, by how long it has waited."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._sizes: dict[tuple[str, str], int] = {}
        self._generation = -1

    def level(self, job: Job, need: Need, waited_s: float, runs_s: float) -> tuple[str, float]:
        """The level all workers must share for now, and after how many seconds of waiting to ask again; 0 for never.

        Args:
            need: of the job without any preference; its own `level` is never given up.
            runs_s: predicted run time with all workers near each other.
        """
        until_s = 0.0
        steps = self._steps(job, need)
        for (level, slowdown), (_, farther) in pairwise(steps):
            until_s += (farther - slowdown) * runs_s
            if waited_s < until_s:
                return level, until_s
        return need.level, 0.0

    def _steps(self, job: Job, need: Need) -> list[tuple[str, float]]:
        """Levels that can hold the gang, the nearest first, with how many times slower it runs there."""
        found: list[tuple[str, float]] = []
        slowdown = 1.0
        for level in (NODE, *reversed(self._ledger.levels)):
            if level == need.level:
                break
            if self.holds(level, need):
                found.append((level, slowdown))
            slowdown = max(slowdown, job.slowdowns.get(level, 1.0))
        return [*found, (need.level, slowdown)]

    def holds(self, level: str, need: Need) -> bool:
        """True if some domain of the level would have room for the whole gang if it were empty."""
        return not need.milli or any(self._size(level, name) * MILLI >= need.devices for name in need.types)

    def _size(self, level: str, accelerator: str) -> int:
        """Devices of the largest domain of a level."""
        ledger = self._ledger
        if self._generation != ledger.generation:
            self._sizes.clear()
            self._generation = ledger.generation
        known = self._sizes.get((level, accelerator))
        if known is None:
            at = len(ledger.levels) if level == NODE else ledger.levels.index(level)
            held: dict[int, int] = {}
            for machine in ledger.machines:
                domain = (*machine.domains, machine.index)[at]
                held[domain] = held.get(domain, 0) + machine.spec.accelerators.get(accelerator, 0)
            known = self._sizes[level, accelerator] = max(held.values(), default=0)
        return known
