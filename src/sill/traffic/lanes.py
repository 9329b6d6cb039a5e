"""The threads that dear models run in. One that has answered takes its next batch itself.

So it waits neither for the loop's turn nor for the interpreter, which tells the last answers meanwhile: the model's own
code runs without it.
"""

import asyncio
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

CORES = max(1, os.cpu_count() or 1)
"""Batches of one model that run at once, in the one process of a machine."""
THREADS_MAX = 32
"""Batches of all models that run at once."""
BATCHES_MAX = 64
"""After so many in a row a lane goes behind those of other models that wait for a thread."""

W = TypeVar("W")
D = TypeVar("D")

_THREADS = ThreadPoolExecutor(THREADS_MAX, thread_name_prefix="sill-lane")


def lanes_of(processes: int) -> int:
    """The same in each of so many processes among which a machine's requests are shared out.

    With more, they would take the cores from each other, and from who hands out the requests and tells the answers.
    """
    return max(1, CORES // processes)


class Lanes(Generic[W, D]):
    """Of one model. Use it from one event loop.

    Args:
        lock: held whenever `take` is called, by whom ever.
        take: the next work; None if there is none. Called in a lane's thread.
        do: does it, and never raises. Called in a lane's thread.
        told: called with what was done, on the loop's thread.

    Attributes:
        busy: lanes at work. Once one has found no work it is not counted, so that work put down later is seen by somebody.
    """

    def __init__(
        self, lock: threading.Lock, take: Callable[[], W | None], do: Callable[[W], D], told: Callable[[W, D], object]
    ) -> None:
        self.busy = 0
        self._lock = lock
        self._take = take
        self._do = do
        self._told = told

    def start(self, work: W) -> None:
        """One more, which begins with this. For the loop's thread."""
        with self._lock:
            self.busy += 1
        _THREADS.submit(self._run, asyncio.get_running_loop(), work)

    def _run(self, loop: asyncio.AbstractEventLoop, work: W) -> None:
        for _ in range(BATCHES_MAX):
            done = self._do(work)
            with self._lock:
                following = self._take()
                self.busy -= following is None
            loop.call_soon_threadsafe(self._told, work, done)
            if following is None:
                return
            work = following
        _THREADS.submit(self._run, loop, work)
