"""Answers together what arrived together. No timer: a batch is what one turn of the event loop brought.

At low load nothing waits; at high load batches fill by themselves. Source of the idea: SERVING.md, and Little's law.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from sill.core.errors import Limited, SillError, Unavailable
from sill.traffic.tensors import Question

BATCH_ROWS_MAX = 256
WAITING_MAX = 2_048
INLINE_MS_MAX = 0.5
"""A model whose single row takes less is run on the loop's own thread: a hand-over would cost more."""
INLINE_ROWS_MS_MAX = 5.0
"""A batch expected to take longer is handed to a thread all the same, so that others are not kept waiting."""

Run = Callable[[Mapping[str, Any]], Mapping[str, Any]]


class Waiting:
    """One request's part of a batch."""

    __slots__ = ("answer", "cpu_ms", "deadline_s", "question")

    def __init__(self, question: Question, deadline_s: float, answer: "asyncio.Future[Mapping[str, Any]]") -> None:
        self.question = question
        self.deadline_s = deadline_s
        self.answer = answer
        self.cpu_ms = 0.0


class Batcher:
    """The queue before one model. Use it from one event loop.

    Args:
        run: answers named arrays; each row's answer must not depend on its neighbours.
        row_ms: what one row takes, as measured; decides whether it runs on the loop's thread.
        can_batch: false if answers of the model were seen to depend on their neighbours.
    """

    def __init__(self, run: Run, *, row_ms: float, can_batch: bool) -> None:
        self._run = run
        self._row_ms = row_ms
        self._rows_max = BATCH_ROWS_MAX if can_batch else 1
        self._waiting: list[Waiting] = []
        self._is_scheduled = False
        self._is_running = False
        self._task: asyncio.Task[None] | None = None
        self.batches = 0

    async def infer(self, question: Question, deadline_s: float) -> tuple[Mapping[str, Any], float]:
        """The model's outputs for the question's rows, and the milliseconds of CPU they took.

        Args:
            deadline_s: on the event loop's clock; work that could only come too late is not begun.
        Raises:
            Limited: too many wait for this model.
            Unavailable: the deadline passed.
        """
        if len(self._waiting) >= WAITING_MAX:
            raise Limited(f"{WAITING_MAX} requests wait for this model already.", fix="Try again in a second.")
        loop = asyncio.get_running_loop()
        waiting = Waiting(question, deadline_s, loop.create_future())
        self._waiting.append(waiting)
        if not self._is_scheduled and not self._is_running:
            self._is_scheduled = True
            loop.call_soon(self._turn)
        if self._runs_inline(question.rows):
            return await waiting.answer, waiting.cpu_ms
        try:
            async with asyncio.timeout_at(deadline_s):
                return await waiting.answer, waiting.cpu_ms
        except TimeoutError as late:
            raise deadline_passed() from late

    def _turn(self) -> None:
        self._is_scheduled = False
        while self._waiting:
            batch = self._take()
            if not batch:
                continue
            rows = sum(one.question.rows for one in batch)
            if not self._runs_inline(rows):
                self._is_running = True
                self._task = asyncio.get_running_loop().create_task(self._run_in_thread(batch))
                return
            self._settle(batch, self._answer(batch))

    async def _run_in_thread(self, batch: list[Waiting]) -> None:
        try:
            self._settle(batch, await asyncio.to_thread(self._answer, batch))
        finally:
            self._is_running = False
            if self._waiting:
                self._turn()

    def _runs_inline(self, rows: int) -> bool:
        return self._row_ms <= INLINE_MS_MAX and self._row_ms * rows <= INLINE_ROWS_MS_MAX

    def _take(self) -> list[Waiting]:
        """The next batch: oldest first, up to the rows that may go together, without those nobody waits for."""
        now_s = asyncio.get_running_loop().time()
        batch: list[Waiting] = []
        rows = taken = 0
        for one in self._waiting:
            if one.answer.done():  # the client is gone
                taken += 1
                continue
            if one.deadline_s <= now_s:
                one.answer.set_exception(deadline_passed())
                taken += 1
                continue
            if batch and rows + one.question.rows > self._rows_max:
                break
            batch.append(one)
            rows += one.question.rows
            taken += 1
        del self._waiting[:taken]
        return batch

    def _answer(self, batch: list[Waiting]) -> list[Mapping[str, Any] | Exception]:
        """One answer or error for each. If a batch fails, each is asked alone: a bad one harms nobody else."""
        self.batches += 1
        started_s = time.thread_time()
        try:
            answers: list[Mapping[str, Any] | Exception] = list(self._together(batch))
        except Exception as refused:  # whatever the model raises concerns this input, never the server
            answers = [refused] if len(batch) == 1 else [self._alone(one) for one in batch]
        spent_ms = (time.thread_time() - started_s) * 1e3
        rows = sum(one.question.rows for one in batch)
        for one in batch:
            one.cpu_ms = spent_ms * one.question.rows / rows
        return answers

    def _alone(self, one: Waiting) -> Mapping[str, Any] | Exception:
        try:
            return self._run(one.question.arrays)
        except Exception as refused:
            return refused

    def _together(self, batch: list[Waiting]) -> list[Mapping[str, Any]]:
        if len(batch) == 1:
            return [self._run(batch[0].question.arrays)]
        names = batch[0].question.arrays.keys()
        joined = {name: np.concatenate([one.question.arrays[name] for one in batch]) for name in names}
        answered = self._run(joined)
        parts: list[Mapping[str, Any]] = []
        start = 0
        for one in batch:
            end = start + one.question.rows
            parts.append({name: array[start:end] for name, array in answered.items()})
            start = end
        return parts

    @staticmethod
    def _settle(batch: list[Waiting], answers: list[Mapping[str, Any] | Exception]) -> None:
        for one, answer in zip(batch, answers, strict=True):
            if one.answer.done():
                continue
            if isinstance(answer, Exception):
                one.answer.set_exception(answer if isinstance(answer, SillError) else _failed(answer))
            else:
                one.answer.set_result(answer)


def deadline_passed() -> Unavailable:
    """The error of a request whose time ran out."""
    return Unavailable("the deadline passed before the model answered.", fix="Allow more time, or send fewer at once.")


def _failed(error: Exception) -> Unavailable:
    return Unavailable(f"the model failed: {type(error).__name__}.", fix="Look at the inference log.")
