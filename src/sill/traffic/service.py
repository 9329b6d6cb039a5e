"""What becomes of requests and labels: rows in the lake, an index of the recent ones, sums for each revision.

The rows and what is counted of them are one commit, under the batch's id: a batch that comes again changes nothing,
and none is in the lake without being counted.
"""

import asyncio
import uuid
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import msgspec

from sill.core.actors import PLATFORM, Actor
from sill.core.clock import Clock
from sill.core.errors import Conflict, InvalidValue, NotFound, Refused
from sill.core.labels import means_same
from sill.core.names import check_column, check_name, shorten
from sill.costs.service import Costs
from sill.costs.types import Usage
from sill.endpoints.service import Endpoints
from sill.endpoints.types import Endpoint, RevisionState
from sill.features.service import Features
from sill.governance.rules import require
from sill.governance.service import Governance
from sill.lake.service import Lake
from sill.models.service import Models
from sill.runs.service import Runs
from sill.stores.database import Database, Tx
from sill.stores.database.database import once
from sill.traffic import columns, store
from sill.traffic.explain import Explainer
from sill.traffic.rules import judge, latency_counts, phase_of, stats_id, why_return
from sill.traffic.types import (
    Decision,
    Explanation,
    LabelBatch,
    LabelReport,
    LogBatch,
    RequestRow,
    RevisionStats,
    ServingReport,
)

if TYPE_CHECKING:
    import pyarrow as pa

BATCH_ROWS_MAX = 20_000
LABELS_MAX = 10_000
LABEL_LENGTH_MAX = 300
FEEDBACK_ROWS_MAX = 1_000_000


