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
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from sill.core.errors import Limited, SillError, Unavailable
from sill.traffic.admission import INTERACTIVE, Admission
from sill.traffic.statistics import Statistics
from sill.traffic.tensors import Question

BATCH_ROWS_MAX = 256
WAITING_MAX = 2_048
"""Requests that may wait for one model; beyond it a tenant may still hold its part of as many again."""
HELD_MAX = 256
"""Requests that may wait for one model while it is being loaded."""
LOWER_TURN = 8
"""Every so manieth batch is of a lower class, however many of the higher wait."""
INLINE_MS_MAX = 0.5
"""A model whose single row takes less is run on the loop's own thread: a hand-over would cost more."""
INLINE_BATCH_MS_MAX = 5.0
"""A batch expected to take longer is handed to a lane all the same, so that others are not kept waiting."""
LANES_MAX = max(1, os.cpu_count() or 1)

Run = Callable[[Mapping[str, Any]], Mapping[str, Any]]
Finish = Callable[[Mapping[str, Any], int], dict[str, Any]]


class Answered:
    """What a batch was answered: outputs as they go over the wire, the first axis `rows` long."""

    __slots__ = ("cpu_ms", "is_whole", "outputs", "rows", "started_ns", "texts", "took_ns")

    def __init__(
        self,
        outputs: dict[str, Any],
        rows: int,
        cpu_ms: float,
        started_ns: int = 0,
        took_ns: int = 0,
        *,
        is_whole: bool = False,
    ) -> None:
        self.outputs = outputs
        self.rows = rows
        self.cpu_ms = cpu_ms
        self.started_ns = started_ns
        self.took_ns = took_ns
        self.is_whole = is_whole
        self.texts: dict[str, list[bytes]] = {}
        """What protocols made of the outputs' rows, by name; many requests share it."""


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
        if self.of.is_whole:
            return self.of.outputs
        return {name: array[self.start : self.end] for name, array in self.of.outputs.items()}

    @property
    def cpu_ms(self) -> float:
        """The request's share of the milliseconds of CPU its batch took."""
        return self.of.cpu_ms * (self.end - self.start) / max(self.of.rows, 1)


Done = Callable[[Part | SillError], None]
"""Called once, on the loop's thread, with the answer or with why there is none."""


class Packing:
    """How rows that came as plain bytes become the one input of a model: joined once for a whole batch.

    Args:
        dtype: of the bytes, little-endian.
        inner: shape of one row.
    """

    __slots__ = ("_dtype", "_inner", "_name")

    def __init__(self, name: str, dtype: Any, inner: tuple[int, ...]) -> None:
        self._name = name
        self._dtype = dtype
        self._inner = inner

    def arrays(self, packed: Sequence[bytes]) -> dict[str, Any]:
        """The model's input."""
        content = packed[0] if len(packed) == 1 else b"".join(packed)
        return {self._name: np.frombuffer(content, self._dtype).reshape(-1, *self._inner)}


class Group(Protocol):
    """Who asked many alike, and is told of a batch at once."""

    packing: Packing

    def told(self, batch: "list[Waiting]", answered: Answered) -> None:
        """Rows `start` to `start + rows` of the answer are each one's own. On the loop's thread."""
        ...

    def failed(self, one: "Waiting", error: SillError) -> None:
        """One of them gets no answer. On the loop's thread."""
        ...


