"""How long jobs of a group run, from those that ended and from those that run still: who counts only ends believes that
nothing takes long, most of all in the beginning.

Source: Kaplan and Meier, "Nonparametric estimation from incomplete observations", JASA 53, 1958; the tables of ends and
ages have one number for each bin of `prediction`.
"""

from collections.abc import Iterable, Sequence

from sill.scheduler.entries import Entry
from sill.scheduler.prediction import BINS, MIDDLES_S, Predictor, RunTimes, bin_of

LONGEST_S = 1e8
_LENGTHS = tuple(seconds for seconds in MIDDLES_S if seconds < LONGEST_S)
PRIOR_ENDS = 1.0
"""So many ends, spread evenly over the logarithm of time, are added to those seen: what has not ended may be of any length."""
GROUP_MIN = 2
"""A group with so many ends has a distribution of its own, leaning on that of all."""
WIDER_ENDS = 20.0
"""So many ends, spread as those of all jobs are, are added to those of one group, which at first are few."""


def ages_by_group(entries: Iterable[Entry], predictor: Predictor, now_us: int) -> dict[int, list[float]]:
    """By number of the group, and of that of all: how many that have not ended have run so long, bin by bin."""
    found: dict[int, list[float]] = {}
    for entry in entries:
        had_s = entry.work_us(now_us) / 1e6
        if had_s <= 0:
            continue
        at = min(bin_of(had_s), BINS - 1)
        for number in {predictor.group(entry.job, GROUP_MIN).number, predictor.everything.number}:
            found.setdefault(number, [0.0] * BINS)[at] += 1
    return found


def expected_lengths(group: RunTimes, everything: RunTimes, ages: dict[int, list[float]]) -> list[tuple[float, float]]:
    """(run time in seconds, weight) of a job of the group, the shortest first."""
    weights = lengths(group.ended, ages.get(group.number))
    if group is not everything:
        wider = lengths(everything.ended, ages.get(everything.number))
        share = WIDER_ENDS / (sum(wider) or 1.0)
        weights = [own + share * others for own, others in zip(weights, wider, strict=True)]
    prior = PRIOR_ENDS / len(_LENGTHS)
    both = zip(MIDDLES_S, weights, strict=True)
    return [
        (seconds, weight + prior * (seconds < LONGEST_S)) for seconds, weight in both if weight or seconds < LONGEST_S
    ]


def lengths(ended: Sequence[float], alive: Sequence[float] | None) -> list[float]:
    """How many of them all end in each bin: of those alive, as many as ended of those that came so far.

    Half of those alive in a bin count as having come through it. What outlives all is spread evenly beyond.
    """
    if alive is None:
        return list(ended)
    at_risk = everybody = sum(ended) + sum(alive)
    found = [0.0] * len(ended)
    left = 1.0
    for at, (ends, lives) in enumerate(zip(ended, alive, strict=True)):
        if ends:
            part = min(ends / (at_risk - lives / 2), 1.0)
            found[at] = left * part * everybody
            left -= left * part
        at_risk -= ends + lives
    last = max((at for at, (ends, lives) in enumerate(zip(ended, alive, strict=True)) if ends or lives), default=0)
    beyond = range(last, max(len(_LENGTHS), last + 1))
    for at in beyond:
        found[at] += left * everybody / len(beyond)
    return found
