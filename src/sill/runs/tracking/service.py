"""Use cases of tracking: log a batch, search, read series back. Artifacts are the business of `artifacts`."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from sqlalchemy import Connection

from sill.core.actors import Actor
from sill.core.errors import InvalidValue
from sill.core.names import check_id
from sill.governance.rules import require
from sill.runs import rules
from sill.runs import store as runs
from sill.runs.logged_models.links import links_of
from sill.runs.logged_models.types import RunLinks
from sill.runs.tracking import histories, store, tables
from sill.runs.tracking.fields import RUN_FIELDS
from sill.runs.tracking.filters import parse_filter, parse_order
from sill.runs.tracking.rules import check_batch, check_key
from sill.runs.tracking.search import Query, search
from sill.runs.tracking.types import RunMetric, RunRecord, SeriesState
from sill.runs.types import Batch, Logged, Metric, Run, RunData, View
from sill.stores.database import Database, Page, Tx
from sill.stores.database.sql import in_groups

T = TypeVar("T")

HISTORY_MAX = 25_000
SEARCH_MAX = 50_000
RUNS_MAX = 100
"""Most runs whose series are read at once."""
POINTS_MAX = 2_500
"""Most points of a series that is thinned out."""


class Tracking:
    """What runs log, of all projects."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def log(self, actor: Actor, project: str, run_id: str, batch: Batch, key: str = "") -> Logged:
        """Keep metrics, params and tags together, or nothing of them.

        Raises:
            InvalidValue: one is outside its limits, or the run was deleted.
            Conflict: a param has another value already.
        """
        require(actor, "runs:write", project)
        check_batch(batch)

        def work(tx: Tx) -> Logged:
            run = self._writable(tx.connection, actor, project, run_id)
            store.log(tx, project, run_id, batch)
            if batch.tags:
                runs.retag(tx, run, batch.tags)
            return Logged(metrics=len(batch.metrics), params=len(batch.params), tags=len(batch.tags))

        if not key:
            return await self._database.write(work)
        return await self._database.write_once(key, [project, run_id, batch], Logged, work)

    async def set_tag(self, actor: Actor, project: str, run_id: str, key: str, value: str) -> None:
        """Set one tag, new or changed."""
        await self.log(actor, project, run_id, Batch(tags={key: value}))

    async def delete_tag(self, actor: Actor, project: str, run_id: str, key: str) -> None:
        """Take one tag away.

        Raises:
            NotFound: the run has none of that name.
        """
        require(actor, "runs:write", project)

        def work(tx: Tx) -> None:
            run = self._writable(tx.connection, actor, project, run_id)
            store.delete_tag(tx, project, run_id, key)
            runs.untag(tx, run, key)

        await self._database.write(work)

    async def data(self, actor: Actor, project: str, run_id: str) -> RunData:
        """Last value of each metric, params and tags."""
        return await self._read(actor, project, run_id, lambda connection: store.data(connection, project, run_id))

    async def states(self, actor: Actor, project: str, run_id: str) -> tuple[SeriesState, ...]:
        """How far each series has come: cheap to ask again and again while a run is going on."""
        return await self._read(
            actor, project, run_id, lambda connection: tuple(store.states(connection, project, run_id))
        )

    async def record(self, actor: Actor, project: str, run_id: str) -> RunRecord:
        """A run with all it logged, series by their last point."""
        require(actor, "runs:read", project)
        check_id(run_id)

        def work(connection: Connection) -> RunRecord:
            return records(connection, project, (runs.check_exists(connection, project, run_id),))[0]

        return await self._database.read(work)

    async def search(
        self,
        actor: Actor,
        project: str,
        experiment_ids: Sequence[str] | None = None,
        *,
        filter: str = "",
        order_by: Sequence[str] = (),
        view: View = View.ACTIVE,
        limit: int = 1_000,
        after: str = "",
    ) -> Page[RunRecord]:
        """Runs that meet a filter of MLflow's grammar, in an order of it; the newest first where that says nothing.

        Args:
            experiment_ids: None means all of the project.
            after: `next` of the page before, of the same search.
        Raises:
            InvalidValue: filter, order, limit or token is not allowed.
        """
        require(actor, "runs:read", project)
        _check_limit(limit, SEARCH_MAX)
        query = Query(
            project=project,
            experiment_ids=None if experiment_ids is None else tuple(dict.fromkeys(experiment_ids)),
            lifecycles=view.lifecycles,
            clauses=parse_filter(filter, RUN_FIELDS),
            orders=parse_order(order_by, RUN_FIELDS),
        )

        def work(connection: Connection) -> Page[RunRecord]:
            page = search(connection, query, after, limit)
            return Page(items=records(connection, project, page.items), next=page.next)

        return await self._database.read(work)

    async def history(
        self, actor: Actor, project: str, run_id: str, metric: str, *, after: str = "", limit: int = 1_000
    ) -> Page[Metric]:
        """Points of one metric by timestamp, step and value, exact duplicates once. `after` is `next` of the page before."""
        check_key(metric, "key")
        _check_limit(limit, HISTORY_MAX)
        return await self._read(
            actor,
            project,
            run_id,
            lambda connection: histories.page(connection, project, run_id, metric, after, limit),
        )

    async def history_bulk(
        self, actor: Actor, project: str, run_ids: Sequence[str], metric: str, limit: int = HISTORY_MAX
    ) -> tuple[RunMetric, ...]:
        """Points of one metric of several runs, by run id, then as `history` has them; at most `limit` in all.

        Runs that are not there have no points.
        """
        require(actor, "runs:read", project)
        check_key(metric, "key")
        _check_limit(limit, HISTORY_MAX)
        _check_runs(run_ids)
        return await self._database.read(lambda connection: histories.bulk(connection, project, run_ids, metric, limit))

    async def history_sampled(
        self,
        actor: Actor,
        project: str,
        run_ids: Sequence[str],
        metric: str,
        *,
        start_step: int | None = None,
        end_step: int | None = None,
        points: int = POINTS_MAX,
    ) -> tuple[RunMetric, ...]:
        """Points of one metric at about `points` steps, the same steps for all the runs.

        Raises:
            InvalidValue: too many runs or points, or one end of the span without the other.
            NotFound: a run is not there.
        """
        require(actor, "runs:read", project)
        check_key(metric, "key")
        _check_limit(points, POINTS_MAX, "points")
        _check_runs(run_ids)
        span = None if start_step is None or end_step is None else (start_step, end_step)
        if (start_step is None) != (end_step is None) or (span and span[0] > span[1]):
            raise InvalidValue(
                f"the span from step {start_step} to {end_step} is none.", fix="Give both ends.", field="start_step"
            )

        def work(connection: Connection) -> tuple[RunMetric, ...]:
            for run_id in run_ids:
                runs.check_exists(connection, project, run_id)
            return histories.sampled(connection, project, run_ids, metric, span, points)

        return await self._database.read(work)

    async def curve(
        self, actor: Actor, project: str, run_id: str, metric: str, points: int = 1_000
    ) -> tuple[Metric, ...]:
        """About `points` points of one metric by step, in which every peak is seen."""
        check_key(metric, "key")
        _check_limit(points, POINTS_MAX, "points")
        return await self._read(
            actor, project, run_id, lambda connection: histories.curve(connection, project, run_id, metric, points)
        )

    async def _read(self, actor: Actor, project: str, run_id: str, work: Callable[[Connection], T]) -> T:
        """What is read of a run that the actor may see."""
        require(actor, "runs:read", project)
        check_id(run_id)

        def checked(connection: Connection) -> T:
            runs.check_exists(connection, project, run_id)
            return work(connection)

        return await self._database.read(checked)

    def _writable(self, connection: Connection, actor: Actor, project: str, run_id: str) -> Run:
        run = runs.check_active(runs.check_exists(connection, project, check_id(run_id)))
        rules.check_own(actor, run)
        return run


def records(connection: Connection, project: str, found: Sequence[Run]) -> tuple[RunRecord, ...]:
    """The runs with all they logged, series by their last point."""
    ids = [run.id for run in found]
    points = store.last_points(connection, project, ids)
    params, tags = (store.read_texts(connection, table, project, ids) for table in (tables.params, tables.tags))
    linked = {run_id: links for some in in_groups(ids) for run_id, links in links_of(connection, project, some).items()}
    return tuple(
        RunRecord(
            run=run,
            metrics=tuple(points.get(run.id, ())),
            params=params.get(run.id, {}),
            tags=tags.get(run.id, {}),
            links=linked.get(run.id, RunLinks()),
        )
        for run in found
    )


def _check_limit(limit: int, most: int, field: str = "limit") -> None:
    if not 1 <= limit <= most:
        raise InvalidValue(f"{field} {limit} is not within 1 to {most}.", field=field)


def _check_runs(run_ids: Sequence[str]) -> None:
    if len(run_ids) > RUNS_MAX:
        raise InvalidValue(f"{len(run_ids)} runs are asked for; at most {RUNS_MAX} are allowed.", field="run_ids")
    for run_id in run_ids:
        check_id(run_id)
