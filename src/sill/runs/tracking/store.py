"""Tables of what runs log: series of metrics with their last values, params, tags, and artifacts by path."""

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Double,
    Index,
    Integer,
    Table,
    Text,
    delete,
    func,
    insert,
    select,
    update,
)

from sill.core.errors import Conflict
from sill.core.names import shorten
from sill.runs.types import Artifact, Batch, Metric, RunData
from sill.stores.database import Tx, metadata
from sill.stores.database.schema import key_type

SAME_STEP_MAX = 1_000
"""Most points of one step that a page of a history is filled up with."""

metrics = Table(
    "run_metrics",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("project", key_type(100), nullable=False),
    Column("run_id", key_type(50), nullable=False),
    Column("key", key_type(250), nullable=False),
    Column("step", BigInteger, nullable=False),
    Column("timestamp_ms", BigInteger, nullable=False),
    Column("value", Double, nullable=False),
    Index("run_metrics_series", "run_id", "key", "step", "id"),
)
last_metrics = Table(
    "run_last_metrics",
    metadata,
    Column("project", key_type(100), primary_key=True),
    Column("run_id", key_type(50), primary_key=True),
    Column("key", key_type(250), primary_key=True),
    Column("step", BigInteger, nullable=False),
    Column("timestamp_ms", BigInteger, nullable=False),
    Column("value", Double, nullable=False),
)


def _texts(name: str) -> Table:
    return Table(
        name,
        metadata,
        Column("project", key_type(100), primary_key=True),
        Column("run_id", key_type(50), primary_key=True),
        Column("key", key_type(250), primary_key=True),
        Column("value", Text, nullable=False),
    )


params = _texts("run_params")
tags = _texts("run_tags")
artifacts = Table(
    "run_artifacts",
    metadata,
    Column("project", key_type(100), primary_key=True),
    Column("run_id", key_type(50), primary_key=True),
    Column("path", key_type(1_024), primary_key=True),
    Column("digest", key_type(64), nullable=False, index=True),
    Column("size_bytes", BigInteger, nullable=False),
    Column("at_us", BigInteger, nullable=False),
)
TABLES = (metrics, last_metrics, params, tags, artifacts)


def log(tx: Tx, project: str, run_id: str, batch: Batch) -> None:
    """Keep a checked batch.

    Raises:
        Conflict: a param has another value already.
    """
    _keep_metrics(tx, project, run_id, batch.metrics)
    _keep_params(tx, project, run_id, batch.params)
    _keep_tags(tx, project, run_id, batch.tags)


def data(connection: Connection, project: str, run_id: str) -> RunData:
    """Last value of each metric, params and tags."""
    t = last_metrics
    rows = connection.execute(select(t.c.key, t.c.value).where(*_of(t, project, run_id)).order_by(t.c.key))
    return RunData(
        metrics={row.key: row.value for row in rows},
        params=_read_texts(connection, params, project, run_id),
        tags=_read_texts(connection, tags, project, run_id),
    )


def history(
    connection: Connection, project: str, run_id: str, key: str, after_step: int, limit: int
) -> tuple[Metric, ...]:
    """Points behind `after_step` in the order of steps; never half a step, so that the last step leads to the next page."""
    t = metrics
    query = (
        select(t.c.step, t.c.timestamp_ms, t.c.value, t.c.id)
        .where(*_of(t, project, run_id), t.c.key == key)
        .order_by(t.c.step, t.c.id)
    )
    rows = list(connection.execute(query.where(t.c.step > after_step).limit(limit)))
    if len(rows) == limit:
        last = rows[-1]
        rest = query.where(t.c.step == last.step, t.c.id > last.id).limit(SAME_STEP_MAX)
        rows += connection.execute(rest)
    return tuple(Metric(key=key, value=row.value, step=row.step, timestamp_ms=row.timestamp_ms) for row in rows)


def keep_artifact(tx: Tx, project: str, run_id: str, artifact: Artifact) -> None:
    """Keep where an artifact's bytes lie; one of the same path is replaced."""
    t = artifacts
    tx.execute(delete(t).where(*_of(t, project, run_id), t.c.path == artifact.path))
    values = {"path": artifact.path, "digest": artifact.digest, "size_bytes": artifact.size_bytes}
    tx.execute(insert(t).values(project=project, run_id=run_id, at_us=tx.now_us, **values))


def find_artifacts(
    connection: Connection, project: str, run_id: str, *, under: str = "", after: str = "", limit: int = 1_000
) -> list[Artifact]:
    """Artifacts behind the path `after`, in the order of paths; `under` a folder only."""
    t = artifacts
    query = select(t.c.path, t.c.digest, t.c.size_bytes).where(*_of(t, project, run_id), t.c.path > after)
    if under:
        query = query.where(t.c.path.startswith(f"{under}/", autoescape=True))
    rows = connection.execute(query.order_by(t.c.path).limit(limit))
    return [Artifact(path=row.path, digest=row.digest, size_bytes=row.size_bytes) for row in rows]


