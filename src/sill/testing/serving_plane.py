"""A real inference process beside a control stand-in, both on free ports, for tests and for measuring."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import httpx
import msgspec

from sill.endpoints.types import ServingPlan
from sill.testing.certificates import client_context
from sill.testing.control_plane import free_ports
from sill.testing.serving_models import TOKEN, Bundle
from sill.traffic.types import LogBatch, RequestRow

STAND_IN = "sill.testing.serving_control"
UP_S = 20.0


class ControlStandIn:
    """Plan, files and log in a folder; the process can be killed and started again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "log").mkdir(parents=True)
        self.port = free_ports()
        self.process: subprocess.Popen[bytes] | None = None

    def publish(self, plan: ServingPlan, **bundles: Bundle) -> None:
        """`v1=Bundle` puts the files of version 1 in place, then the plan."""
        for name, bundle in bundles.items():
            place = self.folder / "files" / name.removeprefix("v")
            for path, content in bundle.files.items():
                (place / path).parent.mkdir(parents=True, exist_ok=True)
                (place / path).write_bytes(content)
        beside = self.folder / "plan.new"
        beside.write_bytes(msgspec.json.encode(plan))
        beside.rename(self.folder / "plan.json")

    def start(self) -> None:
        self.process = subprocess.Popen([sys.executable, "-m", STAND_IN, str(self.folder), str(self.port)])

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def logged(self) -> list[RequestRow]:
        batches = [msgspec.json.decode(p.read_bytes(), type=LogBatch) for p in sorted((self.folder / "log").iterdir())]
        return [row for batch in batches for row in batch.rows]

    def reports(self) -> list[dict[str, Any]]:
        path = self.folder / "reports"
        return [msgspec.json.decode(line) for line in path.read_bytes().splitlines()] if path.exists() else []


Served = TypeVar("Served", bound="InferenceUnderTest")


class InferenceUnderTest:
    """The real process, `python -m sill.api.inference`.

    Attributes:
        up_s: how long it may take to be ready.
    """

    up_s = UP_S

    def __init__(self, home: Path, control: ControlStandIn) -> None:
        self.home = home
        self.port = free_ports() + 1
        self.control = control
        home.mkdir(exist_ok=True)
        token = home / "inference.token"
        token.touch(mode=0o600)
        token.write_text(TOKEN)
        self.environment = {
            **os.environ,
            "SILL_HOME": str(home),
            "SILL_PORT": str(self.port - 1),
            "SILL_TOKEN_FILE": str(token),
            "SILL_URL": f"http://127.0.0.1:{control.port}",
        }
        self.http = httpx.Client(
            base_url=f"http://127.0.0.1:{self.port}",
            headers={"Authorization": f"Bearer {TOKEN}"},
            trust_env=False,
            timeout=UP_S,
        )
        self.process: subprocess.Popen[bytes] | None = None

    def secure(self: "Served", cert: Path, key: Path) -> "Served":
        """Let it listen with TLS alone, as `localhost`."""
        self.environment |= {"SILL_TLS_CERT": str(cert), "SILL_TLS_KEY": str(key)}
        self.http = httpx.Client(
            base_url=f"https://localhost:{self.port}",
            headers=self.http.headers,
            verify=client_context(cert),
            trust_env=False,
            timeout=UP_S,
        )
        return self

    def start(self) -> None:
        self.process = subprocess.Popen([sys.executable, "-m", "sill.api.inference"], env=self.environment)
        self.until(self.is_ready, self.up_s)

    def is_ready(self) -> bool:
        try:
            return self.http.get("/v2/health/ready").status_code == 200
        except httpx.TransportError:
            return False

    def until(self, holds: Any, seconds: float = UP_S) -> None:
        """Wait for a real process to get there."""
        limit = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < limit, "it did not get there in time"
            time.sleep(0.02)

    def spooled_rows(self) -> int:
        """Rows that are safe on disk and wait for the control plane."""
        return sum(path.read_bytes().count(b"\n") for path in (self.home / "inference" / "spool").iterdir())

    def infer(self, row: Any = (1.0, 2.0, 3.0), **more: Any) -> httpx.Response:
        tensor = {"name": "input", "shape": [1, 3], "datatype": "FP32", "data": list(row)}
        return self.http.post("/v2/models/churn/infer", json={"inputs": [tensor], **more})

    def kill(self, how: int = signal.SIGKILL) -> None:
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait()
            self.process = None

    def stop(self) -> None:
        """End it, however it was started."""
        self.kill()


@contextmanager
def serving(
    folder: Path,
    plan: ServingPlan,
    bundles: Mapping[str, Bundle],
    make: Callable[[Path, ControlStandIn], Served],
) -> Iterator[Served]:
    """A process that serves a plan, ready, beside its control plane; both end with the block.

    Args:
        bundles: see `ControlStandIn.publish`.
        make: the process, from its home and its control plane: `InferenceUnderTest`, or what is in front of some.
    """
    control = ControlStandIn(folder / "control")
    control.publish(plan, **bundles)
    under_test = make(folder / "home", control)
    try:
        control.start()
        under_test.start()
        yield under_test
    finally:
        under_test.stop()
        control.kill()
        under_test.http.close()
