"""Use cases of traces that look: one, several, with spans, by a filter; how filters and numbers hang together."""

import asyncio
import math
from collections.abc import Sequence

from sqlalchemy import Connection

from sill.core.actors import Actor
from sill.core.clock import Clock
from sill.core.errors import InvalidValue, NotFound
from sill.governance.rules import require
from sill.runs.tracing import metrics, rules, search, store
from sill.runs.tracing.pages import read_place, write_place
from sill.runs.tracing.types import Correlation, DataPoint, Trace, TraceMetricsQuery, TraceRecord
from sill.stores.database import Database, Page

WHOLE_S_MAX = 3.0
"""How long a reader waits for spans that are still on their way."""
_JEFFREYS = 0.5


class Traces:
    """Traces of all projects, as they are looked at.

    Attributes:
        arrived: set when spans or whole traces were kept.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self.arrived = asyncio.Event()
        self._database = database
        self._clock = clock

    async def trace(self, actor: Actor, project: str, trace_id: str) -> Trace:
        """One trace without its spans."""
        return (await self._traces(actor, project, [trace_id], must=True))[0]

    async def traces(self, actor: Actor, project: str, ids: Sequence[str]) -> tuple[Trace, ...]:
        """Those of the traces that are there, in the order asked for, without their spans."""
        return await self._traces(actor, project, ids, must=False)

    async def record(self, actor: Actor, project: str, trace_id: str, *, is_partial: bool = False) -> TraceRecord:
        """A trace with its spans; unless `is_partial`, this waits a while for spans the client has announced.

        Raises:
            NotFound: there is no such trace, or spans of it are missing still.
        """
        require(actor, "runs:read", project)

        def work(connection: Connection) -> TraceRecord:
            trace = store.get(connection, project, trace_id).trace
            found = store.read_spans(connection, project, [trace_id]).get(trace_id, [])
            return TraceRecord(trace=trace, spans=tuple(found))

        until_s = self._clock.monotonic_s() + WHOLE_S_MAX
        while True:
            self.arrived.clear()
            record = await self._database.read(work)
            if is_partial or (record.spans and rules.is_whole(record.trace, list(record.spans))):
                return record
            left_s = until_s - self._clock.monotonic_s()
            if left_s <= 0 or not await _came(self.arrived, left_s):
                raise NotFound(
                    f"Trace with ID {trace_id} is not fully exported yet: {len(record.spans)} spans are here.",
                    fix="Try again later, or ask for what is there.",
                )

    async def records(self, actor: Actor, project: str, ids: Sequence[str]) -> tuple[TraceRecord, ...]:
        """Those of the traces that are there with all their spans, in the order asked for."""
        require(actor, "runs:read", project)
        wanted = rules.check_ids(ids)

        def work(connection: Connection) -> tuple[TraceRecord, ...]:
            found = store.load(connection, project, wanted)
            spans = store.read_spans(connection, project, [trace_id for trace_id in wanted if trace_id in found])
            return tuple(
                TraceRecord(trace=found[trace_id].trace, spans=tuple(spans[trace_id]))
                for trace_id in wanted
                if trace_id in spans and rules.is_whole(found[trace_id].trace, spans[trace_id])
            )

        return await self._database.read(work)

    async def search(
        self,
        actor: Actor,
        project: str,
        experiment_ids: Sequence[str],
        *,
        filter: str = "",
        order_by: Sequence[str] = (),
        limit: int = 100,
        after: str = "",
    ) -> Page[Trace]:
        """Traces of experiments that a filter matches, without spans; newest first unless ordered otherwise.

        Raises:
            InvalidValue: the filter or the order is not in the grammar.
        """
        require(actor, "runs:read", project)
        scope = _scope(project, experiment_ids)
        if not 1 <= limit <= search.LIMIT_MAX:
            raise InvalidValue(f"limit {limit} is not within 1 to {search.LIMIT_MAX}.", field="max_results")
        offset = read_place(after)

        def work(connection: Connection) -> Page[Trace]:
            found, has_more = search.find(connection, scope, filter, order_by, limit, offset)
            return Page(items=tuple(found), next=write_place(offset + limit) if has_more else "")

        return await self._database.read(work)

    async def correlate(
        self, actor: Actor, project: str, experiment_ids: Sequence[str], first: str, second: str, base: str = ""
    ) -> Correlation:
        """How often two filters hold of the same trace, among those that meet `base`.

        Source: Bouma, Normalized (Pointwise) Mutual Information in Collocation Extraction, 2009.
        """
        require(actor, "runs:read", project)
        scope = _scope(project, experiment_ids)
        found = await self._database.read(lambda connection: search.counts(connection, scope, first, second, base))
        return correlation(*found)

    async def measure(self, actor: Actor, project: str, query: TraceMetricsQuery) -> tuple[DataPoint, ...]:
        """A metric of traces, of their spans or of their assessments."""
        require(actor, "runs:read", project)
        _scope(project, query.experiment_ids)
        metrics.check(query)
        return await self._database.read(lambda connection: metrics.measure(connection, project, query))

    async def _traces(self, actor: Actor, project: str, ids: Sequence[str], *, must: bool) -> tuple[Trace, ...]:
        require(actor, "runs:read", project)
        wanted = rules.check_ids(ids)

        def work(connection: Connection) -> tuple[Trace, ...]:
            if must:
                return (store.get(connection, project, wanted[0]).trace,)
            found = store.load(connection, project, wanted)
            return tuple(found[trace_id].trace for trace_id in wanted if trace_id in found)

        return await self._database.read(work)


def correlation(first: int, second: int, joint: int, total: int) -> Correlation:
    """Normalised pointwise mutual information from counts."""
    cells = (joint, first - joint, second - joint, total - first - second + joint)
    plain = smooth = math.nan
    if first and second and min(cells) >= 0:
        plain = -1.0 if joint == 0 else _npmi(*cells)
        smooth = _npmi(*(cell + _JEFFREYS for cell in cells))
    return Correlation(npmi=plain, npmi_smoothed=smooth, first=first, second=second, joint=joint, total=total)


def _npmi(both: float, only_first: float, only_second: float, neither: float) -> float:
    total = both + only_first + only_second + neither
    joint = both / total
    if joint == 1.0:
        return 1.0
    expected = (both + only_first) / total * ((both + only_second) / total)
    return max(-1.0, min(1.0, math.log(joint / expected) / -math.log(joint)))


def _scope(project: str, experiment_ids: Sequence[str]) -> search.Scope:
    if not 1 <= len(experiment_ids) <= search.EXPERIMENTS_MAX:
        raise InvalidValue(
            f"{len(experiment_ids)} experiments are named; 1 to {search.EXPERIMENTS_MAX} can be searched.",
            field="experiment_ids",
        )
    return search.Scope(project, tuple(experiment_ids))


async def _came(event: asyncio.Event, seconds: float) -> bool:
    """True if the event happened within the time."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True
