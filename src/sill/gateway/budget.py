"""How many requests may be sent a second time. Pure."""


class Budget:
    """Each request earns a part of a repeat, so that repeats stay a fixed part of the load, however much fails.

    Args:
        ratio: repeats for each request.
        tokens_max: repeats that may be saved up; as many are there at the start, for times of little load.

    Source: Finagle's RetryBudget.
    """

    def __init__(self, ratio: float, tokens_max: float) -> None:
        self._ratio = ratio
        self._tokens_max = self.tokens = tokens_max

    def earn(self) -> None:
        """Count a request."""
        self.tokens = min(self._tokens_max, self.tokens + self._ratio)

    def take(self) -> bool:
        """Take a repeat; false if there is none left."""
        if self.tokens < 1.0:
            return False
        self.tokens -= 1.0
        return True
