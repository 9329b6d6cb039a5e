"""How long the answers of one path take, as far as a decision to ask elsewhere needs it. Pure."""

SAMPLES = 128
SORT_EVERY = 32
SAMPLES_MIN = 32
UNKNOWN_S = 1.0
"""When to ask elsewhere while too little is known."""
FLOOR_S = 0.01
"""Never ask elsewhere sooner: below that a second request costs more than it saves."""
QUANTILE = 0.95


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
