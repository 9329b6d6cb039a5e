"""A real control plane, a line to it that can be cut, and relays as processes of their own."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from sill.testing.control_plane import ControlPlane
from sill.testing.line import Line

SECRET = "sesame"
API = "/api/2.0/mlflow"
WAIT_S = 30.0


class RelayProcess:
    """`python -m sill.relay` on a folder."""

    def __init__(self, folder: Path, url: str, token: str) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        order = {"url": url, "token": token, "secret": SECRET, "tells_address": True, "drain_s": WAIT_S}
        with (folder / "relay.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-I", "-m", "sill.relay", str(folder)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(order).encode())
        self.process.stdin.close()
        self.url = self.process.stdout.readline().decode().strip()
        assert self.url, (folder / "relay.log").read_text()
        headers = {"Authorization": f"Bearer {SECRET}"}
        self.http = httpx.Client(base_url=self.url, headers=headers, timeout=WAIT_S, trust_env=False)

    def post(self, path: str, **body: Any) -> httpx.Response:
        return self.http.post(f"{API}{path}", json=body)

    def get(self, path: str, **query: Any) -> httpx.Response:
        return self.http.get(f"{API}{path}", params=query)

    def begin(self, name: str = "r", experiment_id: str = "0") -> str:
        made = self.post("/runs/create", experiment_id=experiment_id, run_name=name, start_time=1)
        return str(made.raise_for_status().json()["run"]["info"]["run_id"])

    def point(self, run_id: str, step: int, key: str = "loss") -> httpx.Response:
        return self.post("/runs/log-metric", run_id=run_id, key=key, value=step / 7, step=step, timestamp=step + 1)

    def points(self, run_id: str, key: str = "loss") -> list[tuple[int, int, float]]:
        """The series as the server has it, read through the relay."""
        found = self.get("/metrics/get-history", run_id=run_id, metric_key=key).raise_for_status().json()
        return [(each["step"], each["timestamp"], each["value"]) for each in found.get("metrics", [])]

    @property
    def refused(self) -> list[dict[str, Any]]:
        path = self.folder / "relay" / "refused.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def kill(self) -> None:
        self.process.kill()
        self._gone()

    def stop(self) -> int:
        """Let it send what is left and end."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self._gone()

    def _gone(self) -> int:
        self.http.close()
        assert self.process.stdout is not None
        self.process.stdout.close()
        return self.process.wait(WAIT_S)


def expected(steps: range) -> list[tuple[int, int, float]]:
    return [(step, step + 1, step / 7) for step in steps]


def eventually(holds: Callable[[], bool]) -> None:
    until_s = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < until_s, "it did not come true"
        time.sleep(0.02)


@pytest.fixture(scope="package")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    started = ControlPlane(tmp_path_factory.mktemp("relay") / "home")
    started.start()
    yield started
    started.stop()


@pytest.fixture
def token(plane: ControlPlane) -> str:
    return (plane.home / "token").read_text().strip()


@pytest.fixture
def line(plane: ControlPlane) -> Iterator[Line]:
    made = Line(plane.port)
    yield made
    made.cut()


@pytest.fixture
def start(line: Line, token: str, tmp_path: Path) -> Iterator[Callable[..., RelayProcess]]:
    """Starts a relay on this test's folder."""
    started: list[RelayProcess] = []

    def begin() -> RelayProcess:
        started.append(RelayProcess(tmp_path / "spool", line.url, token))
        return started[-1]

    yield begin
    for each in started:
        if each.process.poll() is None:
            each.kill()


@pytest.fixture
def relay(start: Callable[..., RelayProcess]) -> RelayProcess:
    return start()


@pytest.fixture
def server(plane: ControlPlane, token: str) -> Iterator[httpx.Client]:
    """The server itself, without a relay between."""
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.Client(base_url=plane.url, headers=headers, timeout=WAIT_S, trust_env=False) as client:
        yield client


@pytest.fixture(scope="package")
def cut(plane: ControlPlane) -> Iterator[Line]:
    """A line that several tests share; each cuts or mends it as it needs."""
    made = Line(plane.port)
    yield made
    made.cut()


@pytest.fixture(scope="package")
def started(cut: Line, plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RelayProcess]:
    """A relay that several tests share."""
    token = (plane.home / "token").read_text().strip()
    relay = RelayProcess(tmp_path_factory.mktemp("shared") / "spool", cut.url, token)
    yield relay
    relay.kill()


@pytest.fixture(scope="package")
def known_run(started: RelayProcess) -> str:
    """A run with a param that the shared relay and the server know."""
    run_id = started.begin()
    started.post("/runs/log-parameter", run_id=run_id, key="kept", value="1").raise_for_status()
    return run_id
