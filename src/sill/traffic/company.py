"""Whether requests come one at a time. While they do, also a dear model may run on the loop's own thread: nobody waits.

The hand-over to a lane costs a lone request two changes of threads, and the caches of another core. One who asks alone
is known by the silence after his answer: had another one asked meanwhile, his request would lie ready to be read.
"""

import asyncio
from collections.abc import Callable

COMPANY_S = 0.25
"""So long after two were seen to ask at once is nobody taken to be alone."""
LOOKS = 2
"""Turns of the loop until what came meanwhile is read: sockets are looked at between one turn and the next."""


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

    def look(self) -> None:
        """The loop's thread was away: find out whether anybody asked meanwhile."""
        asyncio.get_running_loop().call_soon(self._look, self.came, LOOKS)

    def _look(self, came: int, turns: int) -> None:
        if self.came != came:
            self._until_s = self._clock() + COMPANY_S
        elif turns > 1:
            asyncio.get_running_loop().call_soon(self._look, came, turns - 1)
