"""Monitors: declared, shown, and brought up to date with the traffic of their endpoint."""

import asyncio
from typing import Any, Protocol

from msgspec.structs import replace

from sill.core.actors import PLATFORM, Actor
from sill.core.clock import Ids
from sill.core.errors import Conflict, InvalidValue, NotFound
from sill.endpoints.service import Endpoints
from sill.endpoints.types import Endpoint
from sill.governance.rules import require
from sill.models.service import Models
from sill.monitors import incidents
from sill.monitors.observing import Found, fold, step, switch
from sill.monitors.rules import Verdict, advance_labels, check_spec, judge_quality, judge_slo
from sill.monitors.sketches import read_reference
from sill.monitors.store import (
    INCIDENTS,
    MONITORS,
    REFERENCES,
    STATES,
    WINDOWS,
    forget_endpoint,
    forget_windows,
    newest_window,
)
from sill.monitors.types import (
    Incident,
    IncidentKind,
    MonitorSpec,
    MonitorState,
    MonitorStatus,
    Reference,
    Window,
)
from sill.safety.outbound import Outbound
from sill.stores.database import Connection, Database, Page, Tx
from sill.traffic.types import RequestRow
from sill.webhooks.service import Deliveries, forget_owner

ROWS_MAX = 1_000
"""Rows read at once; a monitor that is behind reads again."""
REFERENCES_CACHED_MAX = 100
REFERENCE_FILE = "reference.parquet"


class Traffic(Protocol):
    """What a monitor reads of an endpoint's traffic."""

    async def rows_after(self, project: str, endpoint: str, after_seq: int, limit: int) -> tuple[list[RequestRow], int]:
        """Durable rows behind a place, in order, and the place behind the last of them."""
        ...

    async def quality_since(self, project: str, endpoint: str, number: int) -> tuple[int, int]:
        """Labelled and correct answers of a revision since it went live."""
        ...


class Secrets(Protocol):
    """Where a webhook's secret comes from."""

    async def secret(self, actor: Actor, project: str, name: str) -> str:
        """The secret's value; for the platform only."""
        ...


