"""How an attempt ended, written down: what it left is kept first, then state, use, cost and event in one commit."""

import asyncio
import logging
from collections.abc import Sequence

import msgspec

from sill.core.actors import PLATFORM
from sill.core.errors import SillError
from sill.core.names import shorten
from sill.core.values import Value
from sill.costs.rules import add
from sill.costs.types import Cost
from sill.engines.types import EngineStatus, Reporting
from sill.runs import rules, store
from sill.runs.sampling import SystemMetrics
from sill.runs.service import Runs
from sill.runs.store import RUNS
from sill.runs.tracking import artifact_store
from sill.runs.tracking import store as tracking
from sill.runs.tracking.artifacts import pieces
from sill.runs.types import Artifact, Batch, Run, RunState
from sill.stores.database import Tx

TAIL_BYTES = 4_096
LINE_LENGTH_MAX = 400
AGENT_SAYS = "error: "
"""What the last line of a platform kind's run that failed begins with."""
AGENT_REASON_LENGTH_MAX = 1_000
REFUSED_TAG = "sill.outputs.refused"
ENDS_PER_COMMIT = 500

_logger = logging.getLogger("sill.runs")


class End(Value, frozen=True):
    """An attempt that is over: how, and what it left."""

    run: Run
    status: EngineStatus
    files: tuple[Artifact, ...] = ()
    refused: str = ""


class Finisher:
    """Writes down ends, of one attempt or of many."""

    def __init__(self, runs: Runs, system: SystemMetrics) -> None:
        self._runs = runs
        self._engine = runs.engine
        self._system = system

    async def finish(self, run: Run, status: EngineStatus) -> None:
        """Keep what one attempt left, then how it ended."""
        status = await asyncio.to_thread(self._with_last_line, run, status)
        await self._system.finish(run)
        files, refused = await self._keep_outputs(run)
        await self._runs.database.write(lambda tx: self._end_all(tx, [End(run, status, tuple(files), refused)]))
        await self._runs.governance.end_job(run.id)
        self._runs.wake.set()

    async def finish_many(self, ends: Sequence[tuple[Run, EngineStatus]]) -> None:
        """The same for attempts at an engine that leaves nothing here: no output, files or gauges."""
        assert isinstance(self._engine, Reporting)
        every = [End(run, status) for run, status in ends]
        for at in range(0, len(every), ENDS_PER_COMMIT):
            some = every[at : at + ENDS_PER_COMMIT]
            await self._runs.database.write(lambda tx: self._end_all(tx, some))  # noqa: B023
            self._runs.wake.set()

    def _end_all(self, tx: Tx, ends: Sequence[End]) -> None:
        found = RUNS.find_many(tx.connection, [(end.run.project, end.run.id) for end in ends])
        over: list[tuple[Run, Run]] = []
        uses = []
        for end in ends:
            now = found.pop((end.run.project, end.run.id), None)
            if now is None or now.state is not RunState.RUNNING or now.attempt != end.run.attempt:
                continue  # somebody else wrote it down, or it comes twice
            for file in end.files:
                artifact_store.keep(tx, now.project, now.id, file)
            if end.refused:
                tracking.log(tx, now.project, now.id, Batch(tags={REFUSED_TAG: end.refused}))
            uses.append((now.project, "run", now.id, rules.used(now, end.status)))
            over.append((now, rules.after_attempt(now, end.status, tx.now_us)))
        costs = self._runs.costs.record_many(tx, uses)
        changes = [(now, _with_cost(after, cost)) for (now, after), cost in zip(over, costs, strict=True)]
        store.keep_all_ended(tx, changes, PLATFORM.id)

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


def _with_cost(run: Run, cost: Cost) -> Run:
    """The run, with what one more attempt came to."""
    return msgspec.structs.replace(run, cost=cost if run.cost is None else add((run.cost, cost)))