class Traffic:
    """Requests, labels and what they say, of all projects."""

    def __init__(
        self,
        database: Database,
        lake: Lake,
        features: Features,
        models: Models,
        runs: Runs,
        endpoints: Endpoints,
        costs: Costs,
        governance: Governance,
        clock: Clock,
    ) -> None:
        self._database = database
        self._lake = lake
        self._endpoints = endpoints
        self._costs = costs
        self._clock = clock
        self._explainer = Explainer(database, lake, features, models, runs, endpoints, costs)
        self._governance = governance

    async def record(self, actor: Actor, batch: LogBatch) -> int:
        """Take rows of the inference plane in; returns how many belong to an endpoint that is still there.

        Raises:
            InvalidValue: the batch has no id or too many rows.
        """
        require(actor, "serving:write")
        check_name(batch.id, "batch id")
        if len(batch.rows) > BATCH_ROWS_MAX:
            raise InvalidValue(f"a batch has {len(batch.rows)} rows; {BATCH_ROWS_MAX:,} are allowed.", field="rows")
        recorded = 0
        for (project, name), rows in _by_endpoint(batch.rows).items():
            require(actor, "serving:write", project)
            try:
                endpoint = await self._endpoints.endpoint(PLATFORM, project, name)
            except NotFound:
                continue  # deleted while its last rows were on their way
            recorded += await self._keep(endpoint, batch.id, rows)
        return recorded

    async def prepare(self) -> bool:
        """Have in memory what rows of the log need. False if nothing is deployed that could bring any. For the worker."""
        if not await self._endpoints.every():
            return False
        await self._lake.prepare()
        return True

    async def label(self, actor: Actor, project: str, endpoint: str, batch: LabelBatch, key: str = "") -> LabelReport:
        """Take in what turned out to be true. Joined by request id with recent rows; a second label is only counted.

        Raises:
            InvalidValue: too many labels, or one that is empty or too long.
        """
        require(actor, "traffic:write", project)
        _check_labels(batch)
        await self._endpoints.endpoint(PLATFORM, project, endpoint)

        def join(tx: Tx) -> LabelReport:
            return _join(tx, actor, project, endpoint, batch)

        # The rows and what is counted of them are committed together, under a key of our own if the client gave none.
        key, means = key or f"labels/{uuid.uuid4().hex}", [project, endpoint, batch]
        counted = once(f"{key}/join", means, LabelReport, join)
        ids = [one.request_id for one in batch.labels]
        known = await self._database.read(
            lambda connection: {one.row.request_id for one in store.by_ids(connection, project, ids, endpoint)}
        )
        if batch.labels:
            rows = [(one.request_id, one.label, one.request_id in known) for one in batch.labels]
            table = await asyncio.to_thread(columns.labels_to_arrow, rows, self._clock.now_us())
            name = columns.table_name("labels", endpoint)
            await self._lake.append(PLATFORM, project, name, table, key=f"{key}/labels", also=counted, means=means)
        return await self._database.write(counted)

    async def stats(self, actor: Actor, project: str, endpoint: str) -> tuple[RevisionStats, ...]:
        """The sums of an endpoint's revisions, one for each phase of a rollout."""
        require(actor, "traffic:read", project)
        await self._endpoints.endpoint(PLATFORM, project, endpoint)
        return await self._database.read(lambda connection: store.stats(connection, project, endpoint))

    async def requests(self, actor: Actor, project: str, endpoint: str, limit: int = 100) -> tuple[RequestRow, ...]:
        """The newest requests, newest first."""
        require(actor, "traffic:read", project)
        if not 1 <= limit <= store.ROWS_READ_MAX:
            raise InvalidValue(f"limit {limit} is not within 1 to {store.ROWS_READ_MAX}.", field="limit")
        await self._endpoints.endpoint(PLATFORM, project, endpoint)
        found = await self._database.read(lambda connection: store.newest(connection, project, endpoint, limit))
        return tuple(one.row for one in found)

    async def feedback(self, actor: Actor, project: str, endpoint: str, label: str = "label") -> "pa.Table":
        """Features, entity columns and label of labelled live requests, in the order of time, from the lake."""
        require(actor, "traffic:read", project)
        check_column(label, "label")
        await self._endpoints.endpoint(PLATFORM, project, endpoint)
        try:
            labels = await self._lake.scan(
                PLATFORM, project, columns.table_name("labels", endpoint), limit=FEEDBACK_ROWS_MAX
            )
            requests = await self._lake.scan(
                PLATFORM, project, columns.table_name("requests", endpoint), limit=FEEDBACK_ROWS_MAX
            )
        except NotFound:
            return columns.no_feedback(label)
        return columns.feedback(requests, labels, label)

    async def explain(self, actor: Actor, project: str, request_id: str) -> Explanation:
        """From one answer back to its source rows.

        Raises:
            NotFound: the request was not recorded, or is too old for the index.
        """
        require(actor, "traffic:read", project)
        return await self._explainer.explain(project, request_id)

    async def rollout(self, actor: Actor, project: str, endpoint: str) -> Decision | None:
        """What the judge says about the revision on its way in, and why it waits; None if none is on its way."""
        require(actor, "traffic:read", project)
        return judge(*await self._evidence(project, endpoint))

    async def roll_out(self, project: str, endpoint: str) -> Decision | None:
        """Let the judge decide, and do what it says. For the worker; a repeat is harmless.

        With nothing on its way in, the live revision is judged by its promises, as long as it is new.
        """
        found, stats, now_us = await self._evidence(project, endpoint)
        decision = judge(found, stats, now_us)
        if decision is None and (why := why_return(found, stats, now_us)):
            await self._return_from(found, why)
        if decision is not None and decision.is_move:
            try:
                await self._endpoints.move(
                    PLATFORM, project, endpoint, decision.number, decision.state, decision.weight, decision.reason
                )
            except Conflict:
                return None  # somebody else moved it in between: judged again on the event of that
        return decision

    async def rolling(self) -> list[tuple[str, str]]:
        """Project and name of every endpoint with a revision on its way in. For the worker."""
        return [(one.project, one.name) for one in await self._endpoints.every() if one.rolling() is not None]

    async def forget(self, project: str, endpoint: str) -> None:
        """Let go of the index and the sums of an endpoint that was deleted; its lake tables stay. For the worker."""
        await self._database.write(lambda tx: store.forget(tx, project, endpoint))

    async def report(self, actor: Actor, report: ServingReport) -> None:
        """The inference plane could not make a revision ready: it is stopped, or, if it is live, the former one returns."""
        require(actor, "serving:write", report.project)
        endpoint = await self._endpoints.endpoint(PLATFORM, report.project, report.endpoint)
        revision = next((one for one in endpoint.revisions if one.number == report.revision), None)
        why = f"the inference plane could not load it: {shorten(report.error, 300)}"
        if revision is None or revision.state in (RevisionState.REJECTED, RevisionState.RETIRED):
            return
        if revision.state is RevisionState.LIVE:
            await self._return_from(endpoint, why)
            return
        await self._endpoints.move(
            PLATFORM, report.project, report.endpoint, report.revision, RevisionState.REJECTED, 0, why
        )

    async def rows_after(self, project: str, endpoint: str, after_seq: int, limit: int) -> tuple[list[RequestRow], int]:
        """Rows of live answers behind a place in the index, in order, and the new place. For monitors."""
        found = await self._database.read(
            lambda connection: store.live_after(connection, project, endpoint, after_seq, limit)
        )
        return [one.row for one in found], found[-1].seq if found else after_seq

    async def quality_since(self, project: str, endpoint: str, number: int) -> tuple[int, int]:
        """How many live answers of a revision have a label, and how many of those were right. For monitors."""
        stats = await self._database.read(lambda connection: store.stats(connection, project, endpoint))
        own = [one for one in stats if one.number == number and not one.id.endswith("/shadow")]
        return sum(one.labelled for one in own), sum(one.correct for one in own)

    async def _keep(self, endpoint: Endpoint, batch_id: str, rows: Sequence[RequestRow]) -> int:
        """Rows to the endpoint's table, and index, sums, cost and event of them: all or nothing, once."""
        project, name = endpoint.project, endpoint.name
        key = f"traffic/{batch_id}/{project}/{name}"
        counted = once(key, batch_id, int, self._summing(endpoint, rows))
        kept = [row for row in rows if row.is_kept]
        if kept:
            await self._append(project, name, f"{key}/rows", kept, counted)
        return await self._database.write(counted)

    async def _append(
        self, project: str, endpoint: str, key: str, rows: list[RequestRow], counted: Callable[[Tx], int]
    ) -> None:
        """One append to the endpoint's table. Features of a changed type go in as JSON rather than not at all."""
        name = columns.table_name("requests", endpoint)
        try:
            table = await asyncio.to_thread(columns.to_arrow, rows)
            await self._lake.append(PLATFORM, project, name, table, key=key, also=counted)
        except (Refused, InvalidValue):
            plain = await asyncio.to_thread(columns.to_arrow, rows, with_features=False)
            await self._lake.append(PLATFORM, project, name, plain, key=f"{key}/json", also=counted)

    def _summing(self, endpoint: Endpoint, rows: Sequence[RequestRow]) -> Callable[[Tx], int]:
        """The write of index, sums, cost and event of a batch; it returns how many rows are of a revision we know."""
        project, name = endpoint.project, endpoint.name
        revisions = {revision.number: revision for revision in endpoint.revisions}
        known = [
            (row, phase_of(revisions[row.revision], row.is_shadow, row.at_us))
            for row in rows
            if row.revision in revisions
        ]

        def write(tx: Tx) -> int:
            if not known:
                return 0
            store.add(tx, ((row, phase) for row, phase in known if row.is_kept))
            store.trim(tx, project, name)
            for (number, phase), found in _by_phase(known).items():
                _merge(tx, project, name, number, phase, found)
            cpu_s = sum(row.cpu_ms * row.times for row, _ in known) / 1e3
            wall_s = sum(row.latency_ms * row.times for row, _ in known) / 1e3
            answers = sum(row.times for row, _ in known if not row.is_shadow)
            self._costs.record(tx, project, "endpoint", name, Usage(wall_s=wall_s, cpu_s=cpu_s), answers)
            tx.emit("traffic.recorded", project, name, PLATFORM.id, endpoint=name, rows=answers)
            return sum(row.times for row, _ in known)

        return write

    async def _evidence(self, project: str, endpoint: str) -> tuple[Endpoint, tuple[RevisionStats, ...], int]:
        found = await self._endpoints.endpoint(PLATFORM, project, endpoint)
        stats = await self._database.read(lambda connection: store.stats(connection, project, endpoint))
        return found, stats, self._clock.now_us()

    async def _return_from(self, endpoint: Endpoint, why: str) -> None:
        try:
            if endpoint.rolling() is not None:
                return  # what is on its way in may still take its place; the former revision serves meanwhile
            await self._endpoints.rollback(PLATFORM, endpoint.project, endpoint.name, why)
        except Conflict:
            return  # there is nothing to return to; the endpoint answers 503 until another version comes


