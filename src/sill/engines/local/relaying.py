"""Keeps a relay ready beside a run: the address is there from the start, the process only once somebody calls it.

The relay (`python -m sill.relay`) takes what MLflow's clients log while the server is away. It is no part of what the run
uses: it is not metered with it, and it is not ended with it, but asked to send what is left. Standard library only.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

from sill.engines.local import processes

RESTART_S = 1.0
RESTARTS_MAX = 100
"""How often a relay that ended by itself is started again."""
BACKLOG = 128
LOG = "relay.log"


class RelayHost:
    """The relay of one attempt.

    Args:
        folder: of the attempt; journals lie in `spool` beneath it.
        order: `command` starts a relay with `env`; `told` is what it reads on standard input; `has_left` says that an
            attempt before, which was lost, may have left something to send.
    """

    def __init__(self, folder: Path, order: dict[str, Any]) -> None:
        self._folder = folder
        self._order = order
        self._process: subprocess.Popen[bytes] | None = None
        self._started = 0
        self._ready_at = 0.0
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.listen(BACKLOG)

    @property
    def url(self) -> str:
        """Where clients find it."""
        return f"http://127.0.0.1:{self.socket.getsockname()[1]}"

    @property
    def pid(self) -> int:
        """Its process; 0 while there is none."""
        return self._process.pid if self._process is not None else 0

    @property
    def is_wanted(self) -> bool:
        """True if a caller should be waited for: there is no process, and it may be started."""
        return self._process is None and self._started < RESTARTS_MAX and time.monotonic() >= self._ready_at

    def start(self) -> None:
        """Start the process; it takes the calls that wait at the address."""
        self._started += 1
        self._process = self._spawn({**self._order["told"], "fd": self.socket.fileno()}, (self.socket.fileno(),))

    def reaped(self) -> None:
        """The process has ended by itself."""
        if self._process is not None:
            self._process.wait()
        self._process = None
        self._ready_at = time.monotonic() + RESTART_S

    def finish(self) -> int:
        """Wait until everything was sent that was journaled in this attempt; 0 if it was, otherwise the exit code.

        It may take as long as the server is away, at most as long as the order says.
        """
        self.socket.close()
        ended = 0
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            ended = self._process.wait()
        if ended or self._process is None:
            has_journals = self._order["has_left"] or any((self._folder / "spool").glob("*/lock"))
            ended = self._drain() if has_journals else 0
        return ended

    def _drain(self) -> int:
        """Send what the journals hold, without serving anybody."""
        return self._spawn({**self._order["told"], "is_drain_only": True}, ()).wait()

    def _spawn(self, told: dict[str, Any], descriptors: tuple[int, ...]) -> "subprocess.Popen[bytes]":
        errors = os.open(self._folder / LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
        try:
            process = subprocess.Popen(
                self._order["command"],
                cwd=self._folder,
                env=self._order["env"],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                pass_fds=descriptors,
                start_new_session=True,
                preexec_fn=processes.end_with_parent,
            )
        finally:
            os.close(errors)
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(json.dumps(told).encode())
            process.stdin.close()
        return process
