"""One bench in a process of its own, so that memory and times are its own. Its lines come as JSON."""

import contextlib
import importlib
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from bench.scheduler.tables import Goal
from sill.core.errors import SillError


class Line(msgspec.Struct, frozen=True):
    """A line to print; `cells` are those of a goal, for the table of all."""

    text: str
    cells: tuple[str, ...] = ()
    is_missing: bool = False


def alone(name: str, folder: Path) -> Iterator[Line]:
    """The lines of a bench, as they come."""
    command = [sys.executable, "-m", "bench.scheduler.alone", name, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        for line in process.stdout:
            yield msgspec.json.decode(line, type=Line)
    if process.returncode:
        yield Line(f"not run to its end: code {process.returncode}.", is_missing=True)


def _lines(name: str, folder: Path) -> Iterator[Line]:
    """What the bench says, or why it could not run, and how long it took."""
    began_s = time.monotonic()
    try:
        for line in importlib.import_module(f"bench.scheduler.{name}").measure(folder):
            yield Line(str(line), line.cells if isinstance(line, Goal) else ())
    except SillError as wrong:
        yield Line(f"not run: {wrong}", is_missing=True)
    yield Line(f"took {time.monotonic() - began_s:.0f} s, {time.process_time():.0f} s of processor time")


if __name__ == "__main__":
    out = sys.stdout
    with contextlib.redirect_stdout(sys.stderr):  # what a bench prints by itself is none of its lines
        for each in _lines(sys.argv[1], Path(sys.argv[2])):
            print(msgspec.json.encode(each).decode(), file=out, flush=True)
