"""What comes next in a series that repeats by the day: prices, carbon, load. It learns from the past of the series alone.

The forecast is the usual day (a mean by hour of the day in which older days fade) plus what the last hours, as they
differ from it, say about each hour ahead: one ridge regression for each hour, over all that was seen, learned anew at
times. Missing values are taken to be as forecast.
"""

from collections.abc import Sequence
from math import exp, isfinite
from typing import Any

import numpy as np

LAGS = 30
"""So many last hours say how the hours ahead will differ from the usual ones."""
FADE_DAYS = 14.0
"""A day this old counts 1/e in the usual day."""
REFIT_EVERY = 168
LEARN_FROM = 336
"""Fewer hours than this say nothing about how hours hang together; until then differences fade by `PERSISTENCE`."""
PERSISTENCE = 0.95
RIDGE = 0.03
"""Penalty, relative to the mean square of a feature."""

Floats = np.ndarray[Any, np.dtype[np.float64]]


class Forecaster:
    """Learns one series as it comes.

    Args:
        period: values in a day.
        horizon: how many values ahead are forecast.
    """

    def __init__(self, period: int = 24, horizon: int = 72) -> None:
        self._period = period
        self._horizon = horizon
        self._gone = 0
        """Values that were learned from and forgotten."""
        self._values: list[float] = []
        self._features: list[Floats] = []
        self._usual: list[Floats] = []
        self._sums = np.zeros(period)
        self._weights = np.zeros(period)
        self._fade = exp(-1 / FADE_DAYS)
        self._fresh = LAGS
        """Index of the first value nothing was learned from yet."""
        self._squares = np.zeros((LAGS + 1, LAGS + 1))
        self._products = np.zeros((LAGS + 1, horizon))
        self._slopes: Floats | None = None

    @property
    def seen(self) -> int:
        """Values seen so far."""
        return self._gone + len(self._values)

    def observe(self, value: float) -> None:
        """The next value; one that is no number stands for a missing one."""
        at = self.seen
        if not isfinite(value):
            value = self.forecast()[0] if at else 0.0
        phase = at % self._period
        self._sums[phase] = self._sums[phase] * self._fade + value
        self._weights[phase] = self._weights[phase] * self._fade + 1
        self._values.append(value)
        self._usual.append(self._usual_day())
        self._features.append(self._recent())
        if at >= LEARN_FROM and at % REFIT_EVERY == 0:
            self._learn()

    def forecast(self) -> tuple[float, ...]:
        """The next `horizon` values, the next one first; zeros before anything was seen."""
        if not self._values:
            return (0.0,) * self._horizon
        ahead = np.arange(self.seen, self.seen + self._horizon) % self._period
        usual = self._usual[-1][ahead]
        if self._slopes is None:
            return _listed(usual + self._features[-1][0] * PERSISTENCE ** np.arange(1, self._horizon + 1))
        return _listed(usual + self._features[-1] @ self._slopes)

    def _usual_day(self) -> Floats:
        seen = self._weights > 0
        mean = self._sums.sum() / self._weights.sum()
        return np.where(seen, self._sums / np.where(seen, self._weights, 1.0), mean)

    def _recent(self) -> Floats:
        """How the last hours differ from the usual ones, the last first, and a 1."""
        found = np.zeros(LAGS + 1)
        last = np.array(self._values[-LAGS:])[::-1]
        phases = (self.seen - 1 - np.arange(len(last))) % self._period
        found[: len(last)] = last - self._usual[-1][phases]
        found[LAGS] = 1.0
        return found

    def _learn(self) -> None:
        """Count in what has passed since the last time, forget it, and solve."""
        known = len(self._values) - self._horizon
        values = np.array(self._values)
        for at in range(self._fresh, known):
            ahead = np.arange(at + 1, at + 1 + self._horizon)
            row, usual = self._features[at], self._usual[at]
            self._squares += np.outer(row, row)
            self._products += np.outer(row, values[ahead] - usual[(self._gone + ahead) % self._period])
        gone = max(known - LAGS, 0)
        self._fresh = known - gone
        self._gone += gone
        self._values, self._features, self._usual = self._values[gone:], self._features[gone:], self._usual[gone:]
        penalty = RIDGE * np.trace(self._squares) / (LAGS + 1)
        self._slopes = np.linalg.solve(self._squares + max(penalty, 1e-9) * np.eye(LAGS + 1), self._products)


def _listed(values: Floats) -> tuple[float, ...]:
    found: Sequence[float] = values.tolist()
    return tuple(found)
