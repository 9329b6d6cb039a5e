"""Series in the database: batches are appended as they come, merged into chunks, and read back in order by the block.

A batch leaves one row of packed points for each key. When a key has many such rows, they are merged with its open chunk
inside the same write, so that a series of n points has about n / `CHUNK_POINTS` rows. Each row says which steps and
times it covers; a reader therefore takes up only the rows that a page needs.
"""

from collections.abc import Iterable, Iterator, Sequence
from operator import attrgetter
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Connection, delete, select, update

from sill.runs.tracking.points import (
    BY_STEP,
    Extent,
    Place,
    Triple,
    behind,
    extent,
    extent_of,
    last,
    ordered,
    pack,
    unpack,
)
from sill.runs.tracking.tables import last_metrics, series
from sill.runs.types import NOW, Metric
from sill.stores.database import Tx
from sill.stores.database.sql import in_groups, insert_rows, run_sql

CHUNK_POINTS = 4_096
"""A chunk with this many points is full."""
LOOSE_ROWS_MAX = 64
BLOCK_POINTS = 16_384
"""About how many points a reader takes up at once."""
LOOSE, OPEN, FULL = 0, 1, 2

Label = tuple[str, str, str, str]
"""Key, model id, dataset name, dataset digest: what points must share to lie in one row."""
_SERIES = ("project", "run_id", "key", "model_id", "dataset_name", "dataset_digest", "level", *Extent._fields, "data")
_LAST = ("project", "run_id", "key", "step", "timestamp_ms", "value", "logged", "loose_rows", "loose_points")
_PLACE = ("step", "timestamp_ms", "value")
_COUNTS = ("logged", "loose_rows", "loose_points")
_HEAD_MARKS = f"({', '.join('?' * len(_LAST))})"
_IS_NEWER = "(excluded.step, excluded.timestamp_ms, coalesce(excluded.value, 0)) > (h.step, h.timestamp_ms, coalesce(h.value, 0))"
_MOVED = [
    *(f"{name} = CASE WHEN {_IS_NEWER} THEN excluded.{name} ELSE h.{name} END" for name in _PLACE),
    *(f"{name} = h.{name} + excluded.{name}" for name in _COUNTS),
]
_MOVE_HEADS = (
    f"INSERT INTO run_last_metrics AS h ({', '.join(_LAST)}) VALUES {{}} "  # noqa: S608  # our own names
    f"ON CONFLICT (project, run_id, key) DO UPDATE SET {', '.join(_MOVED)} RETURNING key, loose_rows, loose_points"
)
"""The last point of a series is that of the highest step, then time, then value, as MLflow has it; NaN counts as 0."""


class Entry(NamedTuple):
    """A stored row of a series, without its points."""

    id: int
    step_min: int
    step_max: int
    ms_min: int
    ms_max: int
    points: int


