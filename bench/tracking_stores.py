"""Fills the stores of both servers, while they do not run, with the same runs and the same long series.

Through the servers this would take MLflow an hour. What is written is what the servers themselves would have written.
"""

import random
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from sill.core.clock import SystemClock
from sill.runs.store import RUNS
from sill.runs.tracking import series, tables
from sill.runs.types import EXTERNAL, Run, RunSpec, RunState
from sill.stores.database import Tx, open_database
from sill.stores.database.sql import insert_rows

START_MS = 1_700_000_000_000
AT_ONCE = 5_000
KINDS = ("cnn", "mlp", "tree", "transformer")
TEAMS = ("vision", "speech", "risk")
SEED = 7


class Facts(NamedTuple):
    """What a run is made of."""

    id: str
    name: str
    start_ms: int
    metrics: dict[str, float]
    texts: dict[str, dict[str, str]]


def runs(count: int) -> Iterator[Facts]:
    """So many runs with two metrics, three params and two tags each; always the same ones."""
    dice = random.Random(SEED)
    for at in range(count):
        name = f"run-{at}"
        params = {
            "kind": dice.choice(KINDS),
            "depth": str(dice.randrange(9)),
            "lr": f"{10 ** dice.uniform(-5, -1):.6f}",
        }
        tags = {"team": dice.choice(TEAMS), "mlflow.runName": name}
        metrics = {"auc": dice.random(), "loss": dice.expovariate(1.0)}
        yield Facts(f"run-{at:020d}", name, START_MS + at * 1_000, metrics, {"params": params, "tags": tags})


def points(count: int) -> Iterator[tuple[int, int, float]]:
    """(step, ms, value) of one long series."""
    dice = random.Random(SEED)
    return ((at, START_MS + at, dice.gauss(0, 1)) for at in range(count))


def fill_mlflow(path: Path, experiment_id: str, count: int) -> None:
    """Write runs into a store of MLflow's that its server has made."""
    database = sqlite3.connect(path)
    with database:
        for each in runs(count):
            run_id = each.id.removeprefix("run-").zfill(32)
            uri = f"mlflow-artifacts:/{experiment_id}/{run_id}/artifacts"
            database.execute(
                "INSERT INTO runs (run_uuid, name, source_type, source_name, entry_point_name, user_id, status, start_time,"
                " end_time, source_version, lifecycle_stage, artifact_uri, experiment_id)"
                " VALUES (?, ?, 'UNKNOWN', '', '', 'ada', 'FINISHED', ?, ?, '', 'active', ?, ?)",
                (run_id, each.name, each.start_ms, each.start_ms + 500, uri, int(experiment_id)),
            )
            for key, value in each.metrics.items():
                row = (key, value, each.start_ms, run_id)
                database.execute(
                    "INSERT INTO metrics (key, value, timestamp, run_uuid, step, is_nan) VALUES (?,?,?,?,0,0)", row
                )
                database.execute(
                    "INSERT INTO latest_metrics (key, value, timestamp, run_uuid, step, is_nan) VALUES (?,?,?,?,0,0)",
                    row,
                )
            for table, texts in each.texts.items():
                rows = [(key, value, run_id) for key, value in texts.items()]
                database.executemany(f"INSERT INTO {table} (key, value, run_uuid) VALUES (?,?,?)", rows)
    database.close()


def lengthen_mlflow(path: Path, run_id: str, key: str, count: int) -> None:
    """Write a long series into a run of MLflow's."""
    database = sqlite3.connect(path)
    with database:
        rows = [(key, value, ms, run_id, step) for step, ms, value in points(count)]
        table = "(key, value, timestamp, run_uuid, step, is_nan) VALUES (?,?,?,?,?,0)"
        database.executemany(f"INSERT INTO metrics {table}", rows)
        database.execute(f"INSERT INTO latest_metrics {table}", rows[-1])
    database.close()


def fill_sill(home: Path, project: str, experiment_id: str, count: int) -> None:
    """Write the same runs into a home of Sill's."""
    database = open_database(f"sqlite:///{home}/sill.db", SystemClock())
    try:
        some: list[Facts] = []
        for each in runs(count):
            some.append(each)
            if len(some) == AT_ONCE:
                database.write_sync(lambda tx, some=tuple(some): _keep(tx, project, experiment_id, some))  # type: ignore[misc]
                some.clear()
        database.write_sync(lambda tx: _keep(tx, project, experiment_id, tuple(some)))
    finally:
        database.close()


def lengthen_sill(home: Path, project: str, run_id: str, key: str, count: int) -> None:
    """Write a long series into a run of Sill's."""
    database = open_database(f"sqlite:///{home}/sill.db", SystemClock())
    try:
        packed, head = series.packed(project, run_id, key, list(points(count)))

        def work(tx: Tx) -> None:
            insert_rows(tx.connection, tables.series, tuple(packed[0]), [tuple(row.values()) for row in packed])
            insert_rows(tx.connection, tables.last_metrics, tuple(head), [tuple(head.values())])

        database.write_sync(work)
    finally:
        database.close()


def _keep(tx: Tx, project: str, experiment_id: str, some: tuple[Facts, ...]) -> None:
    rows: list[tuple[object, ...]] = []
    heads: list[tuple[object, ...]] = []
    columns: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())
    for each in some:
        _keep_run(tx, project, experiment_id, each)
        for key, value in each.metrics.items():
            packed, head = series.packed(project, each.id, key, [(0, each.start_ms, value)])
            rows += [tuple(row.values()) for row in packed]
            heads.append(tuple(head.values()))
            columns = tuple(packed[0]), tuple(head)
    insert_rows(tx.connection, tables.series, columns[0], rows)
    insert_rows(tx.connection, tables.last_metrics, columns[1], heads)
    for table in (tables.params, tables.tags):
        kept = [
            (project, each.id, key, value[: tables.HEAD_LENGTH], value)
            for each in some
            for key, value in each.texts[table.name.removeprefix("run_")].items()
        ]
        insert_rows(tx.connection, table, ("project", "run_id", "key", "head", "value"), kept)


def _keep_run(tx: Tx, project: str, experiment_id: str, facts: Facts) -> None:
    run = Run(
        id=facts.id,
        project=project,
        spec=RunSpec(kind=EXTERNAL, name=facts.name),
        state=RunState.FINISHED,
        kind=EXTERNAL,
        handle=EXTERNAL,
        experiment_id=experiment_id,
        name=facts.name,
        user="ada",
        created_us=facts.start_ms * 1_000,
        started_us=facts.start_ms * 1_000,
        ended_us=(facts.start_ms + 500) * 1_000,
        artifact_uri=f"mlflow-artifacts:/{experiment_id}/{facts.id}/artifacts",
    )
    RUNS.create(tx, run)
