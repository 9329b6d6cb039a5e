"""The process that workers of one driver are forked from: its library is imported, nothing else was done.

Started by `nursery`, which tells it what to fork, and asks how one ended. It has no token and reads no model.
"""

import contextlib
import ctypes
import gc
import os
import signal
import socket
import sys
import time
import traceback

import msgspec

from sill.core.errors import PluginMissing
from sill.runtimes import wire
from sill.runtimes.nursery import Order, Told
from sill.runtimes.worker import driver_class, work

STATUS_S_MAX = 0.2
"""How long a worker that is said to have died may take to be gone."""
_STEP_S = 0.002
_DIE_WITH_PARENT = 1


def main() -> None:
    """`python -m sill.runtimes.warm_parent FD PARENT DRIVER`."""
    descriptor, parent, driver = sys.argv[1:4]
    if die_with(int(parent)):
        return
    with contextlib.suppress(PluginMissing):  # whoever loads a model is told so
        driver_class(driver).warm()
    gc.freeze()  # what is here now is never looked at again, and so stays shared
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        WarmParent(socket.socket(fileno=int(descriptor))).run()


def die_with(parent: int) -> bool:
    """Let the system end this process when its parent does. True if that has happened already."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
    return os.getppid() != parent


class WarmParent:
    """Forks workers, and keeps each until it is asked how it ended."""

    def __init__(self, line: socket.socket) -> None:
        self._line = line
        self._workers: set[int] = set()

    def run(self) -> None:
        """One order after another."""
        while True:
            with contextlib.ExitStack() as stack:
                descriptors: list[int] = []
                order = msgspec.msgpack.decode(wire.unpacked(self._line, descriptors), type=Order)
                for descriptor in descriptors:
                    stack.callback(os.close, descriptor)
                self._do(order, descriptors)

    def _do(self, order: Order, descriptors: list[int]) -> None:
        if order.kind == "start":
            own, pid = os.getpid(), os.fork()
            if not pid:
                self._become(order, descriptors[0], own)
            self._workers.add(pid)
            self._tell(Told(pid=pid))
        elif order.kind == "status":
            self._tell(Told(pid=order.pid, code=self._ended(order.pid, STATUS_S_MAX)))
        else:
            self._ended(order.pid, 0)

    def _tell(self, told: Told) -> None:
        self._line.sendall(wire.packed(msgspec.msgpack.encode(told)))

    def _become(self, order: Order, descriptor: int, parent: int) -> None:
        """From here on the worker, until its end."""
        code = 1
        try:
            if not die_with(parent):
                self._line.close()
                work(socket.socket(fileno=descriptor), order)
            code = 0
        except SystemExit as wish:
            code = wish.code if isinstance(wish.code, int) else 1
        except BaseException:  # it ends here, whatever it is, and never goes on as a second warm parent
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(code)

    def _ended(self, pid: int, seconds_max: float) -> int:
        """How a worker ended; it is killed if it has not after so many seconds."""
        if pid not in self._workers:
            return 0
        self._workers.remove(pid)
        until_s = time.monotonic() + seconds_max
        while time.monotonic() < until_s:
            if (found := os.waitpid(pid, os.WNOHANG))[0]:
                return os.waitstatus_to_exitcode(found[1])
            time.sleep(_STEP_S)
        os.kill(pid, signal.SIGKILL)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


if __name__ == "__main__":
    main()
