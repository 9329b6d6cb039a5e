"""The home that is measured: tables, runs, a model and an endpoint, in a folder that is removed afterwards."""

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sill.testing.control_plane import ControlPlane, wait_until_served
from sill.testing.furnish import ENDPOINT, PROJECT, furnish


@contextmanager
def furnished() -> Iterator[ControlPlane]:
    """A platform with things in it, not running; it starts by `sill up`, as a user's does."""
    folder = Path(tempfile.mkdtemp(prefix="sill-bench-"))
    plane = ControlPlane(folder / "home")
    plane.command = (str(Path(sys.executable).with_name("sill")), "up")
    try:
        plane.start()
        furnish(plane)
        plane.stop()
        yield plane
    finally:
        plane.stop()
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def running() -> Iterator[ControlPlane]:
    """The same, running, its endpoint answered."""
    with furnished() as plane:
        plane.start()
        wait_until_served(plane, PROJECT, ENDPOINT)
        yield plane
