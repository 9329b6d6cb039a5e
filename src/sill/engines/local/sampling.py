"""Writes what the gauges say into the run folder, one line of JSON every few seconds. Standard library only."""

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

NAME = "system.jsonl"
EVERY_S = 5.0
FIRST_S = 0.5
"""A run of a second has a sample too."""
FEWER_AFTER = 2_000
"""After each so many samples the time between them doubles: a run of a month leaves some thousand."""


class Looks(Protocol):
    """What is sampled."""

    def look(self, pids: Sequence[int]) -> dict[str, float]:
        """Name and value of each gauge."""
        ...


class Samples:
    """The samples of one attempt.

    Args:
        clock: seconds that never run backwards.
    """

    def __init__(self, folder: Path, gauges: Looks, clock: Callable[[], float] = time.monotonic) -> None:
        self._file = (folder / NAME).open("ab", buffering=0)
        self._gauges = gauges
        self._clock = clock
        self._next_s = clock() + FIRST_S
        self._taken = 0

    def take(self, pids: Sequence[int]) -> None:
        """Take a sample if it is time."""
        if self._clock() < self._next_s:
            return
        self._taken += 1
        self._next_s = self._clock() + EVERY_S * 2 ** (self._taken // FEWER_AFTER)
        line = json.dumps([time.time_ns() // 1_000_000, self._gauges.look(pids)])
        self._file.write(line.encode() + b"\n")

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()
