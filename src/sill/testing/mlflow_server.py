"""A real `mlflow server` in an environment of its own, with a SQLite store: what Sill is compared with."""

import contextlib
import os
import subprocess
import time
from pathlib import Path

import httpx
import psutil

from sill.core.errors import Unavailable
from sill.testing.control_plane import free_ports
from sill.testing.peers import environment

READY_S_MAX = 300.0
STOP_S = 10.0


class MlflowServer:
    """One server on a folder of its own.

    Args:
        folder: where its database and its artifacts lie; made if it is not there.
        is_shipped: as its users start it: four web workers and the processes of its job queue. Else one web worker, which
            answers the same and starts sooner.
        database: the address of its store, a SQLite file in the folder if none is given.
    """

    def __init__(self, folder: Path, *, is_shipped: bool = False, database: str = "") -> None:
        self.folder = folder
        self.database = database or f"sqlite:///{folder}/mlflow.db"
        self.port = free_ports()
        self.url = f"http://127.0.0.1:{self.port}"
        self.python = environment("mlflow")
        self._is_shipped = is_shipped
        self._process: subprocess.Popen[bytes] | None = None

    def spawn(self) -> "MlflowServer":
        """Start it, and do not wait for it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        places = ["--backend-store-uri", self.database, "--artifacts-destination", str(self.folder / "artifacts")]
        listen = ["--host", "127.0.0.1", "--port", str(self.port)]
        workers = [] if self._is_shipped else ["--workers", "1"]
        quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
        if not self._is_shipped:
            quiet["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "SILL_"))}
        with (self.folder / "server.log").open("ab") as output:
            self._process = subprocess.Popen(
                [self.python, "-m", "mlflow", "server", *places, *listen, *workers],
                env={**kept, **quiet},
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        return self

    def wait_ready(self) -> "MlflowServer":
        """Wait until it answers.

        Raises:
            Unavailable: it did not, or its process ended.
        """
        until_s = time.monotonic() + READY_S_MAX
        while time.monotonic() < until_s and self._process is not None and self._process.poll() is None:
            with contextlib.suppress(httpx.HTTPError):
                answer = httpx.get(f"{self.url}/health", timeout=READY_S_MAX, trust_env=False)
                if answer.status_code == httpx.codes.OK and self._listens():
                    return self
            time.sleep(0.02)
        said = (self.folder / "server.log").read_text(errors="replace")[-2_000:]
        raise Unavailable(f"the MLflow server did not start: {said}", fix="Look at its environment.")

    def processes(self) -> list[psutil.Process]:
        """The server and all it started."""
        if self._process is None:
            return []
        with contextlib.suppress(psutil.NoSuchProcess):
            root = psutil.Process(self._process.pid)
            return [root, *root.children(recursive=True)]
        return []

    def _listens(self) -> bool:
        """True if it is not another program that answers on the port."""
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                if any(each.laddr.port == self.port for each in process.net_connections("tcp")):
                    return True
        return False

    def stop(self) -> None:
        """End it and all it started."""
        left = self.processes()
        for process in left:
            with contextlib.suppress(psutil.Error):
                process.terminate()
        _, stubborn = psutil.wait_procs(left, timeout=STOP_S)
        for process in stubborn:
            with contextlib.suppress(psutil.Error):
                process.kill()
        if self._process is not None:
            self._process.wait()
            self._process = None
