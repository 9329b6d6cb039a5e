"""Endpoints an admin has taken out of service, the same for every inference process of a home.

Each is an empty file in a folder all of them look at: putting and removing one is a single step for the system, so
nothing is locked, and a process that starts again finds what was wished.
"""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

LOOK_S = 0.2
"""How long it takes at most until every process knows."""
SETTLED_NS = 1_000_000_000
"""A folder changed more lately than this is read again: what changes twice within one tick of the file system's clock
shows one time for both."""

Place = tuple[str, str]
"""Project and endpoint."""


class ByHand:
    """What is out of service.

    Args:
        folder: shared with the other processes; None for a process that is alone and forgets.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._seen_ns = -1
        self.places: frozenset[Place] = frozenset()
        self.changed: Callable[[frozenset[Place]], None] = lambda _new: None
        """Told of the places that are out of service now and were not before; also when some came back."""
        self.look()

    def take_out(self, place: Place) -> None:
        """From now on it is out of service, everywhere."""
        if self._folder is not None:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            (self._folder / _name(place)).touch(mode=0o600)
        self._set(self.places | {place})

    def bring_back(self, place: Place) -> None:
        """No more."""
        if self._folder is not None:
            (self._folder / _name(place)).unlink(missing_ok=True)
        self._set(self.places - {place})

    def look(self) -> None:
        """Take up what other processes wished."""
        if self._folder is None or not self._folder.exists():
            return
        changed_ns = self._folder.stat().st_mtime_ns
        if changed_ns != self._seen_ns:
            self._seen_ns = changed_ns if time.time_ns() - changed_ns > SETTLED_NS else -1
            self._set(frozenset(filter(None, map(_place, self._folder.iterdir()))))

    async def run(self) -> None:
        """Look, for ever."""
        while True:
            await asyncio.sleep(LOOK_S)
            self.look()

    def _set(self, places: frozenset[Place]) -> None:
        if places != self.places:
            new, self.places = places - self.places, places
            self.changed(new)


def _name(place: Place) -> str:
    """Names have no `~` in them (`core.names`)."""
    return "~".join(place)


def _place(file: Path) -> Place | None:
    project, parted, endpoint = file.name.partition("~")
    return (project, endpoint) if parted else None
