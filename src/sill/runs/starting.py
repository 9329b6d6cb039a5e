"""From what the scheduler chose to attempts that run: one commit for all of them, then the engine starts each.

That a run is to start is committed, with the engine's handle, before it is started, and starting is idempotent by that
handle: whoever finds a handle that was never started starts it.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable

import msgspec

from sill.core.actors import PLATFORM
from sill.core.addresses import Address
from sill.core.errors import SillError
from sill.engines.types import EngineStatus, Life, Machine, Reporting
from sill.governance.lineage import add_edge
from sill.queues.service import version
from sill.runs import rules, store
from sill.runs.decisions import Decision, Stop
from sill.runs.launch import start_spec, token_seconds
from sill.runs.service import Runs
from sill.runs.store import RUNS
from sill.runs.types import SERVE, Run, RunState
from sill.stores.database import Tx

STARTS_AT_ONCE = 4
STARTS_PER_COMMIT = 500
"""So many starts at most share one commit, so that others' writes do not wait long behind it."""

_logger = logging.getLogger("sill.runs")


class Starter:
    """Makes decisions so.

    Args:
        failed: told of an attempt that the engine could not start.
        moved: called when an attempt was started, or could not be.
    """

    def __init__(
        self, runs: Runs, failed: Callable[[Run, EngineStatus], Awaitable[None]], moved: Callable[[], None]
    ) -> None:
        self._runs = runs
        self._engine = runs.engine
        self._failed = failed
        self._moved = moved
        self._slots = asyncio.Semaphore(STARTS_AT_ONCE)
        self._launches: set[asyncio.Task[None]] = set()
        self._owed: list[Stop] = []
        """What is to be stopped and is not written down yet: the scheduler counts on it, so it is tried until it is."""
        self.going: dict[str, Run] = {}
        """Attempts at an engine that tells what ended, by handle."""
        self.starting: set[str] = set()
        """Ids of runs whose start is committed or about to be, and whose attempt the engine has not got yet."""

    def close(self) -> None:
        """Leave what is being started; it is found again."""
        for launch in self._launches:
            launch.cancel()

    async def settled(self) -> None:
        """Return when the engine has got all that was committed."""
        while self._launches:
            await asyncio.gather(*self._launches)

    async def enact(self, decision: Decision) -> None:
        """Start, stop and end what was decided. What could not be started does not hold its place."""
        self._owed += [*decision.stops, *decision.ends]
        if self._owed:
            told = self._owed
            try:
                await self._runs.database.write(lambda tx: _stop_all(tx, told))
            except SillError:
                await self._runs.board.take_back(decision.starts)
                raise
            self._owed = []
        for at in range(0, len(decision.starts), STARTS_PER_COMMIT):
            await self._start_some(decision.starts[at : at + STARTS_PER_COMMIT], decision)

    async def _start_some(self, chosen: list[tuple[str, str]], decision: Decision) -> None:
        board = self._runs.board
        machine = await asyncio.to_thread(self._engine.describe)
        ids = {run_id for _, run_id in chosen}
        self.starting |= ids
        going: list[Run] = []
        try:
            going = await self._runs.database.write(lambda tx: self._begin(tx, chosen, decision, machine))
        except SillError as wrong:
            _logger.exception("%s runs could not be started: %s", len(chosen), wrong)
        finally:
            begun = {run.id for run in going}
            self.starting -= ids - begun
        for run in going:
            board.started(run)
        missed = [each for each in chosen if each[1] not in begun]
        if missed:
            await board.take_back(missed)
        if going:  # the next decision need not wait until this one's code is unpacked
            launch = asyncio.create_task(self._launch_all(going))
            self._launches.add(launch)
            launch.add_done_callback(self._launches.discard)

    def _begin(self, tx: Tx, chosen: list[tuple[str, str]], decision: Decision, machine: Machine) -> list[Run]:
        """Keep that these runs start, if they still wait and the quotas are still those they were chosen under."""
        if version(tx.connection) != decision.version:
            return []
        changes: list[tuple[Run, Run]] = []
        for now in RUNS.find_many(tx.connection, chosen).values():
            if now.state is not RunState.QUEUED:
                continue  # somebody cancelled it, or another control plane was first
            handle, given = self._engine.handle(now.id, now.attempt), decision.given.get(now.id)
            going = rules.started(now, handle, machine.host, tx.now_us, given)
            changes.append((now, msgspec.structs.replace(going, provenance=_known(now, machine))))
            _link(tx, going)
            tx.emit("run.started", now.project, now.id, PLATFORM.id, **store.facts(now), attempt=now.attempt)
        return RUNS.replace_many(tx, changes)

    async def _launch_all(self, going: list[Run]) -> None:
        try:
            if isinstance(self._engine, Reporting):
                await self.launch_many(self._engine, going)
            else:
                await asyncio.gather(*(self._launch_in_turn(run) for run in going))
        finally:
            self.starting -= {run.id for run in going}
            self._moved()

    async def launch_many(self, engine: Reporting, going: list[Run]) -> None:
        """Let an engine that tells what ended start these."""
        self.going |= {run.handle: run for run in going}
        specs = [start_spec(run, "", self._runs.settings) for run in going]
        try:
            await asyncio.to_thread(engine.start_many, specs)
        except (SillError, OSError) as wrong:  # each is started by itself when it is looked at next
            _logger.warning("%s runs could not be started together: %s", len(going), wrong)

    async def _launch_in_turn(self, run: Run) -> None:
        try:
            async with self._slots:
                await self.launch(run)
        except Exception as wrong:
            _logger.exception("run %s: %s", run.id, wrong)
        finally:
            self.starting.discard(run.id)
            self._moved()

    async def launch(self, run: Run) -> None:
        """Let the engine start it; that it could not is how the attempt ended."""
        runs = self._runs
        try:
            if run.kind == SERVE:
                token = await runs.governance.replica_token(run.id, token_seconds(run))
            else:
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
            await self._failed(run, EngineStatus(life=Life.ENDED, cause="engine", detail=detail))


def _stop_all(tx: Tx, told: list[Stop]) -> None:
    """Keep that these are to stop; one that is over by now, or waits again, is left as it is."""
    for each in told:
        run = RUNS.find(tx.connection, each.project, each.run_id)
        if run is None or run.state.is_final or run.is_stopping or run.put_off_us:
            continue
        if each.is_end:
            store.cancel(tx, run, each.reason, PLATFORM.id)
        elif run.state is RunState.RUNNING:
            tx.emit("run.stopping", run.project, run.id, PLATFORM.id, **store.facts(run), reason=each.reason)
            RUNS.replace(tx, rules.put_off(run, each.until_us, each.reason))


def _known(run: Run, machine: Machine) -> object:
    """The run's provenance, with what the machine knows where the run said nothing."""
    known = msgspec.structs.asdict(run.provenance)
    facts = {"python": machine.python, "machine": machine.machine, "environment": machine.environment}
    return msgspec.structs.replace(run.provenance, **{name: known[name] or fact for name, fact in facts.items()})


def _link(tx: Tx, run: Run) -> None:
    """Lineage: the run was made from its code and its inputs."""
    if not run.spec.code and not run.spec.inputs:
        return
    own = str(Address(project=run.project, kind="runs", name=run.id))
    if run.spec.code:
        add_edge(tx, run.project, str(Address(project=run.project, kind="code", name=run.spec.code)), own, "ran")
    for source in run.spec.inputs:
        add_edge(tx, run.project, source, own, "read")
