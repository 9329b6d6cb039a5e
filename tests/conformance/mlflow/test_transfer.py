"""What is imported and exported is equal to its source, as MLflow's own client sees both; also when it was interrupted."""

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sill.sdk.client import Client
from sill.testing.live import Live
from sill.testing.mlflow_server import MlflowServer
from sill.testing.mlflow_store import Size, make_store
from sill.transfer.copying import Transfer
from sill.transfer.journal import Journal
from sill.transfer.opening import export_mlflow, import_mlflow, open_source
from sill.transfer.rest import of_sill
from sill.transfer.rest_target import RestTarget
from sill.transfer.types import Report

pytestmark = [pytest.mark.peer("mlflow"), pytest.mark.timeout(300)]

SMALL = Size(runs=6, points=360, bytes=40_000, versions=6)
DEATHS_EVERY = 12
"""How many notes apart the process of the interrupted import dies."""


class Died(BaseException):
    """The process ends here."""


class Mortal(Journal):
    """A journal in which a thing is done and not noted any more, each time so many have been."""

    left = DEATHS_EVERY

    def note(self, kind: str, source: str, target: str = "", size: int = 0, *, is_lasting: bool = True) -> None:
        """Note it, or die before."""
        self.left -= 1
        if self.left < 0:
            raise Died
        super().note(kind, source, target, size, is_lasting=is_lasting)


@pytest.fixture(scope="session")
def store(peer: MlflowServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small store with one of everything."""
    return make_store(tmp_path_factory.mktemp("store"), peer.wait_ready().folder / "mlflow.db", SMALL)


@pytest.fixture
def project(platform: Live) -> Iterator[Callable[[str], Client]]:
    """Makes a project and gives its client."""
    clients: list[Client] = []

    def make(name: str) -> Client:
        with platform.client("root") as http:
            http.post("/api/v1/projects", json={"project": name}).raise_for_status()
        clients.append(Client(platform.url, platform.tokens["root"], name))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


def seen(peer: MlflowServer, token: str, *uris: str) -> list[dict[str, Any]]:
    """What MLflow's client sees at each address."""
    command = [peer.python, Path(__file__).with_name("dump.py"), *uris]
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "SILL_"))}
    quiet = {"MLFLOW_TRACKING_TOKEN": token, "MLFLOW_ALLOW_FILE_STORE": "true", "MLFLOW_DISABLE_TELEMETRY": "true"}
    quiet |= {"MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false", "PYTHONWARNINGS": "ignore"}
    ended = subprocess.run(command, env={**kept, **quiet}, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr[-3_000:]
    return [json.loads(line) for line in ended.stdout.splitlines() if line.startswith("{")]


def differing(one: Any, other: Any, place: str = "") -> list[str]:
    """Where two dumps differ."""
    if isinstance(one, dict) and isinstance(other, dict):
        keys = sorted({*one, *other})
        return [found for key in keys for found in differing(one.get(key), other.get(key), f"{place}/{key}")]
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        pairs = enumerate(zip(one, other, strict=True))
        return [found for at, pair in pairs for found in differing(*pair, f"{place}/{at}")]
    return [] if one == other else [f"{place}: {str(one)[:200]} became {str(other)[:200]}"]


def is_in_trash(source: dict[str, Any], place: str) -> bool:
    """True for a file of a deleted experiment."""
    parts = place.split("/")
    return "files" in parts and source["experiments"][int(parts[2])]["stage"] == "deleted"


def interrupted(store: Path, client: Client, journal: Path) -> tuple[Report, int]:
    """Import in as many attempts as it takes; also how many died."""
    deaths = 0
    while True:
        source, target = open_source(str(store)), RestTarget(of_sill(client))
        kept = Mortal(journal, source.address, target.address)
        try:
            return Transfer(source, target, kept, lambda line: None).run(), deaths
        except Died:
            deaths += 1
        finally:
            for each in (kept, source, target):
                each.close()


def test_import_and_export_keep_everything(
    store: Path, peer: MlflowServer, platform: Live, project: Callable[[str], Client], tmp_path: Path
) -> None:
    whole, often, again = project("whole"), project("often"), project("again")
    quiet: dict[str, Any] = {"tell": lambda line: None}
    report = import_mlflow(whole, str(store), journal=tmp_path / "whole.db", **quiet)
    _, deaths = interrupted(store, often, tmp_path / "often.db")
    out = export_mlflow(whole, str(tmp_path / "mlruns"), journal=tmp_path / "out.db", **quiet)
    back = import_mlflow(again, str(tmp_path / "mlruns"), journal=tmp_path / "again.db", **quiet)

    places = [f"{platform.url}/projects/{name}" for name in ("whole", "often", "again")]
    source, *copies = seen(peer, platform.tokens["root"], f"sqlite:///{store}", *places, f"file://{tmp_path}/mlruns")

    assert [report.left_out, out.left_out, back.left_out] == [(), (), ()]
    assert deaths > 3
    for copy in copies[:-1]:
        assert differing(source, copy) == []
    # MLflow itself does not find files in the trash of a folder; what lies there was imported into `again`.
    assert [place for place in differing(source, copies[-1]) if not is_in_trash(source, place)] == []


def test_what_is_done_is_not_done_again(store: Path, project: Callable[[str], Client], tmp_path: Path) -> None:
    client = project("twice")
    told: list[str] = []
    first = import_mlflow(client, str(store), journal=tmp_path / "j.db", tell=lambda line: None)
    second = import_mlflow(client, str(store), journal=tmp_path / "j.db", tell=told.append)

    assert second.counts == first.counts
    assert [line for line in told if line.startswith("file")] == []