class Waiting:
    """One request in the queue: a question of its own, or packed rows of a group.

    Attributes:
        start: its first row in the batch it was answered with.
        id: for its group's own use.
    """

    __slots__ = (
        "came_ns",
        "deadline_s",
        "done",
        "form",
        "group",
        "id",
        "is_cancelled",
        "packed",
        "question",
        "rows",
        "start",
    )

    def __init__(
        self,
        rows: int,
        deadline_s: float,
        done: Callable[[Any], None],
        question: Question | None = None,
        group: Group | None = None,
        packed: bytes = b"",
        id: str = "",
    ) -> None:
        self.rows = rows
        self.deadline_s = deadline_s
        self.done = done
        self.question = question
        self.form = None if question is None else question.form
        self.group = group
        self.packed = packed
        self.id = id
        self.start = 0
        self.came_ns = time.perf_counter_ns()
        self.is_cancelled = False

    def arrays(self) -> dict[str, Any]:
        """The model's inputs."""
        if self.question is not None:
            return self.question.arrays
        assert self.group is not None
        return self.group.packing.arrays((self.packed,))

    def refuse(self, error: SillError) -> None:
        """Say that there is no answer, if anybody waits for it."""
        if self.is_cancelled:
            return
        if self.group is not None:
            self.group.failed(self, error)
        else:
            self.done(error)