class Monitors:
    """Monitors of all projects."""

    def __init__(
        self,
        database: Database,
        traffic: Traffic,
        endpoints: Endpoints,
        models: Models,
        outbound: Outbound,
        secrets: Secrets,
        ids: Ids,
        deliveries: Deliveries,
    ) -> None:
        self._database = database
        self._traffic = traffic
        self._endpoints = endpoints
        self._models = models
        self._outbound = outbound
        self._ids = ids
        self._references: dict[tuple[str, str], Reference] = {}
        self.deliveries = deliveries
        deliveries.on_kind(incidents.KIND, incidents.IncidentSender(database, secrets))

    async def declare(self, actor: Actor, spec: MonitorSpec, key: str = "") -> MonitorSpec:
        """Declare a monitor, or change it.

        Raises:
            InvalidValue: the declaration cannot be meant.
            Forbidden: its webhook goes to an address that may not be called.
            NotFound: there is no such endpoint.
            Conflict: another monitor watches the endpoint.
        """
        require(actor, "monitors:write", spec.project)
        check_spec(spec)
        if spec.webhook:
            await incidents.check_webhook(self._outbound, spec.webhook)
        await self._endpoints.endpoint(PLATFORM, spec.project, spec.endpoint)

        def keep(tx: Tx) -> MonitorSpec:
            for other in MONITORS.every(tx.connection, spec.project, endpoint=spec.endpoint):
                if other.name != spec.name:
                    raise Conflict(
                        f"monitor {other.name!r} watches endpoint {spec.endpoint!r} already.", fix="Change that one."
                    )
            found = MONITORS.find(tx.connection, spec.project, spec.name)
            if found is not None and replace(found, revision=0) == replace(spec, revision=0):
                return found
            if found is not None and found.endpoint != spec.endpoint:
                raise Conflict(
                    f"monitor {spec.name!r} watches endpoint {found.endpoint!r}; it cannot change to another.",
                    fix="Delete it first, or declare it under another name.",
                )
            if found is None:
                STATES.put(tx, MonitorState(project=spec.project, name=spec.name, endpoint=spec.endpoint))
            tx.emit("monitor.declared", spec.project, spec.name, actor.id, endpoint=spec.endpoint)
            return MONITORS.put(tx, spec)

        return await self._database.write_once(key, spec, MonitorSpec, keep)

    async def delete(self, actor: Actor, project: str, name: str) -> None:
        """Watch no more. Open incidents are closed; with the monitor go its windows and incidents."""
        require(actor, "monitors:write", project)

        def remove(tx: Tx) -> None:
            spec = MONITORS.get(tx.connection, project, name)
            incidents.close_all(tx, project, spec.endpoint, tuple(IncidentKind), "the monitor was deleted")
            forget_endpoint(tx, project, spec.endpoint)
            forget_owner(tx, project, incidents.KIND, name)
            MONITORS.delete(tx, project, name)
            STATES.delete(tx, project, name)
            if REFERENCES.find(tx.connection, project, name) is not None:
                REFERENCES.delete(tx, project, name)
            tx.emit("monitor.deleted", project, name, actor.id, endpoint=spec.endpoint)

        await self._database.write(remove)

    async def status(self, actor: Actor, project: str, name: str) -> MonitorStatus:
        """A monitor as it stands."""
        require(actor, "monitors:read", project)
        return await self._database.read(
            lambda connection: _status(connection, MONITORS.get(connection, project, name))
        )

    async def monitors(self, actor: Actor, project: str) -> tuple[MonitorStatus, ...]:
        """All monitors of a project as they stand."""
        require(actor, "monitors:read", project)
        return await self._database.read(
            lambda connection: tuple(_status(connection, spec) for spec in MONITORS.every(connection, project))
        )

    async def windows(
        self, actor: Actor, project: str, name: str, *, after: str = "", limit: int = 100
    ) -> Page[Window]:
        """Windows of a monitor's endpoint, newest first."""
        require(actor, "monitors:read", project)

        def page(connection: Connection) -> Page[Window]:
            endpoint = MONITORS.get(connection, project, name).endpoint
            return WINDOWS.page(connection, project, after=after, limit=limit, descending=True, endpoint=endpoint)

        return await self._database.read(page)

    async def incidents(
        self, actor: Actor, project: str, *, is_open: bool | None = None, after: str = "", limit: int = 100
    ) -> Page[Incident]:
        """Incidents of a project, newest first."""
        require(actor, "monitors:read", project)
        where: dict[str, Any] = {} if is_open is None else {"open_flag": int(is_open)}
        return await self._database.read(
            lambda connection: INCIDENTS.page(connection, project, after=after, limit=limit, descending=True, **where)
        )

    async def incident(self, actor: Actor, project: str, incident_id: str) -> Incident:
        """One incident with its evidence."""
        require(actor, "monitors:read", project)
        return await self._database.read(lambda connection: INCIDENTS.get(connection, project, incident_id))

    async def every(self) -> list[MonitorSpec]:
        """All monitors of all projects; for the worker."""
        return await self._database.read(lambda connection: MONITORS.every(connection))

    async def observe(self, spec: MonitorSpec) -> bool:
        """Bring one monitor up to date with its endpoint's traffic; true if there is more to read at once.

        What was counted and how far was read commit together: a repeat after a crash counts nothing twice.
        """
        endpoint = await self._endpoints.endpoint(PLATFORM, spec.project, spec.endpoint)
        state = await self._database.read(lambda connection: STATES.get(connection, spec.project, spec.name))
        live = endpoint.live()
        if live is None:
            return False
        if (live.number, live.model_version) != (state.live_revision, state.model_version):
            state = await self._switch(spec, state, endpoint, live.number, live.model_version)
        reference = await self._reference(spec, state)
        rows, cursor = await self._traffic.rows_after(spec.project, spec.endpoint, state.cursor, ROWS_MAX)
        labels = await self._traffic.quality_since(spec.project, spec.endpoint, live.number)
        if cursor == state.cursor and labels == state.labels_now:
            return False
        folded, found = state, tuple[Found, ...]()
        if rows:
            folded, found = await asyncio.to_thread(fold, state, spec, endpoint.spec.slo, reference, rows)
        folded = replace(folded, cursor=cursor, labels_now=labels, problem=reference.problem)
        await self._database.write(lambda tx: self._keep(tx, spec, endpoint, reference, folded, found))
        return len(rows) >= ROWS_MAX

    async def note_problem(self, spec: MonitorSpec, problem: str) -> bool:
        """Say on the monitor itself why it is not up to date; true if it did not say so already."""

        def note(tx: Tx) -> bool:
            state = STATES.find(tx.connection, spec.project, spec.name)
            if state is None or state.problem == problem:
                return False
            STATES.replace(tx, replace(state, problem=problem))
            return True

        return await self._database.write(note)

    def _keep(
        self,
        tx: Tx,
        spec: MonitorSpec,
        endpoint: Endpoint,
        reference: Reference,
        state: MonitorState,
        found: tuple[Found, ...],
    ) -> None:
        """Keep a folded state, the windows it closed, and what follows from them."""
        quality = judge_quality(state.labels, state.labels_now, reference.accuracy, spec)
        for closed in found:
            facts = {"window": closed.window.number, "model_version": state.model_version}
            verdict = replace(closed.drift, evidence=closed.drift.evidence | facts)
            WINDOWS.put(tx, _with_quality(closed.window, quality))
            tx.emit(
                "window.closed",
                spec.project,
                closed.window.id,
                PLATFORM.id,
                endpoint=spec.endpoint,
                number=closed.window.number,
                shifted=len(closed.window.shifted),
            )
            state = self._act(tx, spec, state, verdict, closed.requests_seen)
        for verdict in (*judge_slo(state.buckets, endpoint.spec.slo, spec.false_alarm), quality):
            state = self._act(tx, spec, state, verdict, state.requests_seen)
        state = replace(state, labels=advance_labels(state.labels, state.labels_now, spec.labels_min))
        STATES.replace(tx, state)
        if found:
            forget_windows(tx, spec.project, spec.endpoint, state.windows)

    def _act(
        self, tx: Tx, spec: MonitorSpec, state: MonitorState, verdict: Verdict, requests_seen: int
    ) -> MonitorState:
        state, action = step(state, verdict, spec)
        if action == "open":
            incidents.open_once(tx, self._ids, spec, verdict, requests_seen)
        elif action == "close":
            incidents.close_all(tx, spec.project, spec.endpoint, (verdict.kind,), f"over: {verdict.summary}")
        return state

    async def _switch(
        self, spec: MonitorSpec, state: MonitorState, endpoint: Endpoint, number: int, version: int
    ) -> MonitorState:
        """Another revision is live: take its reference, begin a new window, close what was about the old model."""
        reference = await self._read_reference(spec, endpoint, version)

        def change(tx: Tx) -> MonitorState:
            kept = REFERENCES.put(tx, reference)
            self._references[(spec.project, spec.name)] = kept
            if state.live_revision:
                about_model = (IncidentKind.DRIFT, IncidentKind.QUALITY)
                why = f"version {version} replaced it"
                incidents.close_all(tx, spec.project, spec.endpoint, about_model, why)
            return STATES.replace(tx, replace(switch(state, number, version), problem=reference.problem))

        return await self._database.write(change)

    async def _reference(self, spec: MonitorSpec, state: MonitorState) -> Reference:
        cached = self._references.get((spec.project, spec.name))
        if cached is not None and cached.model_version == state.model_version:
            return cached
        kept = await self._database.read(lambda connection: REFERENCES.get(connection, spec.project, spec.name))
        while len(self._references) >= REFERENCES_CACHED_MAX:
            self._references.pop(next(iter(self._references)))
        self._references[(spec.project, spec.name)] = kept
        return kept

    async def _read_reference(self, spec: MonitorSpec, endpoint: Endpoint, version: int) -> Reference:
        """The reference of a version; with the reason, if there is none to compare with."""
        found = await self._models.version(PLATFORM, spec.project, endpoint.model, version)
        empty = Reference(
            project=spec.project,
            name=spec.name,
            model_version=version,
            accuracy=found.spec.evaluation.metrics.get("accuracy"),
        )
        try:
            data = await asyncio.to_thread(self._models.file_of, found, REFERENCE_FILE)
            is_classifier = found.spec.signature.task == "classification"
            columns = await asyncio.to_thread(read_reference, data, spec.window_requests, is_classifier=is_classifier)
        except (NotFound, InvalidValue) as wrong:
            return replace(empty, problem=f"drift is not watched: {wrong.message}")
        return replace(empty, columns=columns)


def _status(connection: Connection, spec: MonitorSpec) -> MonitorStatus:
    state = STATES.get(connection, spec.project, spec.name)
    return MonitorStatus(
        spec=spec,
        window=newest_window(connection, spec.project, spec.endpoint),
        windows=state.windows,
        incidents=tuple(INCIDENTS.every(connection, spec.project, endpoint=spec.endpoint, open_flag=1)),
        requests_seen=state.requests_seen,
        model_version=state.model_version,
        problem=state.problem,
    )


def _with_quality(window: Window, quality: Verdict) -> Window:
    labelled, accuracy = quality.evidence.get("labelled", 0), quality.evidence.get("accuracy")
    return replace(
        window,
        labelled=labelled if isinstance(labelled, int) else 0,
        accuracy=accuracy if isinstance(accuracy, float) else None,
    )
