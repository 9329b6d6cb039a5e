"""One detached process of the serving side, seen from who keeps it: start it, adopt it, end it.

Who it is is held by a lock it keeps on `alive.lock` in its folder, so that a reused process id is never taken for it.
"""

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

STOP_S = 5.0
LOCK_FILE = "alive.lock"


class Child:
    """A process of ours that outlives the one that started it.

    Args:
        folder: its own; made at the first start.
        module: what `python -m` runs; arguments follow.
        log_file: both its outputs are appended there.
        variables: put into its environment, which is otherwise ours without what would change Python itself.
    """

    def __init__(
        self, folder: Path, module: str, *arguments: str, log_file: Path, variables: Mapping[str, str] | None = None
    ) -> None:
        self.folder = folder
        self._command = [sys.executable, "-m", module, *arguments]
        self._log_file = log_file
        self._variables = dict(variables or {})
        self._child: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, detached, unless it is alive."""
        if self.is_alive() or (self._child is not None and self._child.poll() is None):
            return
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._log_file.parent.mkdir(mode=0o700, exist_ok=True)
        own = {name: value for name, value in os.environ.items() if not name.startswith(("LD_", "PYTHON"))}
        with self._log_file.open("ab") as output:
            self._child = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**own, **self._variables},
                cwd=self.folder,
                start_new_session=True,
            )

    def is_alive(self) -> bool:
        """True while some process holds its lock."""
        return is_alive(self.folder)

    def ended_with(self) -> int | None:
        """The exit code, if it was started here and has ended."""
        return self._child.poll() if self._child is not None else None

    def is_running(self) -> bool:
        """True also while it is too young to hold its lock."""
        return self.is_alive() or (self._child is not None and self._child.poll() is None)

    def tell(self, number: int) -> None:
        """Send it a signal, if it runs."""
        if self._child is not None and self._child.poll() is None:
            self._child.send_signal(number)
        else:
            tell(self.folder, number)

    def stop(self, seconds: float = STOP_S) -> None:
        """End it: by SIGTERM, and by SIGKILL if it still runs after so many seconds. An adopted one is not waited for."""
        if self._child is None or self._child.poll() is not None:
            self.tell(signal.SIGTERM)
            return
        self._child.terminate()
        try:
            self._child.wait(seconds)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()

    def kill(self) -> None:
        """End it at once, also if it was stopped by SIGSTOP."""
        self.tell(signal.SIGKILL)
        until_s = time.monotonic() + STOP_S
        while self.is_running() and time.monotonic() < until_s:
            time.sleep(0.005)


def is_alive(folder: Path) -> bool:
    """True while some process holds the lock in that folder."""
    try:
        with (folder / LOCK_FILE).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def tell(folder: Path, number: int) -> None:
    """Send a signal to the process that holds the lock in that folder, if there is one."""
    if is_alive(folder):
        with contextlib.suppress(ValueError, OSError):  # it has only just taken the lock, or has ended just now
            os.kill(int((folder / LOCK_FILE).read_text()), number)
