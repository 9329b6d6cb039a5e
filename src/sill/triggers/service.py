"""Triggers: declared, listed, fired. Starting what they name is one place for hand, schedule and event alike."""

import msgspec

from sill.core.actors import PLATFORM, Actor
from sill.core.clock import Clock
from sill.core.errors import InvalidValue, SillError
from sill.core.events import Event
from sill.core.names import shorten
from sill.core.schedules import next_due_us
from sill.governance.rules import require
from sill.runs.pipelines.service import Pipelines
from sill.runs.service import Runs
from sill.runs.training.service import Trainings
from sill.runs.types import Resources, Run, RunSpec
from sill.sources.service import Sources
from sill.stores.database import Database, Documents, Tx
from sill.triggers.rules import INCIDENT_KINDS, STARTABLE, check_trigger, decide, fired
from sill.triggers.types import TriggerKind, TriggerSpec, TriggerState

TRIGGERS: Documents[TriggerState] = Documents("triggers", TriggerState)
REASON_LENGTH_MAX = 1_000
INGEST_RESOURCES = Resources(cpus=0.5, memory_bytes=512 * 1024**2)


class Triggers:
    """Declares triggers and starts what they name."""

    def __init__(
        self, database: Database, clock: Clock, sources: Sources, runs: Runs, trainings: Trainings, pipelines: Pipelines
    ) -> None:
        self._database = database
        self._clock = clock
        self._sources = sources
        self._runs = runs
        self._trainings = trainings
        self._pipelines = pipelines

    async def declare(self, actor: Actor, spec: TriggerSpec) -> TriggerState:
        """Keep a trigger; one of the same name is replaced and keeps its history.

        Raises:
            InvalidValue: it could never fire.
        """
        require(actor, "triggers:write", spec.project)
        check_trigger(spec)

        def keep(tx: Tx) -> TriggerState:
            former = TRIGGERS.find(tx.connection, spec.project, spec.name)
            state = former or TriggerState(project=spec.project, name=spec.name, spec=spec)
            due = next_due_us(spec.schedule, tx.now_us) if spec.on is TriggerKind.SCHEDULE else 0
            state = TRIGGERS.put(tx, msgspec.structs.replace(state, spec=spec, next_due_us=due))
            tx.emit("trigger.declared", spec.project, spec.name, actor.id, on=spec.on.value, start=spec.start)
            return state

        return await self._database.write(keep)

    async def trigger(self, actor: Actor, project: str, name: str) -> TriggerState:
        """One trigger as it stands."""
        require(actor, "triggers:read", project)
        return await self._database.read(lambda connection: TRIGGERS.get(connection, project, name))

    async def triggers(self, actor: Actor, project: str) -> tuple[TriggerState, ...]:
        """All triggers of a project."""
        require(actor, "triggers:read", project)
        return tuple(await self._database.read(lambda connection: TRIGGERS.every(connection, project)))

    async def delete(self, actor: Actor, project: str, name: str) -> None:
        """Forget a trigger; what it started goes on."""
        require(actor, "triggers:write", project)

        def remove(tx: Tx) -> None:
            TRIGGERS.delete(tx, project, name)
            tx.emit("trigger.deleted", project, name, actor.id)

        await self._database.write(remove)

    async def fire(self, actor: Actor, project: str, name: str, reason: str = "by hand", key: str = "") -> Run:
        """Start now what the trigger names, whatever it waits for; at most once for a key."""
        require(actor, "triggers:write", project)
        state = await self.trigger(actor, project, name)
        if key:  # the count of starts it was asked at stays with the key, and the run's own key is derived from it

            def count(tx: Tx) -> int:
                return TRIGGERS.get(tx.connection, project, name).fired

            before = await self._database.write_once(f"{key}/count", [project, name], int, count)
            state = msgspec.structs.replace(state, fired=before)
        return await self._fire(state, actor, reason)

    async def start(self, actor: Actor, project: str, kind: str, name: str, *, reason: str = "", key: str = "") -> Run:
        """Start a training, an ingestion or a pipeline of the project.

        Args:
            kind: `training`, `ingestion` or `pipeline`.
        """
        if len(reason) > REASON_LENGTH_MAX:
            raise InvalidValue(f"the reason is longer than {REASON_LENGTH_MAX:,} characters.", field="reason")
        if kind not in STARTABLE:
            raise InvalidValue(f"{shorten(kind)!r} cannot be started; {', '.join(STARTABLE)} can.", field="kind")
        if kind == "training":
            return await self._trainings.start(actor, project, name, reason=reason, key=key)
        if kind == "pipeline":
            return await self._pipelines.start(actor, project, name, key=key)
        ingestion = await self._sources.ingestion(actor, project, name)
        spec = RunSpec(
            name=name,
            kind="ingest",
            code=ingestion.code,
            task={"ingestion": msgspec.to_builtins(ingestion)},
            tags={"sill.reason": reason} if reason else {},
            resources=INGEST_RESOURCES,
            retries=2,
            timeout_s=3600,
        )
        return await self._runs.submit(actor, project, spec, key=key)

    async def observe(self, event: Event) -> None:
        """Note an event on every trigger that waits for it, then fire those that are ready. Stands a repeat."""

        def note(tx: Tx) -> None:
            for state in TRIGGERS.every(tx.connection, event.project):
                seen = _noted(state, event)
                if seen != state:
                    TRIGGERS.replace(tx, seen)

        await self._database.write(note)
        await self.fire_due(event.project)

    async def fire_due(self, project: str = "") -> None:
        """Fire every trigger that is ready, and keep the reason of every one that is not."""
        states = await self._database.read(lambda connection: TRIGGERS.every(connection, project))
        for state in states:
            decision = decide(state, self._clock.now_us())
            reason = decision.reason
            if decision.fires:
                try:
                    await self._fire(state, PLATFORM, reason)
                    continue
                except SillError as refused:  # kept on the trigger; the others have their turn, and it is tried again
                    reason = f"{reason}; it could not start: {refused}"
            if reason != state.reason:
                await self._remember(state, reason)

    async def _fire(self, state: TriggerState, actor: Actor, reason: str) -> Run:
        # The key is derived from the count of starts: after a crash between start and note, the repeat starts nothing new.
        key = f"trigger/{state.project}/{state.name}/{state.fired + 1}"
        spec = state.spec
        run = await self.start(actor, state.project, spec.start_kind, spec.start, reason=reason, key=key)

        def note(tx: Tx) -> None:
            current = TRIGGERS.get(tx.connection, state.project, state.name)
            if current.fired == state.fired:
                TRIGGERS.replace(tx, fired(current, run.id, reason, tx.now_us))
                tx.emit("trigger.fired", state.project, state.name, actor.id, run=run.id, reason=reason)

        await self._database.write(note)
        return run

    async def _remember(self, state: TriggerState, reason: str) -> None:
        def keep(tx: Tx) -> None:
            current = TRIGGERS.find(tx.connection, state.project, state.name)
            if current is not None:
                TRIGGERS.replace(tx, msgspec.structs.replace(current, reason=reason))

        await self._database.write(keep)


def _noted(state: TriggerState, event: Event) -> TriggerState:
    """The trigger's state after an event: what it waited for has happened, or more rows or labels have arrived."""
    spec = state.spec
    if event.seq <= state.seen_seq:
        return state
    source = str(event.data.get("endpoint") or event.subject)
    if source != spec.source:
        return state
    changes: dict[str, object] = {}
    if spec.on is TriggerKind.TABLE and event.kind == "table.appended":
        rows = int(event.data.get("rows", 0))
        changes = {"pending_since_us": state.pending_since_us or event.at_us, "rows_seen": state.rows_seen + rows}
    elif event.kind == "incident.opened" and event.data.get("kind") in INCIDENT_KINDS.get(spec.on, ()):
        changes = {"pending_since_us": event.at_us, "last_incident_id": event.subject, "rows_seen": 0}
    elif event.kind == "incident.closed" and event.subject == state.last_incident_id:
        changes = {"pending_since_us": 0}
    elif event.kind == "labels.added" and spec.on in INCIDENT_KINDS:
        changes = {"rows_seen": state.rows_seen + int(event.data.get("joined", 0))}
    return msgspec.structs.replace(state, seen_seq=event.seq, **changes) if changes else state
