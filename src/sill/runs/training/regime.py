"""Which of the newest rows look alike: what a monitor should compare traffic with after the world has changed.

A model that was trained again after a shift has seen rows from before and after it. Were its reference the mixture,
the shifted traffic would differ from it for ever and set off the same alarm again. So the reference is the newest
stretch of rows that look alike.
"""

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

SEED_ROWS = 100
"""The newest rows, taken to be alike."""
BLOCK_ROWS = 50
FALSE_ALARM = 1e-4
"""Chance to cut at one block although nothing changed, over all columns together."""


def alike_from(x: "np.ndarray[Any, Any]") -> int:
    """First row of the newest stretch that looks alike, for rows [n, features] in the order of time; 0: all do.

    With `SEED_ROWS` rows or fewer there is nothing to compare and the answer is 0.
    Source: two-sample Kolmogorov-Smirnov test with the asymptotic bound sqrt(-ln(a/2)/2 * (n+m)/(n*m)), Bonferroni
    over columns; blocks are joined from the newest backwards until one differs.
    """
    start = len(x) - SEED_ROWS
    if start <= 0:
        return 0
    while start > 0:
        block = x[max(0, start - BLOCK_ROWS) : start]
        if differs(block, x[start:]):
            return start
        start -= len(block)
    return 0


def differs(a: "np.ndarray[Any, Any]", b: "np.ndarray[Any, Any]", false_alarm: float = FALSE_ALARM) -> bool:
    """True if some column of `a` [n, features] is distributed unlike the same column of `b` [m, features]."""
    columns = a.shape[1]
    return any(_ks_exceeds(a[:, column], b[:, column], false_alarm / max(1, columns)) for column in range(columns))


def _ks_exceeds(a: "np.ndarray[Any, Any]", b: "np.ndarray[Any, Any]", alpha: float) -> bool:
    import numpy as np

    a, b = a[np.isfinite(a)], b[np.isfinite(b)]
    if len(a) == 0 or len(b) == 0:
        return False
    points = np.sort(np.concatenate([a, b]))
    below_a = np.searchsorted(np.sort(a), points, side="right") / len(a)
    below_b = np.searchsorted(np.sort(b), points, side="right") / len(b)
    bound = math.sqrt(-math.log(alpha / 2) / 2 * (len(a) + len(b)) / (len(a) * len(b)))
    return bool(np.abs(below_a - below_b).max() > bound)
