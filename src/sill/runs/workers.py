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

import msgspec

from sill.core.actors import PLATFORM
from sill.core.addresses import Address
from sill.core.errors import SillError
from sill.core.names import shorten
from sill.costs.types import Usage
from sill.engines.types import EngineStatus, Life
from sill.governance.lineage import add_edge
from sill.runs import rules, store
from sill.runs.launch import start_spec, token_seconds
from sill.runs.sampling import EVERY_S, SystemMetrics
from sill.runs.service import Runs
from sill.runs.store import RUNS
from sill.runs.tracking import artifact_store
from sill.runs.tracking import store as tracking
from sill.runs.tracking.artifacts import pieces
from sill.runs.types import Artifact, Batch, Run, RunState
from sill.stores.database import Tx
from sill.stores.log import Log

WATCH_S = 0.2
"""How often the engine is asked; ends are usually told at once by a descriptor."""
IDLE_S = 1.0
"""The same while nothing runs that we know of."""
NUDGE_S = 0.2
"""At most this often do other changes in the log wake the dispatcher."""
STARTS_AT_ONCE = 4
STOP_GRACE_S = 10.0
REASONS_PER_PASS = 50
PAUSE_AFTER_ERROR_S = 1.0
TAIL_BYTES = 4_096
LINE_LENGTH_MAX = 400
AGENT_SAYS = "error: "
"""What the last line of a platform kind's run that failed begins with."""
AGENT_REASON_LENGTH_MAX = 1_000
REFUSED_TAG = "sill.outputs.refused"

_logger = logging.getLogger("sill.runs")