def _by_endpoint(rows: Sequence[RequestRow]) -> dict[tuple[str, str], list[RequestRow]]:
    found: dict[tuple[str, str], list[RequestRow]] = {}
    for row in rows:
        found.setdefault((row.project, row.endpoint), []).append(row)
    return found


def _by_phase(rows: Sequence[tuple[RequestRow, str]]) -> dict[tuple[int, str], list[RequestRow]]:
    found: dict[tuple[int, str], list[RequestRow]] = {}
    for row, phase in rows:
        found.setdefault((row.revision, phase), []).append(row)
    return found


def _merge(tx: Tx, project: str, endpoint: str, number: int, phase: str, rows: Sequence[RequestRow]) -> None:
    """Add rows to the sums of a revision in a phase."""
    before = _stats(tx, project, endpoint, number, phase, min(row.at_us for row in rows))
    counts = latency_counts((row.latency_ms, row.times) for row in rows)
    had = before.latency_counts or (0,) * len(counts)
    merged = msgspec.structs.replace(
        before,
        requests=before.requests + sum(row.times for row in rows),
        errors=before.errors + sum(row.times for row in rows if row.status >= 400),
        latency_counts=tuple(a + b for a, b in zip(had, counts, strict=True)),
        compared=before.compared + sum(row.times for row in rows if row.agrees is not None),
        disagreed=before.disagreed + sum(row.times for row in rows if row.agrees is False),
        cpu_ms=before.cpu_ms + sum(row.cpu_ms * row.times for row in rows),
    )
    store.STATS.put(tx, merged)


