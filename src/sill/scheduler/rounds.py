"""Orders that share by rounds, as Gavel's scheduler does: baselines that run any policy of shares by preemption.

At each round every job has a share: the part of its time that it should run. Those that had least of theirs run in the round.
`max_min` gives all the same device-time (Gavel's max-min fairness on devices of one kind); `finish_time` gives each job so
much that the worst finish-time fairness is as low as it can be (Themis), run times being as they were told.
Sources: Narayanan et al., "Heterogeneity-aware cluster scheduling policies" (Gavel), OSDI 2020; Mahajan et al., "Themis",
NSDI 2020.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from sill.scheduler.entries import Entry, Phase
from sill.scheduler.prediction import Predictor

ROUND_US = 120_000_000
"""Shockwave's setting for itself and all its baselines."""
HALVINGS = 50
"""Steps of bisection: the last is far below what a share means."""
SHARE_LEAST = 1e-6
RATIO_MOST = 1e6
"""The worst finish-time fairness that is looked for."""


class Asking(NamedTuple):
    """What one job asks of the shares: devices, seconds since it came, seconds of work left and in all."""

    devices: float
    age_s: float
    left_s: float
    total_s: float


class Rounds:
    """Index by rounds: the part of its time a job has run, over its share.

    Args:
        shares: of each job, from what all ask for and the devices there are.
    """

    by_time = False
    drifts = False

    def __init__(self, predictor: Predictor, shares: Callable[[Sequence[Asking], float], list[float]]) -> None:
        self.version = 0
        self._predictor = predictor
        self._shares = shares
        self._round = -1
        self._indexes: dict[str, float] = {}

    def key(self, entry: Entry, now_us: int) -> float:
        return self._indexes.get(entry.job.id, 0.0)

    def changes_us(self, entry: Entry, now_us: int) -> int:
        return (now_us // ROUND_US + 1) * ROUND_US

    def learn(self, entry: Entry, seconds: float) -> None:
        return

    def survey(self, entries: Iterable[Entry], devices: float, now_us: int) -> None:
        """At the first decision of a round: share among all that run or could."""
        if now_us // ROUND_US == self._round:
            return
        self._round = now_us // ROUND_US
        self.version += 1
        some = [entry for entry in entries if entry.phase is not Phase.AWAY]
        asking = [self._asking(entry, now_us) for entry in some]
        self._indexes = {
            entry.job.id: self._had(entry, now_us) / max(share, SHARE_LEAST)
            for entry, share in zip(some, self._shares(asking, devices), strict=True)
        }

    def _had(self, entry: Entry, now_us: int) -> float:
        """The part of its time that it has run."""
        return entry.work_us(now_us) / max(now_us - entry.job.submitted_us, ROUND_US)

    def _asking(self, entry: Entry, now_us: int) -> Asking:
        had_s = entry.work_us(now_us) / 1e6
        age_s = max(now_us - entry.job.submitted_us, 0) / 1e6
        left_s = self._predictor.left_s(entry.job, had_s)
        return Asking(entry.devices, age_s, left_s, had_s + left_s)


def max_min(asking: Sequence[Asking], devices: float) -> list[float]:
    """Shares with which all get the same device-time, but none more than all of its time."""
    left, each = devices, 0.0
    rest = sorted(job.devices for job in asking)
    for number, held in enumerate(rest):
        each = left / (len(rest) - number)
        if held > each:
            break
        left -= held
    else:
        return [1.0] * len(asking)
    return [min(1.0, each / job.devices) for job in asking]


def finish_time(asking: Sequence[Asking], devices: float) -> list[float]:
    """Shares with which the worst ratio of finish times (together over alone on an equal part) is least."""
    equal = [min(1.0, devices / (len(asking) * job.devices)) for job in asking]

    def needed(worst: float) -> list[float]:
        """Shares with which no ratio passes it; above 1 if there is none for a job."""
        found = []
        for job, part in zip(asking, equal, strict=True):
            span_s = worst * job.total_s / part - job.age_s
            found.append(job.left_s / span_s if span_s > 0 else RATIO_MOST)
        return found

    low, high = 0.0, RATIO_MOST
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        shares = needed(middle)
        if (
            max(shares, default=0.0) <= 1
            and sum(share * job.devices for share, job in zip(shares, asking, strict=True)) <= devices
        ):
            high = middle
        else:
            low = middle
    return [min(share, 1.0) for share in needed(high)]
