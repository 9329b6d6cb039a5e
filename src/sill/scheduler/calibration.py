"""How far the interval around a forecast of a start must reach, so that it holds as often as it says, whatever happens.

What is usual comes from the past: one of ten starts came earlier than the lower bound, one of ten later than the upper. What
corrects it are the misses themselves: each moves its side out, each hit moves it in by a ninth of that, so that in the long
run one of ten misses on each side on any sequence of starts, with no assumption about it. A side is judged as soon as it can
be: what has not started when its interval ends has missed, and counts then and not when it starts at last. Many forecasts
are out before the first of them is judged; so that they do not all move a side for the same cause, a step is divided by the
root of how many are.

Sources: Romano, Patterson and Candès, "Conformalized quantile regression", NeurIPS 2019 (quantiles of past misses); Gibbs and
Candès, "Adaptive conformal inference under distribution shift", NeurIPS 2021, and Angelopoulos, Candès and Tibshirani,
"Conformal PID control for time series prediction", NeurIPS 2023 (bounds that follow misses); Quanrud and Khashabi, "Online
learning with adversarial delays", NeurIPS 2015 (steps by the root of what is not judged yet).
"""

from bisect import bisect_right
from collections import deque
from math import exp, log, sqrt

COVERAGE = 0.8
MISSES = (1 - COVERAGE) / 2
"""On each side."""
WINDOW = 400
"""So many past forecasts say what is usual."""
SCORES_MIN = 20
PRIOR_RATIO = 4.0
"""Before that many have come true, the interval reaches from a quarter of the forecast to four times it."""
STEP = 0.2
"""How far a miss moves its side: a wait about a fifth longer."""
FARTHEST = 12.0
"""A bound is never farther than this from its forecast (as a logarithm: 160,000 times)."""
FLOOR_S = 60.0
"""Added to waits before they are compared as ratios: a minute is about as good as nothing."""
CLASSES_S = (600.0, 7_200.0, 86_400.0)
"""Of forecasts up to ten minutes, two hours, a day and beyond, each kind goes wrong in its own way."""


class Side:
    """One side of all intervals: how much farther than usual it reaches, as the logarithm of a ratio."""

    def __init__(self) -> None:
        self.beyond = 0.0
        self._open = 0

    def tell(self) -> None:
        """An interval was shown."""
        self._open += 1

    def judge(self, is_missed: bool) -> None:
        """It is known whether the start was on this side of one."""
        self.beyond += STEP * (is_missed - MISSES) / sqrt(max(self._open, 1))
        self.drop()

    def drop(self) -> None:
        """It will never be known."""
        self._open -= 1


class Calibration:
    """How far starts were from their forecasts: ratios of waits, in logarithms."""

    def __init__(self) -> None:
        self.low, self.high = Side(), Side()
        self._scores: deque[float] = deque(maxlen=WINDOW)
        self._by_class = tuple(deque[float](maxlen=WINDOW) for _ in range(len(CLASSES_S) + 1))

    @property
    def is_known(self) -> bool:
        """True once enough forecasts have come true."""
        return len(self._scores) >= SCORES_MIN

    def around(self, wait_s: float) -> tuple[float, float]:
        """The shortest and the longest wait that the interval around a forecast reaches to."""
        spread = log(PRIOR_RATIO)
        low, high = -spread, spread
        own = self._by_class[bisect_right(CLASSES_S, wait_s)]
        scores = sorted(own if len(own) >= SCORES_MIN else self._scores)
        if len(scores) >= SCORES_MIN:
            low, high = _quantile(scores, MISSES), _quantile(scores, 1 - MISSES)
        low, high = low - self.low.beyond, high + self.high.beyond
        if low > high:
            low = high = (low + high) / 2
        return _scaled(wait_s, low), _scaled(wait_s, high)

    def learn(self, wait_s: float, was_s: float) -> None:
        """A forecast of `wait_s` came true as `was_s`."""
        score = log((was_s + FLOOR_S) / (wait_s + FLOOR_S))
        self._scores.append(score)
        self._by_class[bisect_right(CLASSES_S, wait_s)].append(score)


def _quantile(ordered: list[float], part: float) -> float:
    return ordered[min(int(part * len(ordered)), len(ordered) - 1)]


def _scaled(wait_s: float, score: float) -> float:
    return max((wait_s + FLOOR_S) * exp(max(min(score, FARTHEST), -FARTHEST)) - FLOOR_S, 0.0)