def _stats(tx: Tx, project: str, endpoint: str, number: int, phase: str, since_us: int) -> RevisionStats:
    key = stats_id(endpoint, number, phase)
    found = store.STATS.find(tx.connection, project, key)
    return found or RevisionStats(project=project, id=key, endpoint=endpoint, number=number, since_us=since_us)


def _join(tx: Tx, actor: Actor, project: str, endpoint: str, batch: LabelBatch) -> LabelReport:
    """Write labels beside their requests, and count who was right."""
    kept: dict[str, list[store.Labelled]] = {}
    for one in store.by_ids(tx.connection, project, [label.request_id for label in batch.labels], endpoint):
        kept.setdefault(one.row.request_id, []).append(one)
    joined = unknown = repeated = 0
    counted: dict[tuple[int, str], list[bool]] = {}
    seen: set[str] = set()
    for label in batch.labels:
        rows = kept.get(label.request_id, [])
        if not rows:
            unknown += 1
        elif label.request_id in seen or any(one.label is not None for one in rows):
            repeated += 1
        else:
            joined += 1
            seen.add(label.request_id)
            for one in rows:
                store.set_label(tx, one.seq, label.label)
                if one.row.status < 400:
                    was_right = means_same(one.row.prediction, label.label)
                    counted.setdefault((one.row.revision, one.phase), []).append(was_right)
    for (number, phase), rights in counted.items():
        before = _stats(tx, project, endpoint, number, phase, tx.now_us)
        labelled, correct = before.labelled + len(rights), before.correct + sum(rights)
        store.STATS.put(tx, msgspec.structs.replace(before, labelled=labelled, correct=correct))
    if joined:
        tx.emit("labels.added", project, endpoint, actor.id, endpoint=endpoint, joined=joined)
    return LabelReport(joined=joined, unknown=unknown, repeated=repeated)


def _check_labels(batch: LabelBatch) -> None:
    if len(batch.labels) > LABELS_MAX:
        raise InvalidValue(
            f"{len(batch.labels)} labels were given; {LABELS_MAX:,} are allowed at once.", field="labels"
        )
    for one in batch.labels:
        if not 0 < len(one.label) <= LABEL_LENGTH_MAX or not 0 < len(one.request_id) <= store.ID_LENGTH_MAX:
            raise InvalidValue(
                f"the label of request {shorten(one.request_id)!r} is not allowed: 1 to {LABEL_LENGTH_MAX} characters are.",
                field="labels",
            )
