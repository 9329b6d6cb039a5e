"""Keeps the inference plane's process alive: starts it, adopts one that is there already, starts it again when it dies.

It is detached from the control plane, so that it goes on serving while the control plane restarts; who it is is held by
a lock it keeps on a file, so that a reused process id is never taken for it.
"""

import asyncio
import contextlib
import fcntl
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

from sill.core.settings import Settings
from sill.safety.private_files import write_private

RESTART_PAUSE_S = 0.5
RESTART_PAUSE_S_MAX = 10.0
STOP_S = 5.0

logger = logging.getLogger("sill.inference")


class InferenceProcess:
    """The inference plane, seen from the control plane. A worker: `run` keeps it alive for ever."""

    def __init__(self, settings: Settings, token: str) -> None:
        self._settings = settings
        self._token = token
        self.folder = settings.home / "inference"
        self._child: subprocess.Popen[bytes] | None = None

    async def run(self) -> None:
        """Start it when it is not there, for ever."""
        pause_s = RESTART_PAUSE_S
        while True:
            if self.is_alive():
                pause_s = RESTART_PAUSE_S
                await asyncio.sleep(RESTART_PAUSE_S)
                continue
            if self._child is not None and self._child.poll() is not None:
                logger.warning("the inference plane ended with code %s; it starts again", self._child.returncode)
            self.start()
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, RESTART_PAUSE_S_MAX)

    def start(self) -> None:
        """Start it, detached, unless it is alive."""
        if self.is_alive() or (self._child is not None and self._child.poll() is None):
            return
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        logs = self._settings.home / "logs"
        logs.mkdir(mode=0o700, exist_ok=True)
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("LD_", "PYTHON"))},
            "SILL_HOME": str(self._settings.home),
            "SILL_PORT": str(self._settings.port),
            "SILL_TOKEN_FILE": str(self._write_token()),
            "SILL_URL": self._settings.url,
        }
        with (logs / "inference.log").open("ab") as output:
            self._child = subprocess.Popen(
                [sys.executable, "-m", "sill.api.inference"],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=environment,
                cwd=self.folder,
                start_new_session=True,
            )

    def is_alive(self) -> bool:
        """True while some process holds the inference plane's lock."""
        try:
            with self._lock_file.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        return False

    def stop(self) -> None:
        """End it: the control plane was told to stop, not just restarted."""
        if self._child is not None and self._child.poll() is None:  # perhaps too young to hold the lock
            self._child.terminate()
            try:
                self._child.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self._child.kill()
                self._child.wait()
        elif self.is_alive():
            self._end_adopted()

    def _end_adopted(self) -> None:
        try:
            process_id = int(self._lock_file.read_text())
        except ValueError:  # it has only just taken the lock
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(process_id, signal.SIGTERM)

    def _write_token(self) -> Path:
        """The file the inference plane reads its token from; written again only if the token has changed."""
        file = self.folder / "token"
        if not file.exists() or file.read_text() != self._token:
            file.unlink(missing_ok=True)
            write_private(file, self._token.encode())
        return file

    @property
    def _lock_file(self) -> Path:
        return self.folder / "alive.lock"
