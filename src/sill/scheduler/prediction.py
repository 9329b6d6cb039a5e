"""How long a job will run: learned from those that ended, by template, then user, queue and size. Never a mean: run times
are so skewed that only quantiles mean something, and a job that already ran for a while is another job.

Run times are counted in bins of equal ratio, so that one table of numbers gives quantiles, what is left after some time,
and the Gittins index. Sources: Tsafrir et al., "Backfilling using system-generated predictions", TPDS 2007 (by user);
Hu et al., "Characterization and prediction of deep learning workloads" (Helios), SC 2021 (by template, then wider).
"""

from bisect import bisect_right

from sill.scheduler.types import Job

BIN_RATIO = 1.25
BINS = 96
"""From one second to about 2e9 seconds."""
SAMPLES_MIN = 8
"""Fewer than this many ends say nothing; a wider group is asked."""
SAMPLES_MAX = 4_096
"""Beyond, the past is halved, so that new habits count."""
GROUPS_MAX = 100_000
UNKNOWN_S = 3600.0
"""What nobody has seen before is taken to run this long, at the median."""
UNKNOWN_HIGH_S = 24 * 3600.0
OVERRUN_RATIO = 0.5
"""A job past its estimate is taken to run this part of its age longer (heavy tails: the longer it ran, the longer it will)."""

_EDGES: tuple[float, ...] = tuple(BIN_RATIO**power for power in range(BINS))
MIDDLES_S = tuple(edge * float(BIN_RATIO**0.5) for edge in _EDGES)
"""The run time each bin stands for."""


def bin_of(seconds: float) -> int:
    """Which bin a run time falls in."""
    return bisect_right(_EDGES, seconds) - 1 if seconds >= 1 else 0


class RunTimes:
    """Run times of one group, of those that ended by themselves."""

    __slots__ = ("count", "ended", "number", "version")

    def __init__(self, number: int = 0) -> None:
        self.number = number
        self.ended = [0.0] * BINS
        self.count = 0.0
        self.version = 0

    def add(self, seconds: float) -> None:
        """One more that ended after so long."""
        self.ended[bin_of(seconds)] += 1
        self.count += 1
        if self.count >= SAMPLES_MAX:
            self.ended = [each / 2 for each in self.ended]
            self.count = sum(self.ended)
        self.version += 1

    def quantile_s(self, part: float, after_s: float = 0.0) -> float:
        """Total run time that `part` of those still running after `after_s` do not pass."""
        first = bin_of(after_s) if after_s >= 1 else 0
        left = sum(self.ended[first:])
        if left <= 0:
            return after_s * (1 + OVERRUN_RATIO) if after_s else UNKNOWN_S
        wanted, seen = left * part, 0.0
        for at in range(first, BINS):
            seen += self.ended[at]
            if seen >= wanted and self.ended[at]:
                inside = 1 - (seen - wanted) / self.ended[at]
                return max(_EDGES[at] * float(BIN_RATIO**inside), after_s)
        return max(_EDGES[-1], after_s)


class Predictor:
    """What has been learned of all groups."""

    def __init__(self) -> None:
        self._groups: dict[tuple[str, ...], RunTimes] = {}
        self.everything = RunTimes()

    def learn(self, job: Job, seconds: float) -> None:
        """A job ended by itself after so many seconds of work."""
        self.everything.add(seconds)
        for key in _keys(job):
            group = self._groups.get(key)
            if group is None and len(self._groups) < GROUPS_MAX:
                group = self._groups[key] = RunTimes(len(self._groups) + 1)
            if group is not None:
                group.add(seconds)

    def group(self, job: Job, least: int = SAMPLES_MIN) -> RunTimes:
        """The narrowest group with enough ends to say something."""
        for key in _keys(job):
            found = self._groups.get(key)
            if found is not None and found.count >= least:
                return found
        return self.everything

    def total_s(self, job: Job, after_s: float = 0.0, part: float = 0.5) -> float:
        """Predicted run time in all of a job that already ran `after_s`, not passed by `part` of its like."""
        given = job.estimate_high_s if part > 0.5 and job.estimate_high_s else job.estimate_s
        if given:
            return given if given > after_s else after_s * (1 + OVERRUN_RATIO)
        group = self.group(job)
        if group.count < SAMPLES_MIN:
            unknown = UNKNOWN_HIGH_S if part > 0.5 else UNKNOWN_S
            return max(unknown, after_s * (1 + OVERRUN_RATIO))
        return group.quantile_s(part, after_s)

    def left_s(self, job: Job, after_s: float = 0.0, part: float = 0.5) -> float:
        """The same without what it already ran."""
        return max(self.total_s(job, after_s, part) - after_s, 0.0)


def _keys(job: Job) -> tuple[tuple[str, ...], ...]:
    """Groups a job belongs to, the narrowest first."""
    size = f"{job.workers}x{job.accelerators:g}"
    found = []
    if job.template:
        found.append(("template", job.queue, job.template, size))
    if job.user:
        found.append(("user", job.queue, job.user, size))
    return (*found, ("queue", job.queue, size), ("size", size))
