"""The home: a folder of its owner only, and at most one process that works on it."""

import fcntl
import os
from pathlib import Path
from typing import TextIO

from sill.core.errors import Conflict


def prepare_home(home: Path) -> None:
    """Make the home, readable by its owner only."""
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    (home / "logs").mkdir(mode=0o700, exist_ok=True)


def lock_home(home: Path) -> TextIO:
    """Hold the home's lock as long as the returned file is open.

    Raises:
        Conflict: another control plane holds it.
    """
    path = home / "control.lock"
    file = take_lock(path)
    if file is None:
        raise Conflict(
            f"another Sill (process {path.read_text().strip() or 'unknown'}) runs on {home}.",
            fix="Stop it first, or choose another SILL_HOME.",
        )
    return file


def take_lock(path: Path) -> TextIO | None:
    """Take a process's lock, held as long as the returned file is open and with the process id in it; None if it is held."""
    file = path.open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    return file
