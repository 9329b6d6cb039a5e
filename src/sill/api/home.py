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
    file = (home / "control.lock").open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as held:
        file.seek(0)
        raise Conflict(
            f"another Sill (process {file.read().strip() or 'unknown'}) runs on {home}.",
            fix="Stop it first, or choose another SILL_HOME.",
        ) from held
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    return file
