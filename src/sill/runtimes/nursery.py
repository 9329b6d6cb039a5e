"""Warm parents of workers. One process for each driver has imported its library, and forks a worker for each model.

So a model is there in milliseconds instead of the seconds its library takes to import, and the library's memory is
shared. A warm parent reads no model and answers nobody; it ends with the process that started it, its workers with it.
"""

import atexit
import os
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import msgspec

from sill.core.errors import Unavailable
from sill.runtimes import wire

MEMORY_BYTES_MAX = 8 * 1024**3
"""Data a worker may hold."""
WARM_S_MAX = 120.0
"""Longest that a library may take to import."""
_BOOT = "import sys; sys.path.append(sys.argv.pop()); from sill.runtimes.warm_parent import main; main()"
_SOURCES = str(Path(__file__).resolve().parents[2])
_STARTER = ThreadPoolExecutor(1, "sill-nursery")
"""One thread starts every warm parent and never ends: a process dies with the thread that started it."""


class Order(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What a warm parent is asked: `start` (with the worker's end of its line) and `status` are answered, `kill` is not."""

    kind: str
    folder: str = ""
    scratch: str = ""
    memory_bytes_max: int = MEMORY_BYTES_MAX
    must_confine: bool = True
    pid: int = 0


class Told(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The worker's process id; or how it ended: an exit code, or a signal's number below zero."""

    pid: int = 0
    code: int = 0


class Nursery:
    """The warm parent of one driver's workers, started when the first is asked for, and again if it died.

    Args:
        driver: the driver's class, as `module:Class`.
        python: the interpreter that has the driver's library.
    """

    def __init__(self, driver: str, python: str) -> None:
        self._driver = driver
        self._python = python
        self._lock = threading.Lock()
        self._line: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, theirs: socket.socket, order: Order) -> int:
        """A worker's process id.

        Args:
            theirs: the worker's end of its line.
        Raises:
            Unavailable: no process can be started.
        """
        with self._lock:
            try:
                return self._ask(order, theirs).pid
            except (EOFError, OSError):  # the warm parent died: another is started, once
                self._drop()
            try:
                return self._ask(order, theirs).pid
            except (EOFError, OSError) as gone:
                self._drop()
                raise Unavailable(
                    "no process for the model can be started.", fix="Look at the machine's memory."
                ) from gone

    def status(self, pid: int) -> int:
        """What a worker ended of; one that has not ended is killed. Its exit code, or a signal's number below zero."""
        with self._lock:
            try:
                return self._ask(Order(kind="status", pid=pid)).code
            except (EOFError, OSError):  # the warm parent died, and its workers with it
                self._drop()
                return -9

    def kill(self, pid: int) -> None:
        """End a worker. Waits for nothing and takes no lock: whoever forgets a model may do it, wherever he is."""
        line = self._line
        if line is not None:
            with suppress(OSError):
                line.sendall(wire.packed(msgspec.msgpack.encode(Order(kind="kill", pid=pid))))

    def _ask(self, order: Order, theirs: socket.socket | None = None) -> Told:
        line = self._line = self._line or self._started()
        message = wire.packed(msgspec.msgpack.encode(order))
        socket.send_fds(line, [message], [theirs.fileno()] if theirs is not None else [])
        return msgspec.msgpack.decode(wire.unpacked(line), type=Told)

    def _started(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        ours.settimeout(WARM_S_MAX)
        with theirs:
            self._process = _STARTER.submit(self._spawn, theirs).result()
        return ours

    def _spawn(self, theirs: socket.socket) -> subprocess.Popen[bytes]:
        told = (theirs.fileno(), os.getpid(), self._driver)
        return subprocess.Popen(
            [self._python, "-I", "-W", "ignore", "-c", _BOOT, *map(str, told), _SOURCES],
            pass_fds=(theirs.fileno(),),
            cwd="/",
            env={"LANG": "C.UTF-8", "OMP_NUM_THREADS": "1"},
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )

    def close(self) -> None:
        """End the warm parent, and its workers with it."""
        with self._lock:
            self._drop()

    def _drop(self) -> None:
        line, process = self._line, self._process
        self._line = self._process = None
        if line is not None:
            line.close()
        if process is not None:
            process.kill()
            process.wait()


_NURSERIES: dict[tuple[str, str], Nursery] = {}
_NURSERIES_LOCK = threading.Lock()


def nursery_of(driver: str, python: str = "") -> Nursery:
    """The one nursery of a driver in this process; `python` is another interpreter than this one's, if any."""
    key = (driver, python or sys.executable)
    with _NURSERIES_LOCK:
        return _NURSERIES.setdefault(key, Nursery(*key))


@atexit.register
def close_all() -> None:
    """End every warm parent; called when this process ends in order. Otherwise the system ends them with it."""
    for nursery in _NURSERIES.values():
        nursery.close()
