"""The real `sill` in a process of its own, piped or on a terminal."""

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

SILL = str(Path(sys.executable).with_name("sill"))
SECONDS_MAX = 90.0


class Said(NamedTuple):
    """What came of a command."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output as the one document it has to be."""
        return json.loads(self.out)

    @property
    def lines(self) -> list[str]:
        """What a person sees, without what steers colours and bars."""
        return [re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", line) for line in self.out.splitlines()]

    def refused(self, code: str, *phrases: str) -> None:
        """It ended as an error of the caller's: told on standard error, in one form, without a traceback."""
        assert self.code == 2, self
        assert self.err.startswith(f"{code}: "), self
        assert "Traceback" not in self.err + self.out
        for phrase in phrases:
            assert phrase in self.err, self


class Terminal:
    """Runs commands against one platform."""

    def __init__(self, home: Path, port: int, cwd: Path) -> None:
        self.home = home
        self.cwd = cwd
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("SILL_", "PYTHON", "COLUMNS"))
        }
        self.environment = kept | {
            "SILL_HOME": str(home),
            "SILL_PORT": str(port),
            "PATH": f"{Path(SILL).parent}:{os.environ['PATH']}",
        }

    def sill(self, *arguments: str, said: str = "", cwd: Path | None = None, **variables: str) -> Said:
        """A command, piped."""
        ended = subprocess.run(
            [SILL, *arguments],
            input=said,
            capture_output=True,
            text=True,
            cwd=cwd or self.cwd,
            env=self.environment | variables,
            timeout=SECONDS_MAX,
        )
        return Said(ended.returncode, ended.stdout, ended.stderr)

    def done(self, *arguments: str, said: str = "", cwd: Path | None = None, **variables: str) -> str:
        """What a command that has to do well prints."""
        ended = self.sill(*arguments, said=said, cwd=cwd, **variables)
        assert ended.code == 0, (arguments, ended)
        return ended.out

    def refused(self, *wrong: tuple[str, ...], cwd: Path | None = None, **variables: str) -> None:
        """Commands, all of which end as errors; each begins with the code and phrases of its error.

        They are tried two at a time, `("not_found|no run|ps", "why", "run-…")`.
        """

        def attempt(one: tuple[str, ...]) -> None:
            code, *phrases = one[0].split("|")
            self.sill(*one[1:], cwd=cwd, **variables).refused(code, *phrases)

        with ThreadPoolExecutor(2) as pool:
            list(pool.map(attempt, wrong))

    def json(self, *arguments: str, cwd: Path | None = None) -> Any:
        """What a command that has to do well prints with `--json`: one document, and nothing on standard error."""
        ended = self.sill("--json", *arguments, cwd=cwd)
        assert (ended.code, ended.err) == (0, ""), (arguments, ended)
        return ended.json

    def on_terminal(
        self, *arguments: str, interrupt_at: str = "", columns: int = 80, cwd: Path | None = None, **variables: str
    ) -> Said:
        """A command on a terminal of its own; Ctrl-C is pressed once `interrupt_at` is shown."""
        return on_terminal(
            [SILL, *arguments],
            self.environment | variables,
            cwd or self.cwd,
            columns=columns,
            interrupt_at=interrupt_at,
        )


def on_terminal(
    command: Sequence[str], environment: Mapping[str, str], cwd: Path, *, columns: int, interrupt_at: str = ""
) -> Said:
    """What a command shows on a terminal, both streams as one."""
    ours, theirs = pty.openpty()
    subprocess.run(["stty", "cols", str(columns), "rows", "40", "-echo"], stdin=theirs, check=True)
    process = subprocess.Popen(
        command,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=cwd,
        env=dict(environment) | {"TERM": "xterm"},
        start_new_session=True,
    )
    os.close(theirs)
    shown = b""
    until_s = time.monotonic() + SECONDS_MAX
    is_interrupted = not interrupt_at
    while time.monotonic() < until_s:
        if select.select([ours], [], [], 0.2)[0]:
            try:
                piece = os.read(ours, 65536)
            except OSError:  # the other end was closed: it has ended
                break
            shown += piece
        if not is_interrupted and interrupt_at.encode() in shown:
            os.killpg(process.pid, signal.SIGINT)
            is_interrupted = True
    os.close(ours)
    return Said(process.wait(SECONDS_MAX), shown.decode().replace("\r\n", "\n"), "")
