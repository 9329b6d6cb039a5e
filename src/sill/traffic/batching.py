"""Answers together what arrived together. No timer: a batch is what one turn of the event loop brought.

At low load nothing waits; at high load batches fill by themselves, and every tenant gets its turn. A cheap model runs
on the loop's own thread, a dear one in lanes of one thread each, unless one asks alone. The same queue serves every
protocol: who asks says what is to be called with the answer. Source of the idea: Little's law.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from sill.core.errors import SillError, Unavailable
from sill.runtimes.port import WorkerDied
from sill.traffic.admission import INTERACTIVE, Admission, batch_rows, shared_rows
from sill.traffic.asking_again import Again
from sill.traffic.company import Company
from sill.traffic.lanes import CORES, Lanes
from sill.traffic.queueing import FairQueue
from sill.traffic.statistics import Statistics
from sill.traffic.tensors import Question
from sill.traffic.waiting import Answered, Done, Part, Waiting, arrays_of, deadline_passed, tell

BATCH_ROWS_MAX = 256
HELD_MAX = 256
"""Requests that may wait for one model while it is being loaded."""
INLINE_MS_MAX = 0.5
"""A model whose single row takes less is run on the loop's own thread: a hand-over would cost more."""
INLINE_BATCH_MS_MAX = 5.0
"""What is expected to take longer is handed to a lane all the same, so that others are not kept waiting."""
CPU_LOOK_EVERY = 16
"""Every so manieth batch is asked what CPU it took, by a clock that costs as much as a small model; the rest by proportion."""

_log = logging.getLogger("sill.inference")

_EVERYBODY = Company(time.monotonic)
"""A process has one event loop, and its thread is every model's."""

Run = Callable[[Mapping[str, Any]], Mapping[str, Any]]
Finish = Callable[[Mapping[str, Any], int], dict[str, Any]]
Outcomes = list[tuple[list[Waiting], Answered | SillError]]


class Batch:
    """What is answered together, and those whose time ran out before it was their turn.

    Attributes:
        is_wide: all cores answer it.
    """

    __slots__ = ("is_wide", "late", "rows", "waiting")

    def __init__(self, waiting: list[Waiting], rows: int, late: list[Waiting]) -> None:
        self.waiting = waiting
        self.rows = rows
        self.late = late
        self.is_wide = False


