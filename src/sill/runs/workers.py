"""The loops that make runs so: one starts what the scheduler chose, one watches what runs and writes down how it ended.

Both may be killed anywhere. That a run is to start is committed, with the engine's handle, before it is started;
starting is idempotent by that handle. So after a restart the watcher finds every handle again: what is alive is
adopted, what was never started is started, what ended is written down, what was lost is tried again or has failed.
"""

import asyncio
import contextlib
import logging
import os
from collections.abc import Coroutine
from typing import Any

from sill.engines.types import EngineStatus, Life, Reporting
from sill.runs import rules, store
from sill.runs.ending import Finisher
from sill.runs.sampling import EVERY_S, SystemMetrics
from sill.runs.service import Runs
from sill.runs.starting import Starter
from sill.runs.types import Run
from sill.stores.log import Log

WATCH_S = 0.2
"""How often the engine is asked; ends are usually told at once by a descriptor."""
IDLE_S = 1.0
"""The same while nothing runs that we know of."""
NUDGE_S = 0.2
"""At most this often do other changes in the log wake the dispatcher."""
SWEEP_S = 5.0
"""How often an engine that tells what ended is asked for each attempt all the same."""
STOP_GRACE_S = 10.0
REASONS_PER_PASS = 50
PAUSE_AFTER_ERROR_S = 1.0

_logger = logging.getLogger("sill.runs")


