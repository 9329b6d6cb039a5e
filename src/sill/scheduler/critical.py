"""Shortest first, but what would be last anyway comes before all: an order for the mean and the end of the whole at once.

A job is critical when what is left of it takes longer than all work together would take on all devices: every hour it
waits is an hour more until everything is done, while the others can still be done beside it. Critical jobs go first, the
longest first; the others by what is left of them (SRPT), which is best for the mean. As the backlog drains, the next longest
become critical. Source of the bound: Graham, "Bounds on multiprocessing timing anomalies", 1969 (longest path, total work).
"""

from collections.abc import Iterable

from sill.scheduler.entries import Entry, Phase
from sill.scheduler.prediction import Predictor


class CriticalFirst:
    """Index below 1 for critical jobs, above for the others by predicted seconds left."""

    by_time = False
    drifts = True

    def __init__(self, predictor: Predictor) -> None:
        self.version = 0
        self._predictor = predictor
        self._critical: frozenset[str] = frozenset()

    def key(self, entry: Entry, now_us: int) -> float:
        left_s = self._left_s(entry, now_us)
        return 1 / (1 + left_s) if entry.job.id in self._critical else 1 + left_s

    def changes_us(self, entry: Entry, now_us: int) -> int:
        return 0

    def learn(self, entry: Entry, seconds: float) -> None:
        return

    def survey(self, entries: Iterable[Entry], devices: float, now_us: int) -> None:
        """Find out which jobs are critical among all there are, on so many devices."""
        left_s = {
            entry.job.id: (self._left_s(entry, now_us), entry.devices)
            for entry in entries
            if entry.phase is not Phase.AWAY
        }
        drained_s = sum(each_s * held for each_s, held in left_s.values()) / max(devices, 1.0)
        found = frozenset(job_id for job_id, (each_s, _) in left_s.items() if each_s > drained_s)
        if found != self._critical:
            self._critical = found
            self.version += 1

    def _left_s(self, entry: Entry, now_us: int) -> float:
        return self._predictor.left_s(entry.job, entry.work_us(now_us) / 1e6)