def find_artifact(connection: Connection, project: str, run_id: str, path: str) -> Artifact | None:
    """One artifact, or None."""
    t = artifacts
    query = select(t.c.path, t.c.digest, t.c.size_bytes).where(*_of(t, project, run_id), t.c.path == path)
    row = connection.execute(query).first()
    return None if row is None else Artifact(path=row.path, digest=row.digest, size_bytes=row.size_bytes)


def count_artifacts(connection: Connection, project: str, run_id: str) -> int:
    """How many artifacts a run has."""
    query = select(func.count()).select_from(artifacts).where(*_of(artifacts, project, run_id))
    return connection.execute(query).scalar_one()


def forget(tx: Tx, project: str, run_id: str) -> set[str]:
    """Remove all a run has logged; digests of its artifacts."""
    rows = tx.execute(select(artifacts.c.digest).where(*_of(artifacts, project, run_id)))
    digests = {row.digest for row in rows}
    for table in TABLES:
        tx.execute(delete(table).where(*_of(table, project, run_id)))
    return digests


def used_digests(connection: Connection, digests: Iterable[str]) -> set[str]:
    """Those of the digests that are an artifact of any run of any project."""
    query = select(artifacts.c.digest).where(artifacts.c.digest.in_(list(digests))).distinct()
    return {row.digest for row in connection.execute(query)}


def _keep_metrics(tx: Tx, project: str, run_id: str, points: Sequence[Metric]) -> None:
    if not points:
        return
    now_ms = tx.now_us // 1_000
    rows = [(project, run_id, p.key, p.step, p.timestamp_ms or now_ms, p.value) for p in points]
    insert_rows(tx, metrics, ("project", "run_id", "key", "step", "timestamp_ms", "value"), rows)
    newest: dict[str, tuple[int, int, float]] = {}
    for _, _, key, step, timestamp_ms, value in rows:
        place = (step, timestamp_ms, value)
        newest[key] = max(newest.get(key, place), place)
    _keep_last(tx, project, run_id, newest)


def _keep_last(tx: Tx, project: str, run_id: str, newest: dict[str, tuple[int, int, float]]) -> None:
    """The last value is that of the highest step, then time, then value, as MLflow has it."""
    t = last_metrics
    query = select(t.c.key, t.c.step, t.c.timestamp_ms, t.c.value).where(*_of(t, project, run_id))
    known = {row.key: (row.step, row.timestamp_ms, row.value) for row in tx.execute(query.where(t.c.key.in_(newest)))}
    fresh = [(project, run_id, key, *place) for key, place in newest.items() if key not in known]
    insert_rows(tx, t, ("project", "run_id", "key", "step", "timestamp_ms", "value"), fresh)
    for key, (step, timestamp_ms, value) in newest.items():
        if key in known and (step, timestamp_ms, value) > known[key]:
            values = {"step": step, "timestamp_ms": timestamp_ms, "value": value}
            tx.execute(update(t).where(*_of(t, project, run_id), t.c.key == key).values(**values))


def _keep_params(tx: Tx, project: str, run_id: str, given: dict[str, str]) -> None:
    if not given:
        return
    query = select(params.c.key, params.c.value).where(*_of(params, project, run_id), params.c.key.in_(given))
    known = {row.key: row.value for row in tx.execute(query)}
    for key, value in given.items():
        if known.get(key, value) != value:
            raise Conflict(
                f"param {shorten(key)!r} of run {run_id} is {shorten(known[key])!r} and cannot become {shorten(value)!r}.",
                fix="A param is set once; log what changes as a metric or a tag.",
                field=f"params.{shorten(key)}",
            )
    fresh = [(project, run_id, key, value) for key, value in given.items() if key not in known]
    insert_rows(tx, params, ("project", "run_id", "key", "value"), fresh)


def _keep_tags(tx: Tx, project: str, run_id: str, given: dict[str, str]) -> None:
    if given:
        tx.execute(delete(tags).where(*_of(tags, project, run_id), tags.c.key.in_(given)))
        rows = [(project, run_id, key, value) for key, value in given.items()]
        insert_rows(tx, tags, ("project", "run_id", "key", "value"), rows)


def insert_rows(tx: Tx, table: Table, columns: tuple[str, ...], rows: list[tuple[Any, ...]]) -> None:
    """Insert many rows by the driver's own `executemany`: about twice as fast as through SQLAlchemy's values."""
    if not rows:
        return
    mark = "?" if tx.connection.dialect.name == "sqlite" else "%s"
    names, marks = ", ".join(columns), ", ".join([mark] * len(columns))
    tx.connection.exec_driver_sql(f"INSERT INTO {table.name} ({names}) VALUES ({marks})", rows)  # noqa: S608  # our own names


def _read_texts(connection: Connection, table: Table, project: str, run_id: str) -> dict[str, str]:
    rows = connection.execute(
        select(table.c.key, table.c.value).where(*_of(table, project, run_id)).order_by(table.c.key)
    )
    return {row.key: row.value for row in rows}


def _of(table: Table, project: str, run_id: str) -> list[Any]:
    return [table.c.project == project, table.c.run_id == run_id]
