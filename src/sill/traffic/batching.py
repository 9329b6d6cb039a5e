"""Answers together what arrived together. No timer: a batch is what one turn of the event loop brought.

At low load nothing waits; at high load batches fill by themselves, and every tenant gets its turn. A cheap model runs
on the loop's own thread, a dear one in lanes of one thread each. The same queue serves every protocol: who asks says
what is to be called with the answer.
Source of the idea: Little's law, and deficit round robin (Shreedhar and Varghese, 1995) with a quantum of one request.
"""

import asyncio
import os
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from sill.core.errors import Limited, SillError, Unavailable
from sill.traffic.statistics import Statistics
from sill.traffic.tensors import Question

BATCH_ROWS_MAX = 256
WAITING_MAX = 2_048
"""Requests that may wait for one model; beyond it a tenant may still hold its part of as many again."""
INLINE_MS_MAX = 0.5
"""A model whose single row takes less is run on the loop's own thread: a hand-over would cost more."""
INLINE_BATCH_MS_MAX = 5.0
"""A batch expected to take longer is handed to a lane all the same, so that others are not kept waiting."""
LANES_MAX = max(1, os.cpu_count() or 1)

Run = Callable[[Mapping[str, Any]], Mapping[str, Any]]
Finish = Callable[[Mapping[str, Any], int], dict[str, Any]]


class Answered:
    """What a batch was answered: outputs as they go over the wire, the first axis `rows` long."""

    __slots__ = ("_lists", "cpu_ms", "outputs", "rows", "started_ns", "took_ns")

    def __init__(
        self, outputs: dict[str, Any], rows: int, cpu_ms: float, started_ns: int = 0, took_ns: int = 0
    ) -> None:
        self.outputs = outputs
        self.rows = rows
        self.cpu_ms = cpu_ms
        self.started_ns = started_ns
        self.took_ns = took_ns
        self._lists: dict[str, list[Any]] | None = None

    def lists(self) -> dict[str, list[Any]]:
        """The outputs as lists of rows; made once, because many requests share them."""
        if self._lists is None:
            self._lists = {name: array.tolist() for name, array in self.outputs.items()}
        return self._lists


class Part:
    """One request's rows of a batch's answer: `start` to `end`."""

    __slots__ = ("end", "of", "start")

    def __init__(self, of: Answered, start: int, end: int) -> None:
        self.of = of
        self.start = start
        self.end = end

    @property
    def outputs(self) -> dict[str, Any]:
        """The request's own outputs, by name."""
        return {name: array[self.start : self.end] for name, array in self.of.outputs.items()}

    @property
    def cpu_ms(self) -> float:
        """The request's share of the milliseconds of CPU its batch took."""
        return self.of.cpu_ms * (self.end - self.start) / max(self.of.rows, 1)


Done = Callable[[Part | SillError], None]
"""Called once, on the loop's thread, with the answer or with why there is none."""


class Waiting:
    """One request in the queue."""

    __slots__ = ("came_ns", "deadline_s", "done", "is_cancelled", "question")

    def __init__(self, question: Question, deadline_s: float, done: Done) -> None:
        self.question = question
        self.deadline_s = deadline_s
        self.done = done
        self.came_ns = time.perf_counter_ns()
        self.is_cancelled = False


