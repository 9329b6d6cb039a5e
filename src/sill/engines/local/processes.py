"""Facts about processes, from /proc, and signals to whole trees. Standard library only: the supervisor uses it.

Without /proc (macOS) trees are not seen; process groups and resource usage still work.
"""

import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Iterable
from pathlib import Path

_PROC = Path("/proc")
HAS_PROC = sys.platform.startswith("linux") and (_PROC / "self/stat").exists()
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def start_ticks(pid: int) -> int:
    """When the process started, in clock ticks since boot: with the pid it names a process for good. 0 if it is gone."""
    fields = _stat(pid)
    return int(fields[19]) if fields else 0


def session(pid: int) -> int:
    """The session the process is in; 0 if it is gone."""
    fields = _stat(pid)
    return int(fields[3]) if fields else 0


def descendants(root: int, without: int = 0) -> list[int]:
    """Children, their children and so on, nearest first; without `root`, and without the branch that begins at `without`."""
    found: list[int] = []
    wave = [root]
    while wave:
        wave = [child for pid in wave for child in _children(pid) if child != without]
        found += wave
    return found


def resident_bytes(pid: int) -> int:
    """Memory of the process, pages it shares counted in full; 0 if it is gone."""
    try:
        return int((_PROC / str(pid) / "statm").read_bytes().split()[1]) * PAGE_BYTES
    except (OSError, IndexError):
        return 0


def proportional_bytes(pid: int) -> int:
    """Memory of the process, each shared page divided among those that share it; 0 if it is gone. Slower."""
    try:
        for line in (_PROC / str(pid) / "smaps_rollup").read_bytes().splitlines():
            if line.startswith(b"Pss:"):
                return int(line.split()[1]) * 1024
    except OSError:
        return resident_bytes(pid)
    return 0


def cpu_seconds(pid: int) -> float:
    """Processor time the process and the children it waited for have used; 0 if it is gone."""
    fields = _stat(pid)
    return sum(int(ticks) for ticks in fields[11:15]) / os.sysconf("SC_CLK_TCK") if fields else 0.0


def with_environment(entry: str) -> list[int]:
    """Processes of ours that were started with `NAME=value` in their environment, wherever they moved since."""
    if not HAS_PROC:
        return []
    wanted = b"\0" + os.fsencode(entry) + b"\0"
    return [pid for pid in _every_pid() if wanted in b"\0" + _environment(pid) + b"\0"]


def in_session(number: int) -> list[int]:
    """Processes of a session."""
    return [pid for pid in _every_pid() if session(pid) == number] if HAS_PROC else []


def send(pids: Iterable[int], number: signal.Signals) -> int:
    """Send a signal to each; how many got it."""
    sent = 0
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)
            sent += 1
    return sent


def send_group(group: int, number: signal.Signals) -> None:
    """Send a signal to a process group, if it is still there."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def adopt_orphans() -> None:
    """Processes whose parent died become ours: the tree stays whole, and each is waited for."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent() -> None:
    """For a child before exec: be killed when the parent dies."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def end_with_parent() -> None:
    """For a child before exec: be asked to end when the parent dies."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _prctl(option: int, value: int) -> None:
    if _LIBC is not None:
        _LIBC.prctl(option, ctypes.c_ulong(value), 0, 0, 0)


_LIBC = ctypes.CDLL(None) if HAS_PROC else None  # loaded before any fork: a child must not load libraries


def _stat(pid: int) -> list[bytes]:
    """Fields of /proc/PID/stat behind the name (which may hold blanks and brackets): state is 0, ppid 1, ..."""
    try:
        return (_PROC / str(pid) / "stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return []


def _children(pid: int) -> list[int]:
    found: list[int] = []
    try:
        for task in os.scandir(_PROC / str(pid) / "task"):
            found += [int(child) for child in Path(task.path, "children").read_bytes().split()]
    except OSError:
        return found
    return found


def _every_pid() -> list[int]:
    return [int(name) for name in os.listdir(_PROC) if name.isdecimal()]


def _environment(pid: int) -> bytes:
    try:
        return (_PROC / str(pid) / "environ").read_bytes()
    except OSError:
        return b""
