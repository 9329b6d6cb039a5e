"""What is refused at the gateway, before it costs anything: as many wait as the replicas let in the last time. Pure."""

from math import inf

GROWTH = 1 / 64
"""By how many the limit rises with each answer: so many requests for each answer are left to the replicas to refuse, which
takes them longer."""
QUIET_S = 1.0
"""Without another refusal by a replica the limit rises by one with each answer: it doubles while the open ones are answered
once."""
FORGOTTEN_S = 10.0
"""Without a refusal by a replica or by the limit, there is none any more."""
LEAST = 1


class Shedding:
    """Of requests that are all alike: the same tenant, model and deadline.

    The replicas decide, each by its own queue and clock. Once they have refused a request, as many as were let in
    beside it are the limit here, and it rises a little with every answer. Until they refuse there is none.
    Source: additive increase, with a refusal as the signal of congestion (Chiu and Jain, 1989), and slow start
    (Jacobson, 1988); the fall is to what was seen to be let in.
    """

    def __init__(self) -> None:
        self._open = 0
        self._limit = inf
        self._refused_s = self._full_s = -inf

    def try_enter(self, now_s: float) -> bool:
        """Count one more on its way; false if it would be refused."""
        if self._open + 1 > self._limit:
            if now_s < self._full_s + FORGOTTEN_S:
                self._full_s = now_s
                return False
            self._limit = inf
        self._open += 1
        return True

    def answered(self, now_s: float) -> None:
        """One was answered."""
        self._open -= 1
        self._limit += GROWTH if now_s < self._refused_s + QUIET_S else 1.0

    def refused(self, now_s: float) -> None:
        """One was refused by a replica, for want of time or room."""
        self._open -= 1
        self._limit = max(LEAST, self._open)
        self._refused_s = self._full_s = now_s