def append(tx: Tx, project: str, run_id: str, metrics: Sequence[Metric]) -> None:
    """Keep points, and what the last of each series is now."""
    groups = _grouped(metrics, tx.now_us // 1_000)
    owner = (project, run_id)
    rows = [(*owner, *label, LOOSE, *extent(triples), pack(triples)) for label, triples in groups.items()]
    insert_rows(tx.connection, series, _SERIES, rows)
    for key in _keep_heads(tx, project, run_id, groups):
        merge(tx, project, run_id, key)


def merge(tx: Tx, project: str, run_id: str, key: str) -> None:
    """Join the loose rows of a series with its open chunks."""
    t = series
    query = select(t.c.id, t.c.level, t.c.model_id, t.c.dataset_name, t.c.dataset_digest, t.c.data)
    rows = tx.execute(query.where(*_of(project, run_id, key), t.c.level < FULL).order_by(t.c.id)).all()
    parts: dict[Label, list[Any]] = {}
    for row in rows:
        parts.setdefault((key, row.model_id, row.dataset_name, row.dataset_digest), []).append(row)
    gone: list[int] = []
    fresh: list[tuple[Any, ...]] = []
    for label, own in parts.items():
        if len(own) == 1 and own[0].level == OPEN:
            continue
        points = ordered(unpack(row.data for row in own), BY_STEP)
        level = FULL if len(points) >= CHUNK_POINTS else OPEN
        fresh.append((project, run_id, *label, level, *extent_of(points), points.tobytes()))
        gone += [row.id for row in own]
    for some in in_groups(gone):
        tx.execute(delete(t).where(t.c.id.in_(some)))
    insert_rows(tx.connection, t, _SERIES, fresh)
    h = last_metrics
    here = (h.c.project == project, h.c.run_id == run_id, h.c.key == key)
    tx.execute(update(h).where(*here).values(loose_rows=0, loose_points=0))


def packed(
    project: str, run_id: str, key: str, triples: Sequence[Triple]
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Rows for `run_series` and the row for `run_last_metrics` that hold these points, at least one; for migrations."""
    rows = []
    for at in range(0, len(triples), CHUNK_POINTS):
        some = triples[at : at + CHUNK_POINTS]
        level = FULL if len(some) == CHUNK_POINTS else OPEN
        rows.append(
            dict(zip(_SERIES, (project, run_id, key, "", "", "", level, *extent(some), pack(some)), strict=True))
        )
    step, timestamp_ms, value = last(triples)
    known = None if value != value else value
    head = (project, run_id, key, step, timestamp_ms, known, len(triples), 0, 0)
    return rows, dict(zip(_LAST, head, strict=True))


def entries(connection: Connection, project: str, run_id: str, key: str) -> list[Entry]:
    """The rows of a series, without their points."""
    t = series
    query = select(t.c.id, t.c.step_min, t.c.step_max, t.c.ms_min, t.c.ms_max, t.c.points)
    return [Entry(*row) for row in connection.execute(query.where(*_of(project, run_id, key)))]


def blocks(
    connection: Connection, found: Iterable[Entry], order: tuple[str, str], after: Place | None = None
) -> Iterator[Any]:
    """The points of some rows of one series in order, each once, those behind a place; a block of them at a time.

    A block holds what no later row can come before; rows whose steps or times overlap are therefore held together.
    """
    first, until = attrgetter(f"{order[0]}_min"), attrgetter(f"{order[0]}_max")
    left = sorted((entry for entry in found if after is None or until(entry) >= after.first), key=first)
    pending = unpack(())
    at = 0
    while at < len(left):
        start, size = at, 0
        while at < len(left) and (size == 0 or size + left[at].points <= BLOCK_POINTS):
            size += left[at].points
            at += 1
        points = ordered(unpack([pending.tobytes(), *_load(connection, left[start:at])]), order)
        points = points if after is None else behind(points, order, after)
        is_safe = len(points) if at == len(left) else int(points[order[0]].searchsorted(first(left[at])))
        pending = points[is_safe:]
        if is_safe:
            yield points[:is_safe]


def timed(metric: Metric, now_ms: int) -> Metric:
    """The point with the time at which it was kept, if it brought none."""
    return msgspec.structs.replace(metric, timestamp_ms=now_ms) if metric.timestamp_ms == NOW else metric


def _load(connection: Connection, some: Sequence[Entry]) -> list[bytes]:
    t = series
    return [
        bytes(row.data)
        for ids in in_groups([entry.id for entry in some])
        for row in connection.execute(select(t.c.data).where(t.c.id.in_(ids)))
    ]


def _grouped(metrics: Sequence[Metric], now_ms: int) -> dict[Label, list[Triple]]:
    groups: dict[Label, list[Triple]] = {}
    for metric in metrics:
        label = (metric.key, metric.model_id, metric.dataset_name, metric.dataset_digest)
        triple = (metric.step, now_ms if metric.timestamp_ms == NOW else metric.timestamp_ms, metric.value)
        if label in groups:
            groups[label].append(triple)
        else:
            groups[label] = [triple]
    return groups


def _keep_heads(tx: Tx, project: str, run_id: str, groups: dict[Label, list[Triple]]) -> list[str]:
    """Keep what is known of the series after these points came to them; keys of those that should be merged now."""
    by_key: dict[str, list[Triple]] = {}
    rows_of: dict[str, int] = {}
    for label, triples in groups.items():
        by_key.setdefault(label[0], []).append(last(triples))
        rows_of[label[0]] = rows_of.get(label[0], 0) + 1
    came: dict[str, int] = dict.fromkeys(by_key, 0)
    for label, triples in groups.items():
        came[label[0]] += len(triples)
    rows = []
    for key, newest in by_key.items():
        step, ms, value = newest[0] if len(newest) == 1 else last(newest)
        known = None if value != value else value
        rows.append((project, run_id, key, step, ms, known, came[key], rows_of[key], came[key]))
    ripe = []
    for some in in_groups(rows):
        marks = ", ".join([_HEAD_MARKS] * len(some))
        for key, loose_rows, loose_points in run_sql(
            tx.connection, _MOVE_HEADS.format(marks), [value for row in some for value in row]
        ):
            if loose_rows >= LOOSE_ROWS_MAX or loose_points >= CHUNK_POINTS:
                ripe.append(key)
    return ripe


def _of(project: str, run_id: str, key: str) -> list[Any]:
    return [series.c.project == project, series.c.run_id == run_id, series.c.key == key]
