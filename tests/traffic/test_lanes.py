"""A lane goes on by itself while there is work, and leaves none behind that nobody sees."""

import asyncio
import threading
from collections import deque

import pytest

from sill.traffic.lanes import BATCHES_MAX, CORES, Lanes, lanes_of


class Work:
    """Numbers to be squared."""

    def __init__(self, count: int) -> None:
        self.lock = threading.Lock()
        self.left = deque(range(count))
        self.told: list[tuple[int, int]] = []
        self.threads: set[int] = set()
        self.is_done = asyncio.Event()
        self.lanes = Lanes(self.lock, self.take, self.square, self.tell)

    def take(self) -> int | None:
        return self.left.popleft() if self.left else None

    def square(self, number: int) -> int:
        self.threads.add(threading.get_ident())
        return number**2

    def tell(self, number: int, squared: int) -> None:
        assert threading.current_thread() is threading.main_thread()
        self.told.append((number, squared))
        if not self.left and not self.lanes.busy:
            self.is_done.set()

    async def run(self) -> None:
        with self.lock:
            first = self.take()
        assert first is not None
        self.lanes.start(first)
        async with asyncio.timeout(10):
            await self.is_done.wait()


@pytest.mark.anyio
async def test_one_start_is_enough_for_all_the_work() -> None:
    work = Work(3 * BATCHES_MAX)

    await work.run()

    assert work.told == [(number, number**2) for number in range(3 * BATCHES_MAX)]
    assert work.lanes.busy == 0


@pytest.mark.anyio
async def test_none_of_the_work_is_done_on_the_loop() -> None:
    work = Work(9)

    await work.run()

    assert threading.get_ident() not in work.threads


@pytest.mark.parametrize("processes", [1, CORES, 100 * CORES])
def test_processes_have_no_more_lanes_than_there_are_cores_but_each_has_one(processes: int) -> None:
    assert lanes_of(1) == CORES
    assert processes <= processes * lanes_of(processes) <= max(CORES, processes)
