"""Whether a process that holds its lock still does anything. One that was stopped, or whose loop hangs, does not.

It touches a file (`serving_life.beat`); who watches it sees that the file changes, by a clock of his own.
"""

import asyncio
import contextlib
import logging
import signal
import time
from pathlib import Path

from sill.api.child_process import LOCK_FILE, is_alive, tell
from sill.api.serving_life import BEAT_FILE

SILENT_S = 1.5
"""A process that showed no sign of life for so long is ended: the connections it has get no answers."""
WORKING_S = 15.0
"""The same for one that works, or would if it had a processor: on a machine with too much to do it is no help to
start it again, while one that was stopped, or waits for what never comes, will not come round by itself."""
FIRST_BEAT_S = 60.0
"""How long one may take to show the first."""
LOOK_S = 0.25
BLIND_S = 1.0
"""Who has not looked for so long was stopped himself, perhaps with the whole machine, and begins to watch anew."""

_log = logging.getLogger("sill.inference")


class Watch:
    """One process, as seen from outside.

    Args:
        folder: its own.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process = ""
        self._beat_ns = 0
        self._heard_s = self._looked_s = float("-inf")
        self._has_beaten = False

    def is_silent(self, now_s: float) -> bool:
        """One look, to be repeated every `LOOK_S`; true if it should be ended.

        Args:
            now_s: of a clock that only rises.
        """
        process, beat_ns = self._seen()
        is_blind, self._looked_s = now_s - self._looked_s > BLIND_S, now_s
        if process != self._process:
            self._process, self._has_beaten = process, False
            self._beat_ns, self._heard_s = beat_ns, now_s
        elif beat_ns != self._beat_ns:
            self._has_beaten = True
            self._beat_ns, self._heard_s = beat_ns, now_s
        elif is_blind:
            self._heard_s = now_s
        silent_s = now_s - self._heard_s
        if not beat_ns or silent_s <= (SILENT_S if self._has_beaten else FIRST_BEAT_S):
            return False
        return silent_s > WORKING_S or not _works(process)

    def _seen(self) -> tuple[str, int]:
        try:
            return (self._folder / LOCK_FILE).read_text(), (self._folder / BEAT_FILE).stat().st_mtime_ns
        except OSError:
            return "", 0  # it has only just begun, or is of a release that did not show it yet


async def end_silent(folder: Path, own: Path) -> None:
    """End those on the same port that are silent, for ever; who keeps them starts them again, when he is there.

    Args:
        folder: of the first; the others lie in it.
        own: of this process.
    """
    watches: dict[Path, Watch] = {}
    while True:
        for other in processes_of(folder) - {own}:
            if is_alive(other) and watches.setdefault(other, Watch(other)).is_silent(time.monotonic()):
                _log.warning("the process of %s is silent and is ended", other.name)
                tell(other, signal.SIGKILL)
        await asyncio.sleep(LOOK_S)


def _works(process: str) -> bool:
    """True if some thread of it runs, waits for a processor, or for a disk. False where the system does not tell."""
    with contextlib.suppress(OSError):  # it has ended, or there is no /proc here
        for thread in Path("/proc", process, "task").iterdir():
            state = (thread / "stat").read_text().rpartition(")")[2].split()[0]
            if state in ("R", "D"):
                return True
    return False


def processes_of(folder: Path) -> set[Path]:
    """Folders of all inference processes that share a port.

    Args:
        folder: of the first; the others lie in it.
    """
    return {folder, *folder.glob("replica-*")}