class RunWorker:
    """Dispatcher and watcher of one control plane."""

    def __init__(self, log: Log, runs: Runs) -> None:
        self._log = log
        self._runs = runs
        self._engine = runs.engine
        self._system = SystemMetrics(runs.database, runs.engine)
        self._starting: set[str] = set()
        self._launches: set[asyncio.Task[None]] = set()
        self._ends: dict[str, int] = {}
        self._ended = asyncio.Event()
        self._start_slots = asyncio.Semaphore(STARTS_AT_ONCE)

    async def run(self) -> None:
        """Work for ever."""
        try:
            async with asyncio.TaskGroup() as group:
                for loop in (self._nudge(), self._dispatch(), self._watch(), self._sample()):
                    group.create_task(loop)
        finally:
            for launch in self._launches:
                launch.cancel()
            self._forget_ends(set())

    async def dispatch_once(self) -> None:
        """Start what the scheduler chooses now, and note why the others wait."""
        runs, board = self._runs, self._runs.board
        await board.refresh()
        chosen = board.decide()
        if chosen:
            found = await runs.database.read(lambda connection: [RUNS.find(connection, *each) for each in chosen])
            await asyncio.gather(*(self._start_chosen(*each) for each in zip(chosen, found, strict=True)))
        reasons = board.new_reasons(REASONS_PER_PASS)
        if reasons:
            await runs.database.write(lambda tx: store.note_reasons(tx, reasons))

    async def watch_once(self) -> None:
        """Look at everything that runs, once."""
        running = await self._runs.database.read(store.running)
        await asyncio.gather(
            *(self._guard(run, self._look(run)) for run in running if run.handle and run.id not in self._starting)
        )
        self._forget_ends({run.handle for run in running})

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
                async with asyncio.timeout(WATCH_S if self._ends else IDLE_S):
                    await self._ended.wait()

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

    async def _start_chosen(self, chosen: tuple[str, str], run: Run | None) -> None:
        """Start a run; what could not be started does not hold its place."""
        board = self._runs.board
        try:
            going = await self._start(run) if run is not None else None
        except Exception as wrong:
            _logger.exception("run %s: %s", chosen[1], wrong)
            going = None
        if going is None:
            await board.take_back(*chosen)
        else:
            board.started(going)

    async def _start(self, run: Run) -> Run | None:
        """Commit that it starts, then start it; None if it is not to be started any more."""
        handle = self._engine.handle(run.id, run.attempt)
        machine = await asyncio.to_thread(self._engine.describe)
        self._starting.add(run.id)
        try:

            def begin(tx: Tx) -> Run | None:
                now = RUNS.find(tx.connection, run.project, run.id)
                if now is None or now.state is not RunState.QUEUED or now.attempt != run.attempt:
                    return None  # somebody cancelled it, or another control plane was first
                known = msgspec.structs.asdict(now.provenance)
                facts = {"python": machine.python, "machine": machine.machine, "environment": machine.environment}
                provenance = msgspec.structs.replace(
                    now.provenance, **{name: known[name] or fact for name, fact in facts.items()}
                )
                going = rules.started(now, handle, machine.host, tx.now_us)
                self._link(tx, going)
                tx.emit("run.started", run.project, run.id, PLATFORM.id, **store.facts(run), attempt=run.attempt)
                return RUNS.replace(tx, msgspec.structs.replace(going, provenance=provenance))

            going = await self._runs.database.write(begin)
        except BaseException:
            self._starting.discard(run.id)
            raise
        # The next decision need not wait until this one's code is unpacked.
        launch = asyncio.create_task(self._guard(run, self._launch_started(run.id, going)))
        self._launches.add(launch)
        launch.add_done_callback(self._launches.discard)
        return going

    async def _launch_started(self, run_id: str, going: Run | None) -> None:
        try:
            if going is not None:
                async with self._start_slots:
                    await self._launch(going)
        finally:
            self._starting.discard(run_id)
            self._ended.set()

    def _link(self, tx: Tx, run: Run) -> None:
        """Lineage: the run was made from its code and its inputs."""
        own = str(Address(project=run.project, kind="runs", name=run.id))
        if run.spec.code:
            add_edge(tx, run.project, str(Address(project=run.project, kind="code", name=run.spec.code)), own, "ran")
        for source in run.spec.inputs:
            add_edge(tx, run.project, source, own, "read")

    async def _launch(self, run: Run) -> None:
        """Let the engine start it; that it could not is how the attempt ended."""
        runs = self._runs
        try:
            token = await runs.governance.job_token(run.id, run.project, token_seconds(run))
            spec = start_spec(run, token, runs.settings)

            def start() -> None:
                with contextlib.ExitStack() as stack:
                    code = stack.enter_context(runs.blobs.open(run.spec.code)) if run.spec.code else None
                    self._engine.start(spec, code)

            await asyncio.to_thread(start)
        except (SillError, OSError) as wrong:
            _logger.warning("run %s could not be started: %s", run.id, wrong)
            detail = f"it could not be started: {wrong}"
            await self._finish(run, EngineStatus(life=Life.ENDED, cause="engine", detail=detail))

    async def _look(self, run: Run) -> None:
        status = await asyncio.to_thread(self._engine.poll, run.handle)
        if status.life is Life.ABSENT:
            if run.is_stopping:
                await self._finish(run, status)
            else:
                await self._launch(run)  # we were killed between the commit and the start
        elif status.life is Life.ALIVE:
            self._expect_end(run.handle)
            if run.is_stopping:
                await asyncio.to_thread(self._engine.stop, run.handle, STOP_GRACE_S)
        else:
            if status.life is Life.LOST:
                await asyncio.to_thread(self._engine.kill_left, run.handle)
            await self._finish(run, status)

    async def _finish(self, run: Run, status: EngineStatus) -> None:
        """Keep what the attempt left, then write down how it ended: state, use, cost and event in one commit."""
        runs = self._runs
        status = await asyncio.to_thread(self._with_last_line, run, status)
        await self._system.finish(run)
        files, refused = await self._keep_outputs(run)
        usage = Usage(**msgspec.structs.asdict(status.usage))

        def end(tx: Tx) -> None:
            now = RUNS.find(tx.connection, run.project, run.id)
            if now is None or now.state is not RunState.RUNNING or now.attempt != run.attempt:
                return
            for file in files:
                artifact_store.keep(tx, run.project, run.id, file)
            if refused:
                tracking.log(tx, run.project, run.id, Batch(tags={REFUSED_TAG: refused}))
            runs.costs.record(tx, run.project, "run", run.id, usage)
            after = rules.after_attempt(now, status, tx.now_us)
            store.keep_ended(tx, msgspec.structs.replace(after, cost=runs.costs.price(after.usage)), PLATFORM.id)

        await runs.database.write(end)
        await runs.governance.end_job(run.id)
        runs.wake.set()

    def _with_last_line(self, run: Run, status: EngineStatus) -> EngineStatus:
        """A command that failed usually says why in its last line: add it to the reason. The agent's is the reason."""
        if status.cause != "exit" or status.exit_code == 0:
            return status
        try:
            size = self._engine.read_log(run.handle, 0, 0).size_bytes
            tail = self._engine.read_log(run.handle, max(0, size - TAIL_BYTES), TAIL_BYTES).data.decode(
                errors="replace"
            )
        except SillError:
            return status
        lines = [line.strip() for line in tail.splitlines() if line.strip() and not line.startswith("[sill] ")]
        if not lines:
            return status
        last = "".join(letter if letter.isprintable() else " " for letter in lines[-1])
        if not run.spec.command and last.startswith(AGENT_SAYS):
            return msgspec.structs.replace(
                status, detail=shorten(last.removeprefix(AGENT_SAYS), AGENT_REASON_LENGTH_MAX)
            )
        return msgspec.structs.replace(
            status, detail=f"{status.detail} Its last line: {shorten(last, LINE_LENGTH_MAX)}"
        )

    async def _keep_outputs(self, run: Run) -> tuple[list[Artifact], str]:
        """Files in the attempt's `outputs` folder become artifacts; those that are no regular files are listed."""
        found = await asyncio.to_thread(self._engine.outputs, run.handle)
        refused = list(found.refused)
        kept: list[Artifact] = []
        for path in found.files:
            try:
                file = await asyncio.to_thread(self._engine.open_output, run.handle, path)
                digest, size = await self._runs.blobs.put_stream(pieces(file), self._runs.settings.upload_bytes_max)
                kept.append(Artifact(path=path, size_bytes=size, digest=digest))
            except SillError as wrong:
                refused.append(f"{path}: {wrong.message}")
        return kept, "\n".join(refused)[:8_000]

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
