"""Use cases of runs: submit, look, cancel, retry, explain, read output. Starting them is `workers`', deleting `retention`'s."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec
from sqlalchemy import Connection

from sill.core.actors import Actor
from sill.core.addresses import Address
from sill.core.clock import Clock, Ids, iso
from sill.core.errors import Conflict, InvalidValue, Limited, NotFound
from sill.core.names import check_id
from sill.core.settings import Settings
from sill.costs.types import Cost, Usage
from sill.engines.types import Engine, Life
from sill.governance.lineage import add_edge
from sill.governance.rules import require
from sill.runs import board, logs, rules, spending, store
from sill.runs.code import CODE_BYTES_MAX, check_code
from sill.runs.experiments.store import find_by_name
from sill.runs.prices import PriceBook
from sill.runs.store import RUNS
from sill.runs.tracking import rules as tracking_rules
from sill.runs.tracking import store as tracking
from sill.runs.types import (
    CodeUpload,
    InlineRun,
    LogChunk,
    Provenance,
    Reason,
    Run,
    RunSpec,
    RunState,
    RunUpdate,
    View,
)
from sill.stores.blobs.port import Blobs
from sill.stores.database import Database, Page, Tx
from sill.stores.log import Log

REASON_LENGTH_MAX = 10_000
RUNS_AT_ONCE_MAX = 1_000
WAITING_MAX = 100_000
"""So many runs wait at most, of all projects."""
PROVENANCE_LENGTH_MAX = 1_000_000


STARTING_US_MAX = 10_000_000
"""A run whose start was committed this short a time ago may not be there yet; that is no loss."""


class JobTokens(Protocol):
    """What runs need of governance."""

    async def job_token(self, run_id: str, project: str, seconds: float) -> str: ...

    async def replica_token(self, run_id: str, seconds: float) -> str: ...

    async def end_job(self, run_id: str) -> None: ...


class Meters(spending.Meters, Protocol):
    """What runs need of costs."""

    def record_many(self, tx: Tx, uses: Sequence[tuple[str, str, str, Usage]]) -> list[Cost]: ...


class Runs:
    """Runs of all projects. The workers share what is public here.

    Attributes:
        wake: set when there is something for the workers to look at.
    """

    def __init__(
        self,
        database: Database,
        log: Log,
        blobs: Blobs,
        clock: Clock,
        ids: Ids,
        engine: Engine,
        costs: Meters,
        governance: JobTokens,
        settings: Settings,
    ) -> None:
        self.database = database
        self.blobs = blobs
        self.clock = clock
        self.engine = engine
        self.costs = costs
        self.governance = governance
        self.settings = settings
        self.wake = asyncio.Event()
        self._log = log
        self._ids = ids
        prices = PriceBook(Path(settings.energy_series), settings.carbon_usd_per_kg) if settings.energy_series else None
        self.board = board.Board(
            database,
            clock,
            engine.capacity(),
            costs,
            policy=settings.scheduler_policy,
            prices=prices,
            shadow_policy=settings.shadow_policy,
        )

    async def submit(self, actor: Actor, project: str, spec: RunSpec, key: str = "") -> Run:
        """Queue a run.

        Raises:
            InvalidValue: a field is outside what is allowed.
            Refused: it asks for more than there is in all; it could never start.
            NotFound: its code, its parent or an input is not there.
        """
        await self._check(actor, project, (spec,))
        run_id = self._ids.new("run")
        run = await self.database.write_once(
            key, [project, spec], Run, lambda tx: store.submit(tx, actor.id, project, run_id, spec)
        )
        self.wake.set()
        return run

    async def submit_many(self, actor: Actor, project: str, specs: Sequence[RunSpec], key: str = "") -> tuple[Run, ...]:
        """Queue several runs in one commit: all of them or none.

        Raises:
            InvalidValue: there are too many, or a field is outside what is allowed.
            Limited: too many wait already.
            Refused: one asks for more than there is in all, or than its queue may ever hold; it could never start.
            NotFound: the code, the parent or an input of one is not there.
        """
        await self._check(actor, project, specs)
        wanted = [(self._ids.new("run"), spec) for spec in specs]

        def work(tx: Tx) -> tuple[Run, ...]:
            return tuple(store.submit_many(tx, actor.id, project, wanted))

        runs = await self.database.write_once(key, [project, specs], tuple[Run, ...], work)
        self.wake.set()
        return runs

    async def run(self, actor: Actor, project: str, run_id: str) -> Run:
        """One run."""
        require(actor, "runs:read", project)
        return await self._look(project, run_id)

    async def runs(
        self,
        actor: Actor,
        project: str,
        *,
        after: str = "",
        limit: int = 100,
        state: str = "",
        experiment: str = "",
        kind: str = "",
        parent_id: str = "",
        view: View = View.ACTIVE,
    ) -> Page[Run]:
        """Runs, the newest first; only those that match what is given. `experiment` is a name."""
        require(actor, "runs:read", project)
        if state and state not in tuple(RunState):
            raise InvalidValue(f"state {state!r} is not one of {', '.join(RunState)}.", field="state")
        given = {"state": state, "kind": kind, "parent_id": parent_id}
        where: dict[str, Any] = {name: value for name, value in given.items() if value}
        where["lifecycle"] = view.lifecycles

        def work(connection: Connection) -> Page[Run]:
            if experiment:
                found = find_by_name(connection, project, experiment)
                if found is None:
                    return Page(items=())
                where["experiment_id"] = found.id
            return RUNS.page(connection, project, after=after, limit=limit, descending=True, **where)

        return await self.database.read(work)

    async def cancel(self, actor: Actor, project: str, run_id: str) -> Run:
        """End a run: one that waits is over at once, one that runs is asked to end and then killed. Runs under it too.

        Raises:
            Conflict: it is over already.
        """
        require(actor, "runs:write", project)

        def work(tx: Tx) -> Run:
            every = store.tree(tx.connection, project, check_id(run_id))
            for child in every[1:]:
                now = RUNS.get(tx.connection, project, child.id)
                if not now.state.is_final and not now.is_stopping:
                    store.cancel(tx, now, f"{actor.id} with its parent", actor.id)
            return store.cancel(tx, RUNS.get(tx.connection, project, run_id), actor.id, actor.id)

        run = await self.database.write(work)
        self.wake.set()
        return run

    async def retry(self, actor: Actor, project: str, run_id: str, key: str = "") -> Run:
        """Submit the same again, as a new run.

        Raises:
            Conflict: it is not over yet.
        """
        run = await self.run(actor, project, run_id)
        if not run.state.is_final:
            raise Conflict(f"run {run_id} is {run.state}; only one that is over can be tried again.", fix="Cancel it.")
        return await self.submit(actor, project, run.spec, key=key)

    async def why(self, actor: Actor, project: str, run_id: str) -> Reason:
        """Why a run waits, failed or was cancelled; for one that waits, as of now."""
        run = await self.run(actor, project, run_id)
        text = run.reason
        if run.state is RunState.QUEUED:
            await self.board.refresh()
            found = self.board.why(run_id) or "it is about to start"
            failed = run.reason if run.attempt > 1 and run.not_before_us else ""
            text = f"{failed} {found}".strip()
        elif run.state is RunState.RUNNING and not text:
            text = f"it runs on {run.host} since {iso(run.started_us)}, attempt {run.attempt} of {run.spec.retries + 1}"
        elif run.state is RunState.FINISHED:
            text = "it finished"
        return Reason(run_id=run_id, state=run.state, text=text)

    async def logs(self, actor: Actor, project: str, run_id: str, offset: int = 0, wait_s: float = 0.0) -> LogChunk:
        """Output from `offset` bytes on; waits up to `wait_s` for more if there is none."""
        require(actor, "runs:read", project)
        if offset < 0 or not 0 <= wait_s <= logs.WAIT_S_MAX:
            raise InvalidValue(
                f"offset {offset} or wait_s {wait_s} is outside 0 and 0 to {logs.WAIT_S_MAX:g}.", field="offset"
            )

        async def look() -> Run:
            return await self._look(project, run_id)

        deadline_s = self.clock.monotonic_s() + wait_s
        while True:
            chunk = await logs.read(self.engine, look, offset)
            left_s = deadline_s - self.clock.monotonic_s()
            if chunk.text or chunk.is_end or left_s <= 0 or self._log.is_closing:
                return chunk
            await self._log.wait(min(logs.POLL_S, left_s))

    async def count(self, actor: Actor, project: str, state: RunState) -> int:
        """How many runs of the project are in a state."""
        require(actor, "runs:read", project)
        return await self.database.read(lambda connection: RUNS.count(connection, project, state=state))

    async def lost(self) -> list[str]:
        """Ids of runs that are said to run and do not. For `sill doctor`; the watcher clears them within a second."""
        running = await self.database.read(store.running)
        since_us = self.clock.now_us() - STARTING_US_MAX

        def look() -> list[str]:
            gone = (Life.LOST, Life.ABSENT)
            settled = [run for run in running if run.handle and run.started_us < since_us]
            return [run.id for run in settled if self.engine.poll(run.handle).life in gone]

        return await asyncio.to_thread(look)

    async def record_inline(self, actor: Actor, project: str, inline: InlineRun, key: str = "") -> Run:
        """Keep a run that was executed inside its parent's process. Its use is metered with its parent."""
        require(actor, "runs:write", project)
        rules.check_spec(inline.spec, project)
        tracking_rules.check_batch(inline.batch)
        if len(inline.reason) > REASON_LENGTH_MAX:
            raise InvalidValue(f"the reason is longer than {REASON_LENGTH_MAX:,} characters.", field="reason")
        if not inline.state.is_final or not 0 <= inline.started_us <= inline.ended_us:
            raise InvalidValue("an inline run is over, and ended after it started.", field="state")
        run_id = self._ids.new("run")

        def work(tx: Tx) -> Run:
            fresh = store.new_run(tx, actor.id, project, run_id, inline.spec)
            rules.check_own(actor, fresh)
            times = {"started_us": inline.started_us, "ended_us": inline.ended_us}
            run = RUNS.create(
                tx, msgspec.structs.replace(fresh, state=inline.state, reason=inline.reason, handle="inline", **times)
            )
            tracking.log(tx, project, run_id, msgspec.structs.replace(inline.batch, params={}, tags={}))
            texts = {"params": inline.spec.params | inline.batch.params, "tags": inline.spec.tags | inline.batch.tags}
            tracking.log(tx, project, run_id, msgspec.structs.replace(inline.batch, metrics=(), **texts))
            tx.emit(f"run.{run.state}", project, run_id, actor.id, **store.facts(run), reason=run.reason)
            return run

        return await self.database.write_once(key, [project, inline], Run, work)

    async def update(self, actor: Actor, project: str, run_id: str, update: RunUpdate) -> Run:
        """Keep what the run's own process says of itself: provenance, what it read and what it made."""
        require(actor, "runs:write", project)

        def work(tx: Tx) -> Run:
            run = store.check_exists(tx.connection, project, check_id(run_id))
            rules.check_own(actor, run)
            own = str(Address(project=project, kind="runs", name=run_id))
            inputs = _joined(run.spec.inputs, update.inputs, "inputs", project)
            outputs = _joined(run.outputs, update.outputs, "outputs", project)
            for address in set(inputs) - set(run.spec.inputs):
                add_edge(tx, project, address, own, "read")
            for address in set(outputs) - set(run.outputs):
                add_edge(tx, project, own, address, "made")
            tx.emit("run.updated", project, run_id, actor.id, outputs=len(outputs), inputs=len(inputs))
            spec = msgspec.structs.replace(run.spec, inputs=inputs)
            provenance = _merged(run.provenance, update.provenance)
            return RUNS.replace(tx, msgspec.structs.replace(run, spec=spec, outputs=outputs, provenance=provenance))

        return await self.database.write(work)

    async def upload_code(self, actor: Actor, project: str, body: AsyncIterator[bytes]) -> CodeUpload:
        """Take a code archive (zip), checked by unpacking it once.

        Raises:
            TooLarge: more than 64 MiB, or it unpacks to too much.
            UnsupportedType, Refused: no zip, damaged, or with links.
        """
        require(actor, "runs:write", project)
        digest, _ = await self.blobs.put_stream(body, CODE_BYTES_MAX)
        return await asyncio.to_thread(check_code, self.blobs, digest)

    async def _check(self, actor: Actor, project: str, specs: Sequence[RunSpec]) -> None:
        """Refuse what may not wait: see `submit_many`."""
        require(actor, "runs:write", project)
        if not 1 <= len(specs) <= RUNS_AT_ONCE_MAX:
            raise InvalidValue(f"{len(specs)} runs at once; 1 to {RUNS_AT_ONCE_MAX:,} may be.", field="runs")
        if self.board.waiting + len(specs) > WAITING_MAX:
            raise Limited(
                f"{self.board.waiting} runs wait already; at most {WAITING_MAX} may.",
                fix="Submit more when some are done.",
            )
        for spec in {id(spec): spec for spec in specs}.values():  # the same one is often submitted many times
            rules.check_spec(spec, project)
            rules.check_actor(actor, spec)
            rules.check_work(spec)
            await self.board.check_possible(project, spec)
        for code in {spec.code for spec in specs if spec.code}:
            if not await asyncio.to_thread(self.blobs.exists, code):
                raise NotFound(f"no code {code}.", fix="Upload the archive first.", field="code")

    async def _look(self, project: str, run_id: str) -> Run:
        check_id(run_id)

        def work(connection: Connection) -> Run:
            return store.check_exists(connection, project, run_id)

        return await self.database.read(work)


def _joined(known: tuple[str, ...], more: tuple[str, ...], field: str, project: str) -> tuple[str, ...]:
    """Both, each once, checked."""
    every = tuple(dict.fromkeys(known + more))
    rules.check_addresses(every, field, project)
    return every


def _merged(known: Provenance, told: Provenance | None) -> Provenance:
    """What is told, where something is; what was known otherwise."""
    if told is None:
        return known
    fresh = {name: value for name, value in msgspec.structs.asdict(told).items() if value not in ("", None)}
    for name, value in fresh.items():
        if isinstance(value, str) and len(value) > PROVENANCE_LENGTH_MAX:
            raise InvalidValue(
                f"{name} is longer than {PROVENANCE_LENGTH_MAX:,} characters.", field=f"provenance.{name}"
            )
    return msgspec.structs.replace(known, **fresh)
