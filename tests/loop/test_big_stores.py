"""The same small loop on embedded stores and on PostgreSQL, S3 and Redis; and a backup that moves it to the others."""

import hashlib
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from sill.lake.types import Table
from sill.models.types import VersionState
from sill.sdk.stages import Stages
from sill.testing.live import Live
from sill.testing.servers import Postgres

from .conftest import ROWS, finished, stages, until, write_customers

PROJECT_FILE = Path(__file__).parent / "churn_project.py"
REQUESTS = 80


@dataclass
class Told:
    """A platform after the loop was told on it once."""

    live: Live
    sill: Stages
    folder: Path
    truth: dict[str, str]
    asked: dict[str, str] = field(default_factory=dict)
    """Request → entity."""


@pytest.fixture(scope="module")
def big_stores(postgres: Postgres, s3_endpoint: str, redis_url: str) -> dict[str, str]:
    """Fresh stores on real servers, as settings."""
    bucket = f"loop-{uuid.uuid4().hex[:12]}"
    httpx.put(f"{s3_endpoint}/{bucket}").raise_for_status()
    return {
        "SILL_DATABASE_URL": postgres.new_database(),
        "SILL_BLOB_URL": f"s3://{bucket}/sill",
        "SILL_ONLINE_URL": redis_url,
    }


@pytest.fixture(scope="module", params=["embedded", "big"])
def told(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    """The loop, told on stores of each size."""
    settings = request.getfixturevalue("big_stores") if request.param == "big" else {}
    folder = tmp_path_factory.mktemp(request.param)
    live = Live(folder / "home", **settings)
    try:
        with stages(live.start(), "churn") as sill:
            yield tell(live, sill, folder)
    finally:
        live.stop()


def tell(live: Live, sill: Stages, folder: Path) -> Told:
    """Apply, ingest, look up, train, serve, ask, and deliver labels."""
    work = folder / "work"
    work.mkdir()
    shutil.copy(PROJECT_FILE, work / "project.py")
    loop = Told(live, sill, folder, write_customers(work / "customers.csv"))
    sill.apply(work / "project.py")
    finished(sill, sill.triggers.start("ingestion", "customers"))
    finished(sill, sill.triggers.start("training", "fit"))
    until(lambda: sill.endpoints.get("churn").live(), "a revision is live")
    until(lambda: sill.traffic.is_ready("churn"), "the endpoint answers")
    for entity in list(loop.truth)[:REQUESTS]:
        loop.asked[ask(sill, entity)] = entity
    until(lambda: recorded(sill) >= REQUESTS, "the requests are rows")
    sill.traffic.label("churn", {request: loop.truth[entity] for request, entity in loop.asked.items()})
    return loop


def ask(sill: Stages, entity: str) -> str:
    """Ask the endpoint about an entity, with its features from the online store."""
    features = sill.features.lookup("recent", [{"id": entity}]).rows[0].features
    numbers = {name: features[name] for name in ("load", "age", "wear")}
    return sill.traffic.infer("churn", numbers, entity={"id": entity}).request_id


def recorded(sill: Stages) -> int:
    return sum(each.requests for each in sill.traffic.stats("churn"))


def test_a_file_became_a_table_under_its_rules(told: Told) -> None:
    table: Table = told.sill.lake.get("customers")

    assert table.rows == ROWS
    assert (
        told.sill.lake.sql("select count(*) as n from customers where _source like 'upload://%/customers.csv'")["n"][
            0
        ].as_py()
        == ROWS
    )


def test_the_online_store_has_the_features_of_the_training_set(told: Told) -> None:
    offline = {row["id"]: row["wear"] for row in told.sill.features.training_set("recent").to_pylist()}
    online = told.sill.features.lookup("recent", [{"id": entity} for entity in offline]).rows

    assert {row.entity["id"]: row.features["wear"] for row in online} == offline


def test_the_trained_version_passed_its_gate_and_is_the_champion(told: Told) -> None:
    assert told.sill.models.version("churn", 1).state is VersionState.ACCEPTED
    assert told.sill.models.get("churn").aliases == {"champion": 1}


def test_every_answer_is_a_row_of_the_lake_with_its_label(told: Told) -> None:
    def rows(table: str) -> set[str]:
        return set(told.sill.lake.rows(table, columns=["request_id"])["request_id"].to_pylist())

    until(lambda: rows("requests_churn") >= set(told.asked), "all requests are in the table")
    assert rows("labels_churn") == set(told.asked)


def test_the_monitor_closes_windows_without_an_alarm(told: Told) -> None:
    status = until(
        lambda: found if (found := told.sill.monitors.get("churn")).windows >= REQUESTS // 40 else None,
        "the windows are closed",
    )

    assert status.problem == ""
    assert [incident.summary for incident in status.incidents] == []
    window = told.sill.monitors.windows("churn").items[0]
    assert (window.requests, window.errors, window.shifted) == (40, 0, ())


def test_an_answer_is_explained_down_to_its_line(told: Told) -> None:
    request, entity = next(iter(told.asked.items()))
    explanation = told.sill.traffic.explain(request)

    assert explanation.label == told.truth[entity]
    source = explanation.chain[-1]
    digest = hashlib.sha256((told.folder / "work" / "customers.csv").read_bytes()).hexdigest()
    assert (source.what, source.address) == ("source", f"upload://{digest}/customers.csv")
    assert source.facts["rows"] == str(int(entity[1:]) + 1), "the row behind the header is row 1"
    assert explanation.source_rows[0]["id"] == entity


def test_a_backup_is_restored_into_stores_of_the_other_kind(
    told: Told, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    other = {} if told.live.settings.get("SILL_DATABASE_URL") else request.getfixturevalue("other_stores")
    told.sill.platform.backup(tmp_path / "backup.tar")
    told.live.stop()
    moved = Live(tmp_path / "moved", **other)
    restore(tmp_path / "backup.tar", moved)
    try:
        with stages(moved.start(), "churn") as sill:
            until(lambda: sill.traffic.is_ready("churn"), "the endpoint answers again")
            before, entity = next(iter(told.asked.items()))
            fresh = ask(sill, entity)
            until(lambda: recorded(sill) > REQUESTS, "the new request is a row")

            assert sill.traffic.explain(fresh).request.prediction == sill.traffic.explain(before).request.prediction
            assert sill.lake.get("customers").rows == ROWS
            assert sill.governance.verify_audit().problem == ""
            finished(sill, sill.triggers.start("training", "fit"))
            assert sill.models.version("churn", 2).spec.evaluation.incumbent_version == 1
    finally:
        moved.stop()


@pytest.fixture
def other_stores(postgres_url: str, s3_url: str, redis_url: str) -> dict[str, str]:
    """Big stores that are still empty."""
    return {"SILL_DATABASE_URL": postgres_url, "SILL_BLOB_URL": s3_url, "SILL_ONLINE_URL": redis_url}


def restore(archive: Path, into: Live) -> None:
    """What `sill restore` does."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SILL_")}
    subprocess.run(
        [sys.executable, "-m", "sill.api.backup", str(archive)],
        env=environment | {"SILL_HOME": str(into.home), **into.settings},
        check=True,
    )
