"""Queries on what runs log: batches in, last points, params and tags out. Series are `series`, artifacts `artifact_store`."""

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import Connection, Table, delete, select

from sill.core.errors import Conflict, NotFound
from sill.core.names import shorten
from sill.runs.logged_models import store as logged_models
from sill.runs.tracking import artifact_store, series, tables
from sill.runs.tracking.tables import HEAD_LENGTH, last_metrics, params, tags
from sill.runs.tracking.types import SeriesState
from sill.runs.types import Batch, Metric, RunData
from sill.stores.database import Tx
from sill.stores.database.sql import in_groups, insert_rows, run_sql

TABLES = (tables.series, last_metrics, params, tags)


def log(tx: Tx, project: str, run_id: str, batch: Batch) -> None:
    """Keep a checked batch.

    Raises:
        Conflict: a param has another value already.
    """
    if batch.metrics:
        series.append(tx, project, run_id, batch.metrics)
    if any(metric.model_id for metric in batch.metrics):
        now_ms = tx.now_us // 1_000
        timed = (series.timed(metric, now_ms) for metric in batch.metrics if metric.model_id)
        logged_models.keep_metrics(tx, project, run_id, timed)
    _keep_params(tx, project, run_id, batch.params)
    _keep_tags(tx, project, run_id, batch.tags)


def delete_tag(tx: Tx, project: str, run_id: str, key: str) -> None:
    """Remove a tag.

    Raises:
        NotFound: the run has none of that name.
    """
    if not tx.execute(delete(tags).where(*_of(tags, project, run_id), tags.c.key == key)).rowcount:
        raise NotFound(f"No tag with name: {shorten(key)} in run with id {run_id}.", fix="List the run's tags.")


def data(connection: Connection, project: str, run_id: str) -> RunData:
    """Last value of each metric, params and tags."""
    return RunData(
        metrics={metric.key: metric.value for metric in last_points(connection, project, [run_id]).get(run_id, ())},
        params=read_texts(connection, params, project, [run_id]).get(run_id, {}),
        tags=read_texts(connection, tags, project, [run_id]).get(run_id, {}),
    )


def last_points(connection: Connection, project: str, run_ids: Sequence[str]) -> dict[str, list[Metric]]:
    """The last point of each series of these runs, by run, in the order of keys."""
    found: dict[str, list[Metric]] = {}
    for run_id, *point in _rows_of(connection, last_metrics, project, run_ids, "key, value, step, timestamp_ms"):
        found.setdefault(run_id, []).append(_metric(*point))
    return found


def states(connection: Connection, project: str, run_id: str) -> list[SeriesState]:
    """How far each series of a run has come, in the order of keys."""
    t = last_metrics
    query = select(t.c.logged, t.c.key, t.c.value, t.c.step, t.c.timestamp_ms)
    rows = connection.execute(query.where(*_of(t, project, run_id)).order_by(t.c.key))
    return [SeriesState(key=point[0], logged=logged, last=_metric(*point)) for logged, *point in rows]


def read_texts(connection: Connection, table: Table, project: str, run_ids: Sequence[str]) -> dict[str, dict[str, str]]:
    """Params or tags of these runs, by run, in the order of keys."""
    found: dict[str, dict[str, str]] = {}
    for run_id, key, value in _rows_of(connection, table, project, run_ids, "key, value"):
        found.setdefault(run_id, {})[key] = value
    return found


def forget(tx: Tx, project: str, run_id: str) -> set[str]:
    """Remove all a run has logged; digests of its artifacts."""
    digests = artifact_store.forget(tx, project, run_id)
    for table in TABLES:
        tx.execute(delete(table).where(*_of(table, project, run_id)))
    return digests


def _keep_params(tx: Tx, project: str, run_id: str, given: dict[str, str]) -> None:
    if not given:
        return
    query = select(params.c.key, params.c.value).where(*_of(params, project, run_id), params.c.key.in_(given))
    known = {row.key: row.value for row in tx.execute(query)}
    for key, value in given.items():
        if known.get(key, value) != value:
            raise Conflict(
                f"Changing param values is not allowed. Param with key={shorten(key)!r} was already logged with "
                f"value={shorten(known[key])!r} for run ID={run_id!r}. Attempted logging new value {shorten(value)!r}.",
                fix="A param is set once; log what changes as a metric or a tag.",
                field=f"params.{shorten(key)}",
            )
    _insert_texts(tx, params, project, run_id, {key: value for key, value in given.items() if key not in known})


def _keep_tags(tx: Tx, project: str, run_id: str, given: dict[str, str]) -> None:
    fields = "head = excluded.head, value = excluded.value"
    _insert_texts(tx, tags, project, run_id, given, f"ON CONFLICT (project, run_id, key) DO UPDATE SET {fields}")


def _insert_texts(tx: Tx, table: Table, project: str, run_id: str, texts: dict[str, str], more: str = "") -> None:
    rows = [(project, run_id, key, value[:HEAD_LENGTH], value) for key, value in texts.items()]
    insert_rows(tx.connection, table, ("project", "run_id", "key", "head", "value"), rows, more)


def _rows_of(
    connection: Connection, table: Table, project: str, run_ids: Sequence[str], columns: str
) -> Iterator[Sequence[Any]]:
    """Rows of these runs: run id, then the columns, in the order of runs and keys."""
    for some in in_groups(run_ids):
        marks = ", ".join("?" * len(some))
        query = (
            f"SELECT run_id, {columns} FROM {table.name} WHERE project = ? AND run_id IN ({marks}) ORDER BY run_id, key"  # noqa: S608
        )
        yield from run_sql(connection, query, (project, *some))


def _metric(key: str, value: float | None, step: int, timestamp_ms: int) -> Metric:
    return Metric(key=key, value=float("nan") if value is None else value, step=step, timestamp_ms=timestamp_ms)


def _of(table: Table, project: str, run_id: str) -> list[Any]:
    return [table.c.project == project, table.c.run_id == run_id]