class Batcher:
    """The queue before one model. Use it from one event loop.

    Args:
        run: answers named arrays; each row's answer must not depend on its neighbours. Thread-safe.
        finish: checks the raw answer to so many rows and names it as it goes over the wire.
        row_ms: what one row takes, as measured; decides whether it runs on the loop's thread.
        batch_row_ms: what one more row of a batch takes; decides how long a batch may be there.
        can_batch: false if answers of the model were seen to depend on their neighbours.
        lanes: batches that may run at once.
        company: of all whom the loop serves.

    Attributes:
        run_wide: answers one request by all cores, if they are faster; for one who asks while nobody else does.
    """

    def __init__(
        self,
        run: Run,
        finish: Finish,
        *,
        row_ms: float,
        batch_row_ms: float | None = None,
        can_batch: bool,
        lanes: int = CORES,
        company: Company = _EVERYBODY,
    ) -> None:
        self.run_wide: Run | None = None
        self._run = run
        self._finish = finish
        self._know(row_ms, batch_row_ms, can_batch)
        self._queue = FairQueue()
        self._again = Again()
        self._company = company
        self._running = self._running_rows = 0
        self._asked = 0
        self._cpu_share = 1.0
        self._is_scheduled = False
        self._wake: Callable[[], None] | None = None
        self._lock = threading.Lock()
        """Held by whoever touches the queue: lanes take from it too."""
        self._lanes_max = lanes
        self._lanes = Lanes(self._lock, partial(self._take, 1), self._answer_batch, self._told)
        self.admission = Admission(self._row_ms, self._more_ms, self.rows_max, lanes)
        self.statistics = Statistics()

    def calibrate(self, row_ms: float, batch_row_ms: float | None, *, can_batch: bool) -> None:
        """Go on with times that were measured anew, see the class."""
        self._know(row_ms, batch_row_ms, can_batch)
        self.admission.calibrate(self._row_ms, self._more_ms, self.rows_max, self._lanes_max)

    def _know(self, row_ms: float, batch_row_ms: float | None, can_batch: bool) -> None:
        self._row_ms = row_ms
        self._more_ms = row_ms if batch_row_ms is None else batch_row_ms
        self.rows_max = batch_rows(self._row_ms, self._more_ms, BATCH_ROWS_MAX) if can_batch else 1
        self._rows_shared = shared_rows(self._row_ms, self._more_ms, self.rows_max)

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return self._queue.requests

    @property
    def is_idle(self) -> bool:
        """True while nothing waits and nothing runs."""
        return not self._queue.requests and not self._running

    def hold(self, wake: Callable[[], None]) -> None:
        """From now on only queue: the model is not there. `wake` is called when somebody asks, once until `release`."""
        self._wake = wake

    def release(self) -> None:
        """The model is there: answer what was held."""
        self._wake = None
        self._is_scheduled = self._queue.requests > 0
        if self._is_scheduled:
            asyncio.get_running_loop().call_soon(self._turn)

    def refuse_all(self, error: SillError) -> None:
        """Tell everybody who waits that there is no answer; the next who asks calls `wake` again."""
        with self._lock:
            every = self._queue.take_every()
        self._is_scheduled = False
        for one in every:
            one.refuse(error)

    def expire(self, error: SillError) -> None:
        """Tell those who were held past their deadline."""
        with self._lock:
            late = self._queue.take_late(time.monotonic())
        for one in late:
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
        waiting = Waiting(question.rows, deadline_s, done, question, form=question.form)
        self.enqueue(waiting, tenant, priority)
        return waiting

    def enqueue(self, waiting: Waiting, tenant: str = "", priority: str = INTERACTIVE) -> None:
        """`submit` for what is in its waiting form already."""
        queue = self._queue
        if queue.rows + self._running_rows >= self.admission.rows_free or self._wake is not None:
            self._admit(waiting, tenant, priority)
        with self._lock:
            queue.put(waiting, tenant, priority)
        self._company.came += 1
        if not self._is_scheduled and self._lanes.busy < self._lanes_max:
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

    def _admit(self, waiting: Waiting, tenant: str, priority: str) -> None:
        """A closer look: at what is held for a model that is not there, at the room, and at the time."""
        queue = self._queue
        if self._wake is not None:
            if queue.requests >= HELD_MAX:
                raise Unavailable(
                    f"{queue.requests} requests wait for this model to be loaded; {HELD_MAX} may.",
                    fix="Try again in a second.",
                    retry_after_s=1,
                )
            return
        queue.room_for(tenant, priority)
        ahead = self._running_rows + queue.rows_ahead(tenant, priority)
        self.admission.check(ahead, waiting.rows, waiting.deadline_s - time.monotonic(), priority)

    def _turn(self) -> None:
        if self._wake is not None:
            self._wake()  # it stays scheduled: there is no further turn until the model is there
            return
        self._is_scheduled = False
        while self._lanes.busy < self._lanes_max:
            with self._lock:
                batch = self._take()
            if batch is None:
                return
            is_lone = len(batch.waiting) == 1 and not self._lanes.busy and not self._queue.requests
            if not batch.waiting or self._runs_inline(batch.rows):
                self._told(batch, self._answer_batch(batch))
            elif is_lone and self._may_have_the_loop(batch.rows):
                outcomes = self._answer_batch(batch)  # sockets are read before the next line's call
                asyncio.get_running_loop().call_soon(self._told_alone, batch, outcomes, self._company.came)
            else:
                batch.is_wide = is_lone and batch.rows > 0 and self.run_wide is not None
                self._lanes.start(batch)

    def _take(self, own: int = 0) -> Batch | None:
        """The next batch; None if nobody waits. With the lock.

        Args:
            own: how many of the busy lanes are to have it.
        """
        late: list[Waiting] = []
        waiting: list[Waiting] = []
        rows = 0
        while self._queue.requests and not waiting:
            waiting, rows, passed = self._queue.take(
                self._rows_now(self._lanes_max - self._lanes.busy + own), time.monotonic()
            )
            late += passed
        if not waiting and not late:
            return None
        self._running += 1
        self._running_rows += rows
        return Batch(waiting, rows, late)

    def _rows_now(self, free: int) -> int:
        """Rows of the next batch. Dear ones are shared out among the free lanes, or one would have all and the rest none."""
        if self._row_ms <= INLINE_MS_MAX:
            return self.rows_max
        most = self._rows_shared if self._queue.is_shared(time.perf_counter_ns()) else self.rows_max
        return min(most, -(-self._queue.rows // free))

    def _told(self, batch: Batch, outcomes: Outcomes) -> None:
        """Tell everybody of a batch. On the loop's thread."""
        with self._lock:
            self._running -= 1
            self._running_rows -= batch.rows
        for one in batch.late:
            one.refuse(deadline_passed())
        self._settle(outcomes, is_wide=batch.is_wide)

    def _runs_inline(self, rows: int) -> bool:
        return self._row_ms <= INLINE_MS_MAX and self._row_ms + self._more_ms * (rows - 1) <= INLINE_BATCH_MS_MAX

    def _may_have_the_loop(self, rows: int) -> bool:
        """Whether a lone request may have the loop's thread although its model is dear: nobody else needs it."""
        takes_s = self.admission.batch_s(rows) * self.admission.slowness
        return self._company.is_away and takes_s <= INLINE_BATCH_MS_MAX / 1e3

    def _told_alone(self, batch: Batch, outcomes: Outcomes, came: int) -> None:
        self._company.look(came)
        self._told(batch, outcomes)

    def _answer_batch(self, batch: Batch) -> Outcomes:
        wide = self.run_wide if batch.is_wide else None
        return self._answer(batch.waiting, batch.rows, wide or self._run) if batch.waiting else []

    def _answer(self, batch: list[Waiting], rows: int, run: Run, *, is_second: bool = False) -> Outcomes:
        """Who was answered together, and what. If a batch fails, each is asked alone: a bad one harms nobody else.

        Who was alone when the model's process died is asked once more; who killed it twice fails (`is_second`).
        """
        try:
            return [(batch, self._ask(batch, rows, run))]
        except Exception as refused:  # whatever the model raises concerns this input, never the server
            if len(batch) > 1:
                is_second = is_second or isinstance(refused, WorkerDied)
                return [done for one in batch for done in self._answer([one], one.rows, run, is_second=is_second)]
            if not is_second and self._again.may(refused, batch[0].deadline_s):
                return self._answer(batch, rows, run, is_second=True)
            return [(batch, refused if isinstance(refused, SillError) else _failed(refused))]

    def _ask(self, batch: list[Waiting], rows: int, run: Run) -> Answered:
        self._asked += 1
        looks = self._asked % CPU_LOOK_EVERY == 1
        began_s = time.thread_time() if looks else 0.0
        started_ns = time.perf_counter_ns()
        raw = run(arrays_of(batch))
        took_ns = time.perf_counter_ns() - started_ns
        outputs = self._finish(raw, rows)
        if looks:
            self._cpu_share = (time.thread_time() - began_s) * 1e9 / max(took_ns, 1)
        question = batch[0].question
        is_whole = question is not None and question.is_whole
        return Answered(outputs, rows, self._cpu_share * took_ns / 1e6, started_ns, took_ns, is_whole=is_whole)

    def _settle(self, outcomes: Outcomes, *, is_wide: bool) -> None:
        for batch, outcome in outcomes:
            if isinstance(outcome, SillError):
                for one in batch:
                    one.refuse(outcome)
                continue
            waited_ns = len(batch) * outcome.started_ns - sum([one.came_ns for one in batch])
            self.statistics.executed(outcome.rows, outcome.took_ns, max(waited_ns, 0))
            if not is_wide:  # many at once will not have all cores each
                self.admission.observe(outcome.rows, outcome.took_ns / 1e9)
            try:
                tell(batch, outcome)
            except Exception:  # a protocol's own fault; the queue goes on
                _log.exception("a batch of %d could not be told its answers", len(batch))


def _failed(error: Exception) -> Unavailable:
    return Unavailable(f"the model failed: {type(error).__name__}.", fix="Look at the inference log.")
