"""Tells a story step by step: a line or two each, with the time it took; and keeps the same as data for `--json`."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
from rich.console import Console
from rich.markup import escape
from rich.status import Status


class Teller:
    """Prints as it goes, unless silent; `facts` and `steps` hold everything that was told.

    Args:
        is_silent: print nothing; the caller prints `result()` as JSON at the end.
    """

    def __init__(self, is_silent: bool) -> None:
        self.facts: dict[str, Any] = {}
        self.steps: list[dict[str, Any]] = []
        self._is_silent = is_silent
        self._console = Console(highlight=False, file=sys.stderr if is_silent else None, quiet=is_silent)
        self._started = time.monotonic()
        self._status: Status | None = None

    def title(self, text: str) -> None:
        """The story's first lines."""
        self._console.print(f"[bold]{escape(text)}[/]\n")

    @contextmanager
    def step(self, name: str, what: str) -> Iterator[Callable[[str], None]]:
        """One step: `what` is shown while it goes on; the yielded function says what came of it.

        Every line that is said also stands in `steps`, with the seconds the step took.
        """
        begun = time.monotonic()
        lines: list[str] = []
        with self._console.status(f"{escape(what)} …") as self._status:
            yield lines.append
        self._status = None
        seconds = time.monotonic() - begun
        self.steps.append({"name": name, "what": what, "seconds": round(seconds, 3), "lines": lines})
        self._console.print(f"[bold green]✓[/] [bold]{escape(what)}[/]  [dim]{seconds:.1f} s[/]")
        for line in lines:
            self._console.print(f"    {escape(line)}")

    def now(self, text: str) -> None:
        """What the present step is doing this moment."""
        if self._status is not None:
            self._status.update(f"{escape(text)} …")

    def say(self, text: str) -> None:
        """A line outside of any step."""
        self._console.print(escape(text))

    def result(self) -> dict[str, Any]:
        """Everything that was told, as data."""
        seconds = round(time.monotonic() - self._started, 3)
        plain: dict[str, Any] = msgspec.to_builtins({**self.facts, "seconds": seconds, "steps": self.steps})
        return plain
