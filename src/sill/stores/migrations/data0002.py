"""What revision 0002 does to the rows that are there: nothing is lost, points move into packed series.

It speaks to the tables as that revision has them and imports nothing of the stages, so that it goes on doing the same
when they change.
"""

import struct
from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter
from typing import Any

import msgspec
from sqlalchemy import Connection, column, insert, inspect, select, table, text, update

CHUNK_POINTS = 4_096
"""Points in one row of a series."""
ROWS_AT_ONCE = 2_000
HEAD_LENGTH = 200
DIGEST_LENGTH = 64
_OPEN, _FULL = 1, 2
_KEY = ("project", "key", "doc")
_BLANKED = bytes(code if chr(code) in "0123456789abcdef" else ord(" ") for code in range(256))
_SERIES = (
    *("project", "run_id", "key", "model_id", "dataset_name", "dataset_digest", "level"),
    *("step_min", "step_max", "ms_min", "ms_max", "points", "data"),
)


def move(connection: Connection) -> None:
    """Fill what revision 0002 added from what was there. It is called before the old table of points goes."""
    _make_experiments(connection)
    _pack_points(connection)
    for name in ("run_params", "run_tags"):
        connection.execute(text(f"UPDATE {name} SET head = substr(value, 1, {HEAD_LENGTH})"))  # noqa: S608  # our own names
    for name in inspect(connection).get_table_names():
        columns = {each["name"] for each in inspect(connection).get_columns(name)}
        if {"project", "key", "doc"} <= columns:
            _note_digests(connection, name)


def _make_experiments(connection: Connection) -> None:
    """An experiment for each name that runs of a project have, numbered in the order of their first runs."""
    runs = table("runs", *(column(name) for name in (*_KEY, "experiment_id", "name", "started_us", "ended_us")))
    numbers: dict[tuple[str, str], int] = {}
    last: dict[str, int] = {}
    for project, key, doc in _documents(connection, "runs"):
        run = msgspec.json.decode(doc)
        called = run.get("experiment", "default")
        if project not in last:
            last[project] = 0
            numbers[project, "default"] = 0
            _keep_experiment(connection, project, 0, "Default", run["created_us"])
        if (project, called) not in numbers:
            last[project] += 1
            numbers[project, called] = last[project]
            _keep_experiment(connection, project, last[project], called, run["created_us"])
        number = str(numbers[project, called])
        run |= {"experiment_id": number, "artifact_uri": f"mlflow-artifacts:/{number}/{key}/artifacts"}
        fields = {"name": run["name"], "started_us": run["started_us"], "ended_us": run["ended_us"]}
        here = (runs.c.project == project) & (runs.c.key == key)
        changed = msgspec.json.encode(run).decode()
        connection.execute(update(runs).where(here).values(doc=changed, experiment_id=number, **fields))
    counters = table("experiment_counters", column("project"), column("last"))
    for project, number_given in last.items():
        connection.execute(insert(counters).values(project=project, last=number_given))


def _keep_experiment(connection: Connection, project: str, number: int, name: str, at_us: int) -> None:
    fields = {
        "project": project,
        "number": number,
        "name": name,
        "artifact_location": f"mlflow-artifacts:/{number}",
        "lifecycle": "active",
        "created_us": at_us,
        "updated_us": at_us,
        "deleted_us": 0,
        "revision": 1,
    }
    connection.execute(insert(table("experiments", *(column(each) for each in fields))).values(**fields))


def _pack_points(connection: Connection) -> None:
    """Each series in rows of packed points: step and milliseconds (int64), value (float64), little endian."""
    names = ("run_id", "key", "step", "id", "project", "timestamp_ms", "value")
    points = table("run_metrics", *(column(name) for name in names))
    series = table("run_series", *(column(name) for name in _SERIES))
    lasts = table("run_last_metrics", *(column(name) for name in ("project", "run_id", "key", "logged")))
    order = [points.c[name] for name in names[:4]]
    rows = connection.execute(select(*points.c).order_by(*order), execution_options={"yield_per": ROWS_AT_ONCE})
    for (run_id, key), own in groupby(rows, itemgetter(0, 1)):
        logged = 0
        project = ""
        for some in _cut(own):
            project = some[0].project
            connection.execute(insert(series).values(dict(zip(_SERIES, _packed(some), strict=True))))
            logged += len(some)
        here = (lasts.c.project == project) & (lasts.c.run_id == run_id) & (lasts.c.key == key)
        connection.execute(update(lasts).where(here).values(logged=logged))


def _packed(some: list[Any]) -> tuple[Any, ...]:
    steps, times = [point.step for point in some], [point.timestamp_ms for point in some]
    data = b"".join(struct.pack("<qqd", point.step, point.timestamp_ms, point.value) for point in some)
    level = _FULL if len(some) == CHUNK_POINTS else _OPEN
    owner = (some[0].project, some[0].run_id, some[0].key, "", "", "", level)
    return (*owner, min(steps), max(steps), min(times), max(times), len(some), data)


def _cut(rows: Iterator[Any]) -> Iterator[list[Any]]:
    some: list[Any] = []
    for row in rows:
        some.append(row)
        if len(some) == CHUNK_POINTS:
            yield some
            some = []
    if some:
        yield some


def _note_digests(connection: Connection, name: str) -> None:
    """Which blobs the values of a table hold."""
    holds = table("blob_references", *(column(each) for each in ("digest", "holder", "project", "key")))
    for project, key, doc in _documents(connection, name):
        words = doc.encode().translate(_BLANKED).split()
        found = sorted({word.decode() for word in words if len(word) == DIGEST_LENGTH})
        rows = [{"digest": digest, "holder": name, "project": project, "key": key} for digest in found]
        if rows:
            connection.execute(insert(holds), rows)


def _documents(connection: Connection, name: str) -> Iterator[tuple[str, str, str]]:
    """All values of a table in the order of their keys, some at a time, so that they may be changed meanwhile."""
    t = table(name, *(column(each) for each in _KEY))
    after: tuple[str, str] | None = None
    while True:
        query = select(t.c.project, t.c.key, t.c.doc).order_by(t.c.project, t.c.key).limit(ROWS_AT_ONCE)
        if after is not None:
            behind = (t.c.project > after[0]) | ((t.c.project == after[0]) & (t.c.key > after[1]))
            query = query.where(behind)
        rows = connection.execute(query).all()
        yield from ((row.project, row.key, row.doc) for row in rows)
        if len(rows) < ROWS_AT_ONCE:
            return
        after = rows[-1].project, rows[-1].key
