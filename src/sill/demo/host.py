"""A platform of the demo's own: a fresh home, free ports, started and stopped here, so that the demo disturbs nothing."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx

from sill.core.errors import Unavailable
from sill.sdk.client import Client

READY_S = 30.0
STOP_S = 10.0
FIRST_PORT = 7455
PORTS_TRIED = 200


class Host:
    """One platform for one demonstration. `work` is a folder for the story's own files."""

    def __init__(self, story: str) -> None:
        self.home = Path(tempfile.mkdtemp(prefix=f"sill-demo-{story}-"))
        self.port = free_ports()
        self.work = self.home / "work"
        self.work.mkdir(mode=0o700)
        self.url = f"http://127.0.0.1:{self.port}"
        self.inference_url = f"http://127.0.0.1:{self.port + 1}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> float:
        """Start `sill up` and return the seconds until it answered.

        Raises:
            Unavailable: it did not answer in `READY_S`; the message has its last words.
        """
        begun = time.monotonic()
        environment = {**os.environ, "SILL_HOME": str(self.home), "SILL_PORT": str(self.port)}
        for name in ("SILL_DATABASE_URL", "SILL_BLOB_URL", "SILL_ONLINE_URL", "SILL_URL", "SILL_TOKEN"):
            environment.pop(name, None)
        with (self.home / "up.log").open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "sill.api"],
                env=environment,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        while time.monotonic() - begun < READY_S and self._process.poll() is None:
            if is_ready(self.url) and is_ready(self.inference_url, "/v2/health/live"):
                return time.monotonic() - begun
            time.sleep(0.05)
        said = (self.home / "up.log").read_text(errors="replace")[-2_000:]
        raise Unavailable(
            f"the demo's platform did not start within {READY_S:.0f} s: {said}", fix="Run `sill up` and look."
        )

    def client(self, project: str) -> Client:
        """A client of this platform."""
        token = (self.home / "token").read_text().strip()
        return Client(url=self.url, token=token, project=project, inference_url=self.inference_url)

    def stop(self, *, remove: bool) -> None:
        """Stop the platform; with `remove`, its home goes too."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if remove:
            shutil.rmtree(self.home, ignore_errors=True)

    @property
    def process_id(self) -> int:
        """The control plane's process id."""
        return self._process.pid if self._process else 0


def is_ready(url: str, path: str = "/health") -> bool:
    """True if something answers 200 there."""
    try:
        return httpx.get(f"{url}{path}", timeout=1.0, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


def free_ports() -> int:
    """The first of three free ports in a row.

    Raises:
        Unavailable: none was found.
    """
    for port in range(FIRST_PORT, FIRST_PORT + 3 * PORTS_TRIED, 3):
        if all(_is_free(each) for each in (port, port + 1, port + 2)):
            return port
    raise Unavailable(
        f"no three free ports between {FIRST_PORT} and {FIRST_PORT + 3 * PORTS_TRIED}.", fix="Stop something."
    )


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
