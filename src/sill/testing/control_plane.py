"""A real control plane as a child process: started, killed as `kill -9` does, and started again on the same home."""

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

from sill.sdk.client import Client

READY_S_MAX = 60.0
STOP_S = 15.0
PORTS = range(10_000, 32_000)
"""Below the ports that the kernel gives to outgoing connections."""
_OWN_VARIABLES = ("SILL_DATABASE_URL", "SILL_BLOB_URL", "SILL_ONLINE_URL", "SILL_URL", "SILL_TOKEN", "SILL_PROJECT")


@dataclass(frozen=True)
class Started:
    """How a start went.

    Attributes:
        wall_s: from the start of the process, interpreter and all, to the first answer of `/health`.
        queued_s: part of it during which the main thread could have run and other processes had the cores.
    """

    wall_s: float
    queued_s: float

    @property
    def own_s(self) -> float:
        """What the start took by itself, on a machine with a core to spare."""
        return self.wall_s - self.queued_s


class ControlPlane:
    """One home with its control plane.

    Args:
        home: its SILL_HOME; made by the first start.
        settings: more settings, such as `cpus="8"`.
    """

    def __init__(self, home: Path, **settings: str) -> None:
        self.home = home
        self.port = free_ports()
        self.url = f"http://127.0.0.1:{self.port}"
        self.inference_url = f"http://127.0.0.1:{self.port + 1}"
        self.command: tuple[str, ...] = (sys.executable, "-m", "sill.api")
        self.process: subprocess.Popen[bytes] | None = None
        given = {f"SILL_{name.upper()}": value for name, value in settings.items() if value}
        kept = {name: value for name, value in os.environ.items() if name not in _OWN_VARIABLES}
        self._environment = {**kept, "SILL_HOME": str(home), "SILL_PORT": str(self.port), **given}
        self._started_s = 0.0
        self._clients: dict[str, Client] = {}

    def spawn(self) -> None:
        """Start the process, and do not wait for it."""
        self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._started_s = time.monotonic()
        with (self.home / "up.log").open("ab") as output:
            self.process = subprocess.Popen(
                self.command,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def wait_ready(self) -> Started:
        """Wait for the first answer.

        Raises:
            TimeoutError: it did not come, or the process ended; the message has its last words.
        """
        while time.monotonic() - self._started_s < READY_S_MAX:
            if is_healthy(self.port):
                return Started(wall_s=time.monotonic() - self._started_s, queued_s=self._queued_s())
            if self.process is None or self.process.poll() is not None:
                break
            time.sleep(0.002)
        raise TimeoutError(f"the control plane did not answer: {self.said()}")

    def start(self) -> Started:
        """Start the process and wait for its first answer."""
        self.spawn()
        return self.wait_ready()

    def kill(self) -> None:
        """End it without a chance to finish anything. The inference plane and the runs go on."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def stop(self) -> None:
        """End the control plane and the inference plane, as Ctrl-C does."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(STOP_S)
        self.kill()
        self.end_inference()
        for client in self._clients.values():
            client.close()
        self._clients.clear()

    @contextlib.contextmanager
    def inference_alone(self) -> Iterator[None]:
        """The inference plane without a control plane, from what it has kept; call it when neither runs."""
        folder = self.home / "inference"
        own = {"SILL_TOKEN_FILE": str(folder / "token"), "SILL_URL": self.url}
        with (self.home / "logs" / "inference.log").open("ab") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "sill.api.inference"],
                env={**self._environment, **own},
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        try:
            yield
        finally:
            process.terminate()
            process.wait(STOP_S)

    def end_inference(self) -> None:
        """End the inference plane, if the control plane has left it."""
        for process in self._of_this_home("sill.api.inference"):
            with contextlib.suppress(psutil.Error):
                process.terminate()
                process.wait(STOP_S)

    def end_runs(self) -> None:
        """End what runs are still going on."""
        for process in self._of_this_home("sill.engines.local.supervisor"):
            with contextlib.suppress(psutil.Error):
                for each in (*process.children(recursive=True), process):
                    each.kill()

    def processes(self) -> list[psutil.Process]:
        """The whole tree: control plane, inference plane, and what they started."""
        roots = [psutil.Process(self.process.pid)] if self.process is not None else []
        found = {process.pid: process for root in roots for process in (root, *root.children(recursive=True))}
        found |= {process.pid: process for process in self._of_this_home("sill.api.inference")}
        return list(found.values())

    def client(self, project: str = "default") -> Client:
        """A client of this platform; closed when it is stopped."""
        if project not in self._clients:
            token = (self.home / "token").read_text().strip()
            self._clients[project] = Client(self.url, token, project, inference_url=self.inference_url)
        return self._clients[project]

    def said(self) -> str:
        """The last words of the process."""
        files = (self.home / "up.log", self.home / "logs" / "control.log")
        return "\n".join(file.read_text(errors="replace")[-3_000:] for file in files if file.exists())

    def _queued_s(self) -> float:
        """Seconds the main thread has waited for a core; 0 where the kernel does not tell."""
        try:
            return int(Path(f"/proc/{self.process.pid}/schedstat").read_text().split()[1]) / 1e9  # type: ignore[union-attr]
        except (OSError, IndexError, ValueError, AttributeError):
            return 0.0

    def _of_this_home(self, module: str) -> list[psutil.Process]:
        """Processes of a module of ours that belong to this home, by their environment or their arguments."""
        found, home = [], str(self.home)
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                command = process.cmdline()
                if module in command and (
                    process.environ().get("SILL_HOME") == home or any(home in word for word in command)
                ):
                    found.append(process)
        return found


def is_healthy(port: int) -> bool:
    """True if `/health` answers 200; waits while the process listens and does not answer yet."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=READY_S_MAX) as connection:
            connection.sendall(f"GET /health HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n".encode())
            return connection.recv(64).startswith(b"HTTP/1.1 200")
    except OSError:
        return False


def wait_until_served(plane: ControlPlane, project: str, endpoint: str) -> None:
    """Wait until the inference plane answers an endpoint.

    Raises:
        TimeoutError: it does not.
    """
    token = (plane.home / "token").read_text().strip()
    url = f"{plane.inference_url}/v2/models/{project}/{endpoint}/ready"
    until_s = time.monotonic() + READY_S_MAX
    with httpx.Client(trust_env=False, headers={"Authorization": f"Bearer {token}"}) as http:
        while time.monotonic() < until_s:
            with contextlib.suppress(httpx.TransportError):
                if http.get(url).status_code == httpx.codes.OK:
                    return
            time.sleep(0.05)
    raise TimeoutError(f"the inference plane does not answer {endpoint}: {plane.said()}")


def free_ports() -> int:
    """The first of three free ports in a row, at a place where other tests are not likely to look."""
    dice = random.SystemRandom()
    while True:
        first = dice.choice(PORTS)
        if all(_is_free(port) for port in (first, first + 1, first + 2)):
            return first


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
