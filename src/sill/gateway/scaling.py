"""How many replicas there should be, by the load there is and the load to come. Pure: a series in, a number out."""

from collections.abc import Sequence
from math import ceil

import msgspec

HISTORY_S = 300
"""Seconds that are remembered."""
NOW_S = 3
"""Seconds whose mean is the load of now."""
SMOOTH_S, TREND_S = 5.0, 15.0
"""Over how long level and trend of the load are smoothed."""
SETTLED_S = 10
"""A trend is followed only once so much of the series is known."""


class Scaling(msgspec.Struct, frozen=True):
    """What is wanted.

    Attributes:
        least, most: replicas.
        in_flight: requests one replica should have at once; more, and another one is started.
        ahead_s: how far ahead the load is foretold: what a replica takes to be ready.
        calm_s: a replica too many ends only when none of the last so many seconds needed it.
    """

    least: int
    most: int
    in_flight: float
    ahead_s: float = 15.0
    calm_s: int = 60


def decide(history: Sequence[float], wanted: Scaling) -> int:
    """How many replicas there should be now.

    More at once, when the load of now or the foretold one needs them; fewer only after `calm_s`. So a load that swings
    faster than that keeps what its peaks need.

    Args:
        history: requests in flight, the mean of each second, the oldest first.
    Source: target concurrency and a window for going down as in Knative's autoscaler; Holt's linear trend (Holt, 1957).
    """
    history = list(history)
    needed = [
        _replicas(max(now, later), wanted)
        for now, later in zip(_means(history), _foretold(history, wanted), strict=True)
    ]
    return max(needed[-wanted.calm_s :], default=wanted.least)


def _replicas(load: float, wanted: Scaling) -> int:
    return min(max(ceil(load / wanted.in_flight - 1e-9), wanted.least), wanted.most)


def _means(history: Sequence[float]) -> list[float]:
    """For each second the mean of the last few."""
    return [sum(history[max(0, end - NOW_S) : end]) / min(end, NOW_S) for end in range(1, len(history) + 1)]


def _foretold(history: Sequence[float], wanted: Scaling) -> list[float]:
    """For each second what was to be expected `ahead_s` later; 0 while too little was known, and when the load falls."""
    told = []
    level, trend = (history[0] if history else 0.0), 0.0
    for second, load in enumerate(history):
        before = level
        level += (load - level) / SMOOTH_S + trend * (1 - 1 / SMOOTH_S)
        trend += (level - before - trend) / TREND_S
        told.append(level + trend * wanted.ahead_s if trend > 0 and second >= SETTLED_S else 0.0)
    return told
