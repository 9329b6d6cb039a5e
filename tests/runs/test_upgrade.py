"""A home of the first release is brought to the newest tables with nothing lost: runs, points, texts, who holds what."""

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from alembic import command

from sill.core.clock import SystemClock
from sill.runs.experiments import store as experiments
from sill.runs.store import RUNS
from sill.runs.tracking import histories, store
from sill.runs.types import Provenance, Run, RunSpec, RunState
from sill.stores import migrate
from sill.stores.database import Database, open_database
from sill.stores.database.references import used

POINTS = 9_000
CODE = "c" * 64
NEW_FIELDS = {"experiment_id", "user", "artifact_uri", "lifecycle", "deleted_us"}


@pytest.fixture
def old(database_url: str) -> Iterator[Database]:
    """A database as revision 0001 left it, with three runs, and points of one of them."""
    opened = open_database(database_url, SystemClock())
    with opened.engine.begin() as connection:
        command.upgrade(migrate._config(connection), "0001")
        for name, experiment in (("run-00000001", "default"), ("run-00000002", "tuning"), ("run-00000003", "tuning")):
            _insert(connection, "runs", **_run(name, experiment))
        rows = [(n * 7919 % POINTS, 1_000 + n, float(n)) for n in range(POINTS)]
        for at, (step, ms, value) in enumerate(rows):
            point = {"id": at + 1, "project": "p", "run_id": "run-00000002", "key": "loss"}
            _insert(connection, "run_metrics", step=step, timestamp_ms=ms, value=value, **point)
        last = max(rows)
        named = {"project": "p", "run_id": "run-00000002", "key": "loss"}
        _insert(connection, "run_last_metrics", step=last[0], timestamp_ms=last[1], value=last[2], **named)
        _insert(connection, "run_params", **(named | {"key": "lr"}), value="0.1" * 100)
        _insert(connection, "run_tags", **(named | {"key": "who"}), value="ada")
    yield opened
    opened.close()


def _insert(connection: Any, table: str, **values: Any) -> None:
    names = ", ".join(values)
    marks = ", ".join(["?" if connection.dialect.name == "sqlite" else "%s"] * len(values))
    connection.exec_driver_sql(f"INSERT INTO {table} ({names}) VALUES ({marks})", tuple(values.values()))


def _run(name: str, experiment: str) -> dict[str, Any]:
    spec = RunSpec(command=("true",), code=CODE, experiment=experiment)
    run = Run(id=name, project="p", spec=spec, state=RunState.FINISHED, experiment=experiment, name=f"n {name}")
    full = msgspec.structs.replace(run, revision=1, created_us=5, started_us=6, ended_us=7, provenance=Provenance())
    doc = {key: value for key, value in msgspec.to_builtins(full).items() if key not in NEW_FIELDS}
    row = {"project": "p", "key": name, "revision": 1, "updated_us": 1, "state": "finished", "experiment": experiment}
    return row | {"kind": "command", "parent_id": "", "doc": msgspec.json.encode(doc).decode()}


def test_points_params_and_tags_are_all_there_after_it(old: Database) -> None:
    migrate.ensure_schema(old)

    with old.engine.connect() as connection:
        page = histories.page(connection, "p", "run-00000002", "loss", "", POINTS + 1)
        data = store.data(connection, "p", "run-00000002")
    assert [(point.step, point.timestamp_ms, point.value) for point in page.items] == [
        (n * 7919 % POINTS, 1_000 + n, float(n)) for n in range(POINTS)
    ]
    assert (data.params, data.tags) == ({"lr": "0.1" * 100}, {"who": "ada"})
    assert data.metrics == {"loss": max((n * 7919 % POINTS, float(n)) for n in range(POINTS))[1]}


def test_names_of_experiments_became_experiments(old: Database) -> None:
    migrate.ensure_schema(old)

    with old.engine.connect() as connection:
        runs = RUNS.every(connection, "p")
        found = [experiments.get(connection, "p", number) for number in ("0", "1")]
        named = RUNS.every(connection, "p", name="n run-00000003", started_us=6, lifecycle="active", experiment_id="1")
    assert [(run.experiment, run.experiment_id) for run in runs] == [("default", "0"), ("tuning", "1"), ("tuning", "1")]
    assert [(one.name, one.artifact_location) for one in found] == [
        ("Default", "mlflow-artifacts:/0"),
        ("tuning", "mlflow-artifacts:/1"),
    ]
    assert named[0].artifact_uri == "mlflow-artifacts:/1/run-00000003/artifacts"


def test_what_runs_hold_is_known(old: Database) -> None:
    migrate.ensure_schema(old)

    with old.engine.connect() as connection:
        assert used(connection, [CODE, "d" * 64]) == {CODE}


def test_new_runs_go_on_where_the_old_ones_ended(old: Database) -> None:
    migrate.ensure_schema(old)

    assert old.write_sync(lambda tx: experiments.ensure(tx, "p", "tuning", "ada")).id == "1"
    assert old.write_sync(lambda tx: experiments.ensure(tx, "p", "other", "ada")).id == "2"
    assert old.write_sync(lambda tx: experiments.ensure(tx, "q", "default", "ada")).id == "0"
