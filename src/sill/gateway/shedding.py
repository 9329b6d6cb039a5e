"""What is refused at the gateway, before it costs anything: as many wait as the replicas let in the last time. Pure."""

GROWTH = 1 / 16
"""By how many the limit rises with each answer: so many requests for each answer are left to the replicas to refuse."""
LEAST = 1
HOLDS_S = 1.0
"""Without another refusal by a replica the limit is forgotten after that."""


class Shedding:
    """Of requests that are all alike: the same tenant, model and deadline.

    The replicas decide, each by its own queue and clock. Once they have refused a request, as many as were let in
    beside it are the limit here, and it rises a little with every answer. Until they refuse there is none.
    Source: additive increase, with a refusal as the signal of congestion (Chiu and Jain, 1989); the fall is to what
    was seen to be let in.
    """

    def __init__(self) -> None:
        self._open = 0
        self._limit = 0.0
        self._until_s = float("-inf")

    def try_enter(self, now_s: float) -> bool:
        """Count one more on its way; false if it would be refused."""
        if self._open + 1 > self._limit and now_s < self._until_s:
            return False
        self._open += 1
        return True

    def answered(self) -> None:
        """One was answered."""
        self._open -= 1
        self._limit += GROWTH

    def refused(self, now_s: float) -> None:
        """One was refused by a replica, for want of time or room."""
        self._open -= 1
        self._limit = max(LEAST, self._open)
        self._until_s = now_s + HOLDS_S
