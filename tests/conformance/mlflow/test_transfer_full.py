"""A large store, imported by the command from a running server, killed on the way, is equal to its source."""

import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.conformance.mlflow.test_transfer import differing, project, seen

from sill.sdk.client import Client
from sill.testing.live import Live
from sill.testing.mlflow_server import MlflowServer
from sill.testing.mlflow_store import Size, make_store

__all__ = ["project"]

pytestmark = [pytest.mark.peer("mlflow"), pytest.mark.timeout(3_600), pytest.mark.slow]

FULL = Size(runs=500, points=1_000_000, bytes=1_000_000_000, versions=50)
KILLS = 5
SECONDS_BETWEEN = (2.0, 15.0)


def import_by_command(platform: Live, url: str, folder: Path) -> subprocess.Popen[bytes]:
    """`sill import mlflow` in a process of its own."""
    command = [str(Path(sys.executable).with_name("sill")), "-p", "full", "import", "mlflow", url, "--json"]
    environment = os.environ | {"SILL_HOME": str(platform.home), "SILL_URL": platform.url}
    command += ["--journal", str(folder / "j.db")]
    with (folder / "said.json").open("wb") as output:
        return subprocess.Popen(command, env=environment, stdout=output, stderr=output)


def test_a_large_store_is_equal_to_its_source_although_the_import_was_killed(
    peer: MlflowServer, platform: Live, project: Callable[[str], Client], tmp_path: Path
) -> None:
    store = make_store(tmp_path / "store", peer.wait_ready().folder / "mlflow.db", FULL)
    server = MlflowServer(tmp_path / "server", database=f"sqlite:///{store}")
    dice = random.Random(3)
    project("full")
    try:
        server.spawn().wait_ready()
        for _ in range(KILLS):
            process = import_by_command(platform, server.url, tmp_path)
            time.sleep(dice.uniform(*SECONDS_BETWEEN))
            process.kill()
            process.wait()
        begun_s = time.monotonic()
        assert import_by_command(platform, server.url, tmp_path).wait() == 0, (tmp_path / "said.json").read_text()
        print(f"the last attempt took {time.monotonic() - begun_s:.0f} s")
        found: list[dict[str, Any]] = seen(
            peer, platform.tokens["root"], f"sqlite:///{store}", f"{platform.url}/projects/full"
        )
    finally:
        server.stop()

    assert differing(*found) == []