Outcomes = list[tuple[list[Waiting], Answered | SillError]]


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
        self._lower: dict[str, deque[Waiting]] = {}
        self._waiting = 0
        self._waiting_rows = 0
        self._running_rows = 0
        self._turns = 0
        self._is_scheduled = False
        self._wake: Callable[[], None] | None = None
        self._lanes: set[asyncio.Task[None]] = set()
        self.admission = Admission(self._row_ms, self._more_ms, self.rows_max, LANES_MAX)
        self.statistics = Statistics()

    def calibrate(self, row_ms: float, batch_row_ms: float | None, *, can_batch: bool) -> None:
        """Go on with times that were measured anew, see the class."""
        self._row_ms = row_ms
        self._more_ms = row_ms if batch_row_ms is None else batch_row_ms
        self.rows_max = BATCH_ROWS_MAX if can_batch else 1
        self.admission.calibrate(self._row_ms, self._more_ms, self.rows_max, LANES_MAX)

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return self._waiting

    @property
    def is_idle(self) -> bool:
        """True while nothing waits and nothing runs."""
        return not self._waiting and not self._lanes

    def hold(self, wake: Callable[[], None]) -> None:
        """From now on only queue: the model is not there. `wake` is called when somebody asks, once until `release`."""
        self._wake = wake

    def release(self) -> None:
        """The model is there: answer what was held."""
        self._wake = None
        self._is_scheduled = self._waiting > 0
        if self._is_scheduled:
            asyncio.get_running_loop().call_soon(self._turn)

    def refuse_all(self, error: SillError) -> None:
        """Tell everybody who waits that there is no answer; the next who asks calls `wake` again."""
        queues = (*self._queues.values(), *self._lower.values())
        self._queues, self._lower = {}, {}
        self._waiting = self._waiting_rows = 0
        self._is_scheduled = False
        for queue in queues:
            for one in queue:
                one.refuse(error)

    def expire(self, error: SillError) -> None:
        """Tell those who were held past their deadline."""
        now_s = asyncio.get_running_loop().time()
        for queues in (self._queues, self._lower):
            for tenant in tuple(queues):
                late = [one for one in queues[tenant] if one.is_cancelled or one.deadline_s <= now_s]
                if not late:
                    continue
                queues[tenant] = deque(one for one in queues[tenant] if one not in late)
                if not queues[tenant]:
                    del queues[tenant]
                for one in late:
                    self._left(one)
                    one.refuse(error)

    def submit(
        self, question: Question, deadline_s: float, done: Done, tenant: str = "", priority: str = INTERACTIVE
    ) -> Waiting:
        """Queue a request; `done` is called when it is answered, never before this returns.

        Args:
            deadline_s: on the event loop's clock; work that could only come too late is not begun.
            tenant: whose turn it is when more wait than a batch holds.
            priority: see `admission`; the lower classes wait for the first.
        Raises:
            Limited: too many wait for this model.
            Unavailable: it could not be answered in time.
        """
        waiting = Waiting(question.rows, deadline_s, done, question)
        self.enqueue(waiting, tenant, priority)
        return waiting

    def enqueue(self, waiting: Waiting, tenant: str = "", priority: str = INTERACTIVE) -> None:
        """`submit` for what is in its waiting form already."""
        queues = self._queues if priority is INTERACTIVE else self._queues_of(priority)
        queue = queues.get(tenant)
        if self._waiting_rows + self._running_rows >= self.admission.rows_free or self._wake is not None:
            self._admit(queue, waiting.rows, waiting.deadline_s, priority)
        if queue is None:
            queue = queues[tenant] = deque()
        queue.append(waiting)
        self._waiting += 1
        self._waiting_rows += waiting.rows
        if not self._is_scheduled and len(self._lanes) < LANES_MAX:
            self._is_scheduled = True
            asyncio.get_running_loop().call_soon(self._turn)

    async def infer(self, question: Question, deadline_s: float, tenant: str = "", priority: str = INTERACTIVE) -> Part:
        """`submit`, waited for.

        Raises:
            Limited: too many wait for this model.
            Unavailable: the deadline passed, or would pass before it is answered.
        """
        answer: asyncio.Future[Part] = asyncio.get_running_loop().create_future()

        def done(part: Part | SillError) -> None:
            if answer.done():
                return
            if isinstance(part, SillError):
                answer.set_exception(part)
            else:
                answer.set_result(part)

        waiting = self.submit(question, deadline_s, done, tenant, priority)
        try:
            async with asyncio.timeout_at(deadline_s):
                return await answer
        except TimeoutError as late:
            raise deadline_passed() from late
        finally:
            waiting.is_cancelled = True

    def _queues_of(self, priority: str) -> dict[str, deque[Waiting]]:
        return self._queues if priority == INTERACTIVE else self._lower

    def _admit(self, queue: deque[Waiting] | None, rows: int, deadline_s: float, priority: str) -> None:
        """A closer look: at what is held for a model that is not there, at the room, and at the time.

        A queue that is full refuses those who filled it; others still get their part of it. A tenant waits, by its
        turns, for no more of another's requests than it has itself in the queue.
        """
        if self._wake is not None:
            if self._waiting >= HELD_MAX:
                raise Unavailable(
                    f"{self._waiting} requests wait for this model to be loaded; {HELD_MAX} may.",
                    fix="Try again in a second.",
                    retry_after_s=1,
                )
            return
        held = len(queue) if queue is not None else 0
        tenants = len(self._queues) + len(self._lower) + (queue is None)
        if self._waiting >= WAITING_MAX and (held >= WAITING_MAX // tenants or self._waiting >= 2 * WAITING_MAX):
            raise Limited(
                f"{self._waiting} requests wait for this model already.", fix="Try again in a second.", retry_after_s=1
            )
        before = (self._queues,) if priority == INTERACTIVE else (self._queues, self._lower)
        turns = sum(min(len(one), held + (one is not queue)) for queues in before for one in queues.values())
        ahead = self._running_rows + self._waiting_rows * turns // max(self._waiting, 1)
        self.admission.check(ahead, rows, deadline_s - asyncio.get_running_loop().time(), priority)

    def _left(self, one: Waiting) -> None:
        self._waiting -= 1
        self._waiting_rows -= one.rows

    def _turn(self) -> None:
        if self._wake is not None:
            self._wake()  # it stays scheduled: there is no further turn until the model is there
            return
        self._is_scheduled = False
        while self._waiting and len(self._lanes) < LANES_MAX:
            batch, rows = self._take()
            if not batch:
                continue
            self._running_rows += rows
            if self._runs_inline(rows):
                self._settle(self._answer(batch, rows))
                self._running_rows -= rows
                continue
            lane = asyncio.get_running_loop().create_task(self._run_in_lane(batch, rows))
            self._lanes.add(lane)
            lane.add_done_callback(self._lane_is_free)

    async def _run_in_lane(self, batch: list[Waiting], rows: int) -> None:
        try:
            self._settle(await asyncio.to_thread(self._answer, batch, rows))
        finally:
            self._running_rows -= rows

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
        self._turns += 1
        is_lower = bool(self._lower) and (not self._queues or self._turns % LOWER_TURN == 0)
        queues = self._lower if is_lower else self._queues
        while queues:
            for tenant in tuple(queues):
                queue = queues[tenant]
                one = queue[0]
                if one.is_cancelled or one.deadline_s <= now_s:
                    queue.popleft()
                    self._left(one)
                    one.refuse(deadline_passed())
                else:
                    form = one.form
                    if batch and (form != shape or rows + one.rows > self.rows_max):
                        _rotate(queues, tenant)
                        return batch, rows
                    shape = form
                    queue.popleft()
                    self._left(one)
                    batch.append(one)
                    rows += one.rows
                if not queue:
                    del queues[tenant]
        return batch, rows

    def _answer(self, batch: list[Waiting], rows: int) -> Outcomes:
        """Who was answered together, and what. If a batch fails, each is asked alone: a bad one harms nobody else."""
        try:
            return [(batch, self._ask(batch, rows))]
        except Exception as refused:  # whatever the model raises concerns this input, never the server
            if len(batch) > 1:
                return [outcome for one in batch for outcome in self._answer([one], one.rows)]
            return [(batch, refused if isinstance(refused, SillError) else _failed(refused))]

    def _ask(self, batch: list[Waiting], rows: int) -> Answered:
        started_s, started_ns = time.thread_time(), time.perf_counter_ns()
        raw = self._run(_together(batch))
        took_ns = time.perf_counter_ns() - started_ns
        outputs = self._finish(raw, rows)
        cpu_ms = (time.thread_time() - started_s) * 1e3
        question = batch[0].question
        is_whole = question is not None and question.is_whole
        return Answered(outputs, rows, cpu_ms, started_ns, took_ns, is_whole=is_whole)

    def _settle(self, outcomes: Outcomes) -> None:
        for batch, outcome in outcomes:
            if isinstance(outcome, SillError):
                for one in batch:
                    one.refuse(outcome)
                continue
            waited_ns = len(batch) * outcome.started_ns - sum([one.came_ns for one in batch])
            self.statistics.executed(outcome.rows, outcome.took_ns, max(waited_ns, 0))
            self.admission.observe(outcome.rows, outcome.took_ns / 1e9)
            _tell(batch, outcome)


def _together(batch: list[Waiting]) -> dict[str, Any]:
    """The inputs of all, in their order."""
    if len(batch) == 1:
        return batch[0].arrays()
    first = batch[0].group
    packing = None if first is None else first.packing
    if packing is not None and all(one.group is not None and one.group.packing is packing for one in batch):
        return packing.arrays([one.packed for one in batch])
    every = [one.arrays() for one in batch]
    return {name: np.concatenate([arrays[name] for arrays in every]) for name in every[0]}


def _tell(batch: list[Waiting], answered: Answered) -> None:
    """Everybody his rows; those of a group together."""
    start = 0
    groups: dict[int, list[Waiting]] = {}
    for one in batch:
        one.start = start
        start += one.rows
        if one.group is not None:
            groups.setdefault(id(one.group), []).append(one)
        elif not one.is_cancelled:
            one.done(Part(answered, one.start, start))
    for together in groups.values():
        group = together[0].group
        assert group is not None
        group.told(together, answered)


def _rotate(queues: dict[str, deque[Waiting]], first: str) -> None:
    """Let the next batch begin with the tenant this one had no room for."""
    for tenant in tuple(queues):
        if tenant == first:
            return
        queues[tenant] = queues.pop(tenant)


def deadline_passed() -> Unavailable:
    """The error of a request whose time ran out."""
    return Unavailable("the deadline passed before the model answered.", fix="Allow more time, or send fewer at once.")


def _failed(error: Exception) -> Unavailable:
    return Unavailable(f"the model failed: {type(error).__name__}.", fix="Look at the inference log.")
