"""Copies of answered requests, for revisions nobody waits for: answered when nothing else is, and compared with the live ones."""

import asyncio
import time
from collections import deque

import msgspec

from sill.core.clock import Clock
from sill.core.errors import SillError
from sill.core.values import Value
from sill.traffic.pool import Model
from sill.traffic.recording import Recorder, Seen
from sill.traffic.tensors import to_question
from sill.traffic.waiting import Part

SHADOWS_WAITING_MAX = 256
SHADOW_DEADLINE_S = 30.0


class _Copy(Value, frozen=True, kw_only=True):
    """What the live revision was asked and answered, and who is to answer it too."""

    live: Seen
    model: Model


class Shadows:
    """The copies that wait. Use it from one event loop.

    Attributes:
        dropped: copies left out because too many waited.
    """

    def __init__(self, clock: Clock, recorder: Recorder) -> None:
        self._clock = clock
        self._recorder = recorder
        self._waiting: deque[_Copy] = deque()
        self._some = asyncio.Event()
        self.dropped = 0

    def copy(self, live: Seen, model: Model) -> None:
        """Have a shadow answer what the live revision has answered."""
        if len(self._waiting) >= SHADOWS_WAITING_MAX:
            self.dropped += 1
            return
        self._waiting.append(_Copy(live=live, model=model))
        self._some.set()

    async def run(self) -> None:
        """Answer the copies, one after another, for ever."""
        while True:
            await self._some.wait()
            self._some.clear()
            while self._waiting:
                await self._answer(self._waiting.popleft())
                await asyncio.sleep(0)  # requests that came in meanwhile go first

    async def _answer(self, copy: _Copy) -> None:
        live, model, started_s = copy.live, copy.model, time.perf_counter()
        told: Part | SillError
        try:
            question = to_question(model.signature, live.asked.tensors)
            told = await model.batcher.infer(question, asyncio.get_running_loop().time() + SHADOW_DEADLINE_S)
        except SillError as failed:
            told = failed
        assert live.part is not None  # only answers are copied
        self._recorder.note(
            msgspec.structs.replace(
                live,
                model=model,
                at_us=self._clock.now_us(),
                latency_ms=(time.perf_counter() - started_s) * 1e3,
                part=told if isinstance(told, Part) else None,
                failed=told if isinstance(told, SillError) else None,
                live=(live.model, live.part),
                is_shadow=True,
            )
        )
