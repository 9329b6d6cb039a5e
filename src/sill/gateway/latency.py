"""How long the answers of one path take, as far as a decision to ask elsewhere needs it. Pure."""

from bisect import bisect_left

SAMPLES = 128
SORT_EVERY = 32
SAMPLES_MIN = 32
UNKNOWN_S = 1.0
"""When to ask elsewhere while too little is known."""
FLOOR_S = 0.01
"""Never ask elsewhere sooner: below that a second request costs more than it saves."""
QUANTILE = 0.95
BOUNDS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
"""Upper bounds of a histogram's buckets."""


class Latency:
    """The newest answers' seconds, and their 95th percentile."""

    def __init__(self) -> None:
        self._ring = [0.0] * SAMPLES
        self._count = 0
        self.hedge_after_s = UNKNOWN_S

    def add(self, seconds: float) -> None:
        """Take note of an answer."""
        self._ring[self._count % SAMPLES] = seconds
        self._count += 1
        if self._count % SORT_EVERY == 0 and self._count >= SAMPLES_MIN:
            known = sorted(self._ring[: min(self._count, SAMPLES)])
            self.hedge_after_s = max(FLOOR_S, known[int(QUANTILE * len(known))])


class Histogram:
    """How many took up to how long, for good."""

    def __init__(self, bounds_s: tuple[float, ...] = BOUNDS_S) -> None:
        self.bounds_s = bounds_s
        self.counts = [0] * (len(bounds_s) + 1)
        self.sum_s = 0.0

    def add(self, seconds: float) -> None:
        """Count one."""
        self.counts[bisect_left(self.bounds_s, seconds)] += 1
        self.sum_s += seconds