class RunWorker:
    """Dispatcher and watcher of one control plane."""

    def __init__(self, log: Log, runs: Runs) -> None:
        self._log = log
        self._runs = runs
        self._engine = runs.engine
        self._system = SystemMetrics(runs.database, runs.engine)
        self._ends: dict[str, int] = {}
        self._ended = asyncio.Event()
        self._finisher = Finisher(runs, self._system)
        self._starter = Starter(runs, self._finisher.finish, self._ended.set)
        self._swept_s = -SWEEP_S
        self._is_sweep_due = False
        """Something is to be stopped, which a look at each attempt does."""

    async def run(self) -> None:
        """Work for ever."""
        try:
            async with asyncio.TaskGroup() as group:
                for loop in (self._nudge(), self._dispatch(), self._watch(), self._sample()):
                    group.create_task(loop)
        finally:
            self._starter.close()
            self._forget_ends(set())

    async def dispatch_once(self) -> None:
        """Start what the scheduler chooses now, and note why the others wait."""
        runs, board = self._runs, self._runs.board
        await board.refresh()
        decision = board.decide()
        await self._starter.enact(decision)
        if decision.stops:
            self._is_sweep_due = True
            self._ended.set()
        reasons = board.new_reasons(REASONS_PER_PASS)
        if reasons:
            await runs.database.write(lambda tx: store.note_reasons(tx, reasons))

    async def settled(self) -> None:
        """Return when the engine has got all that was started."""
        await self._starter.settled()

    async def watch_once(self) -> None:
        """Look at everything that runs, once."""
        if isinstance(self._engine, Reporting):
            await self._take_reports(self._engine)
            return
        running = await self._runs.database.read(store.running)
        starting = self._starter.starting
        await asyncio.gather(
            *(self._guard(run, self._look(run)) for run in running if run.handle and run.id not in starting)
        )
        self._forget_ends({run.handle for run in running})

    async def _take_reports(self, engine: Reporting) -> None:
        """Write down what the engine says has ended. A report may come twice, late, for what nobody knows, or be lost:
        now and then each attempt is looked at all the same."""
        if self._is_time_to_sweep():
            await self._sweep(engine)
            return
        told = await asyncio.to_thread(engine.ended)
        going = self._starter.going
        known = [(going.pop(handle), status) for handle, status in told if handle in going]
        if known:
            await self._finisher.finish_many(known)

    def _is_time_to_sweep(self) -> bool:
        now_s = self._runs.clock.monotonic_s()
        if 0 <= now_s - self._swept_s < SWEEP_S and not self._is_sweep_due:
            return False
        self._swept_s, self._is_sweep_due = now_s, False
        return True

    async def _sweep(self, engine: Reporting) -> None:
        running = await self._runs.database.read(store.running)
        starting = self._starter.starting
        known = [run for run in running if run.handle and run.id not in starting]
        polled = await asyncio.to_thread(lambda: [self._engine.poll(run.handle) for run in known])
        over, absent = [], []
        for run, status in zip(known, polled, strict=True):
            if status.life is Life.ABSENT and not (run.is_stopping or run.put_off_us):
                absent.append(run)  # we were killed between the commit and the start
            elif status.life is not Life.ALIVE:
                over.append((run, status))
            else:
                self._starter.going[run.handle] = run
                await self._guard(run, self._take_status(run, status))
        await self._starter.launch_many(engine, absent)
        await self._finisher.finish_many(over)

    async def sample_once(self) -> None:
        """Keep what the gauges of everything that runs have said."""
        await self._system.collect([run for run in await self._runs.database.read(store.running) if run.handle])

    async def _nudge(self) -> None:
        """Changes by others, and time that passes, are looked at too."""
        while True:
            await self._log.wait()
            self._runs.wake.set()
            await asyncio.sleep(NUDGE_S)

    async def _dispatch(self) -> None:
        while True:
            self._runs.wake.clear()
            await self._surely(self.dispatch_once())
            await self._runs.wake.wait()

    async def _watch(self) -> None:
        while True:
            self._ended.clear()
            await self._surely(self.watch_once())
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._pause_s()):
                    await self._ended.wait()

    def _pause_s(self) -> float:
        """How long nobody asks how the attempts stand, if nothing is told."""
        if isinstance(self._engine, Reporting):
            return self._engine.ask_s
        return WATCH_S if self._ends else IDLE_S

    async def _sample(self) -> None:
        while True:
            await asyncio.sleep(EVERY_S)
            await self._surely(self.sample_once())

    async def _surely(self, work: Coroutine[Any, Any, None]) -> None:
        """The edge of the worker: an error of one pass is logged, the next pass tries again."""
        try:
            await work
        except Exception:
            _logger.exception("a pass over the runs failed; it is repeated")
            await asyncio.sleep(PAUSE_AFTER_ERROR_S)

    async def _guard(self, run: Run, work: Coroutine[Any, Any, None]) -> None:
        """What goes wrong with one run is written on that run, and the others go on."""
        try:
            await work
        except Exception as wrong:
            _logger.exception("run %s: %s", run.id, wrong)

    async def _look(self, run: Run) -> None:
        await self._take_status(run, await asyncio.to_thread(self._engine.poll, run.handle))

    async def _take_status(self, run: Run, status: EngineStatus) -> None:
        if status.life is Life.ABSENT:
            if run.is_stopping or run.put_off_us:
                await self._finisher.finish(run, status)
            else:
                await self._starter.launch(run)  # we were killed between the commit and the start
        elif status.life is Life.ALIVE:
            self._expect_end(run.handle)
            self._runs.board.note_use(run.id, rules.used(run, status))
            if run.is_stopping or run.put_off_us:
                await asyncio.to_thread(self._engine.stop, run.handle, STOP_GRACE_S)
        else:
            if status.life is Life.LOST:
                await asyncio.to_thread(self._engine.kill_left, run.handle)
            await self._finisher.finish(run, status)

    def _expect_end(self, handle: str) -> None:
        """Be woken when the attempt ends, instead of finding out at the next look."""
        if handle in self._ends:
            return
        descriptor = self._engine.exit_descriptor(handle)
        if descriptor is not None:
            self._ends[handle] = descriptor
            asyncio.get_running_loop().add_reader(descriptor, self._end_seen, handle)

    def _end_seen(self, handle: str) -> None:
        asyncio.get_running_loop().remove_reader(self._ends[handle])
        self._ended.set()

    def _forget_ends(self, running: set[str]) -> None:
        for handle in [handle for handle in self._ends if handle not in running]:
            descriptor = self._ends.pop(handle)
            asyncio.get_running_loop().remove_reader(descriptor)
            os.close(descriptor)