class Batcher:
    """The queue before one model. Use it from one event loop.

    Args:
        run: answers named arrays; each row's answer must not depend on its neighbours. Thread-safe.
        finish: checks the raw answer to so many rows and names it as it goes over the wire.
        row_ms: what one row takes, as measured; decides whether it runs on the loop's thread.
        batch_row_ms: what one more row of a batch takes; decides how long a batch may be there.
        can_batch: false if answers of the model were seen to depend on their neighbours.
    """

    def __init__(
        self, run: Run, finish: Finish, *, row_ms: float, batch_row_ms: float | None = None, can_batch: bool
    ) -> None:
        self._run = run
        self._finish = finish
        self._row_ms = row_ms
        self._more_ms = row_ms if batch_row_ms is None else batch_row_ms
        self.rows_max = BATCH_ROWS_MAX if can_batch else 1
        self._queues: dict[str, deque[Waiting]] = {}
        self._waiting = 0
        self._is_scheduled = False
        self._lanes: set[asyncio.Task[None]] = set()
        self.statistics = Statistics()

    def submit(self, question: Question, deadline_s: float, done: Done, tenant: str = "") -> Waiting:
        """Queue a request; `done` is called when it is answered, never before this returns.

        Args:
            deadline_s: on the event loop's clock; work that could only come too late is not begun.
            tenant: whose turn it is when more wait than a batch holds.
        Raises:
            Limited: too many wait for this model.
        """
        queue = self._queues.get(tenant)
        if self._waiting >= WAITING_MAX:
            self._check_room(queue)
        if queue is None:
            queue = self._queues[tenant] = deque()
        waiting = Waiting(question, deadline_s, done)
        queue.append(waiting)
        self._waiting += 1
        if not self._is_scheduled and len(self._lanes) < LANES_MAX:
            self._is_scheduled = True
            asyncio.get_running_loop().call_soon(self._turn)
        return waiting

    async def infer(self, question: Question, deadline_s: float, tenant: str = "") -> Part:
        """`submit`, waited for.

        Raises:
            Limited: too many wait for this model.
            Unavailable: the deadline passed.
        """
        answer: asyncio.Future[Part] = asyncio.get_running_loop().create_future()

        def done(part: Part | SillError) -> None:
            if answer.done():
                return
            if isinstance(part, SillError):
                answer.set_exception(part)
            else:
                answer.set_result(part)

        waiting = self.submit(question, deadline_s, done, tenant)
        try:
            async with asyncio.timeout_at(deadline_s):
                return await answer
        except TimeoutError as late:
            raise deadline_passed() from late
        finally:
            waiting.is_cancelled = True

    def _check_room(self, queue: deque[Waiting] | None) -> None:
        """A queue that is full refuses those who filled it; others still get their part of it."""
        held = len(queue) if queue is not None else 0
        part = WAITING_MAX // (len(self._queues) + (queue is None))
        if held >= part or self._waiting >= 2 * WAITING_MAX:
            raise Limited(
                f"{self._waiting} requests wait for this model already.", fix="Try again in a second.", retry_after_s=1
            )

    def _turn(self) -> None:
        self._is_scheduled = False
        while self._waiting and len(self._lanes) < LANES_MAX:
            batch, rows = self._take()
            if not batch:
                continue
            if self._runs_inline(rows):
                self._settle(batch, self._answer(batch, rows))
                continue
            lane = asyncio.get_running_loop().create_task(self._run_in_lane(batch, rows))
            self._lanes.add(lane)
            lane.add_done_callback(self._lane_is_free)

    async def _run_in_lane(self, batch: list[Waiting], rows: int) -> None:
        self._settle(batch, await asyncio.to_thread(self._answer, batch, rows))

    def _lane_is_free(self, lane: asyncio.Task[None]) -> None:
        self._lanes.discard(lane)
        if not lane.cancelled():
            lane.exception()  # seen; `_answer` turns whatever a model raises into answers
        self._turn()

    def _runs_inline(self, rows: int) -> bool:
        return self._row_ms <= INLINE_MS_MAX and self._row_ms + self._more_ms * (rows - 1) <= INLINE_BATCH_MS_MAX

    def _take(self) -> tuple[list[Waiting], int]:
        """The next batch and its rows: one request of each tenant in turn, without those nobody waits for."""
        now_s = asyncio.get_running_loop().time()
        batch: list[Waiting] = []
        rows = 0
        shape: tuple[Any, ...] | None = None
        queues = self._queues
        while queues:
            for tenant in tuple(queues):
                queue = queues[tenant]
                one = queue[0]
                if one.is_cancelled or one.deadline_s <= now_s:
                    queue.popleft()
                    self._waiting -= 1
                    if not one.is_cancelled:
                        one.done(deadline_passed())
                else:
                    form = one.question.form
                    if batch and (form != shape or rows + one.question.rows > self.rows_max):
                        self._rotate(tenant)
                        return batch, rows
                    shape = form
                    queue.popleft()
                    self._waiting -= 1
                    batch.append(one)
                    rows += one.question.rows
                if not queue:
                    del queues[tenant]
        return batch, rows

    def _rotate(self, first: str) -> None:
        """Let the next batch begin with the tenant this one had no room for."""
        if next(iter(self._queues)) != first:
            tenants = list(self._queues)
            place = tenants.index(first)
            self._queues = {tenant: self._queues[tenant] for tenant in tenants[place:] + tenants[:place]}

    def _answer(self, batch: list[Waiting], rows: int) -> list[Part | SillError]:
        """One answer or error for each. If a batch fails, each is asked alone: a bad one harms nobody else."""
        try:
            answered = self._ask(batch, rows)
        except Exception as refused:  # whatever the model raises concerns this input, never the server
            if len(batch) > 1:
                return [self._answer([one], one.question.rows)[0] for one in batch]
            return [refused if isinstance(refused, SillError) else _failed(refused)]
        parts: list[Part | SillError] = []
        start = 0
        for one in batch:
            end = start + one.question.rows
            parts.append(Part(answered, start, end))
            start = end
        return parts

    def _ask(self, batch: list[Waiting], rows: int) -> Answered:
        started_s, started_ns = time.thread_time(), time.perf_counter_ns()
        if len(batch) == 1:
            raw = self._run(batch[0].question.arrays)
        else:
            names = batch[0].question.arrays
            raw = self._run({name: np.concatenate([one.question.arrays[name] for one in batch]) for name in names})
        took_ns = time.perf_counter_ns() - started_ns
        outputs = self._finish(raw, rows)
        return Answered(outputs, rows, (time.thread_time() - started_s) * 1e3, started_ns, took_ns)

    def _settle(self, batch: list[Waiting], parts: list[Part | SillError]) -> None:
        for answered in {id(part.of): part.of for part in parts if isinstance(part, Part)}.values():
            waited_ns = sum(
                max(answered.started_ns - one.came_ns, 0)
                for one, part in zip(batch, parts, strict=True)
                if isinstance(part, Part) and part.of is answered
            )
            self.statistics.executed(answered.rows, answered.took_ns, waited_ns)
        for one, part in zip(batch, parts, strict=True):
            if not one.is_cancelled:
                one.done(part)


def deadline_passed() -> Unavailable:
    """The error of a request whose time ran out."""
    return Unavailable("the deadline passed before the model answered.", fix="Allow more time, or send fewer at once.")


def _failed(error: Exception) -> Unavailable:
    return Unavailable(f"the model failed: {type(error).__name__}.", fix="Look at the inference log.")
