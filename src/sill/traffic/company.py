"""Whether requests come one at a time. While they do, also a dear model may run on the loop's own thread: nobody waits.

The hand-over to a lane costs a lone request two changes of threads, and the caches of another core. Whether another one
came meanwhile is seen between the end of the model's work and the answer: who asks alone asks again only after that.
"""

from collections.abc import Callable

COMPANY_S = 0.25
"""So long after two were seen to ask at once is nobody taken to be alone."""


class Company:
    """Of all models of one event loop.

    Attributes:
        came: how many requests were queued.
    """

    __slots__ = ("_clock", "_until_s", "came")

    def __init__(self, clock: Callable[[], float]) -> None:
        self.came = 0
        self._clock = clock
        self._until_s = 0.0

    @property
    def is_away(self) -> bool:
        """Whether requests come one at a time, as far as is known."""
        return self._clock() >= self._until_s

    def look(self, came: int) -> None:
        """Sockets were read after the loop's thread was away: did anybody ask meanwhile?

        Args:
            came: before.
        """
        if self.came != came:
            self._until_s = self._clock() + COMPANY_S
