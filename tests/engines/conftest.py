"""A local engine in a temporary home, and a word to start and wait for attempts with."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sill.core.settings import Settings
from sill.engines.local.engine import LocalEngine
from sill.engines.types import StartSpec


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[LocalEngine]:
    local = LocalEngine(Settings(home=tmp_path / "home"))
    yield local
    for folder in (tmp_path / "home" / "runs").glob("*/*"):
        local.stop(f"local:{folder.parent.name}/{folder.name}", grace_s=0)


@pytest.fixture
def start(engine: LocalEngine) -> Callable[..., str]:
    """Start a Python program as an attempt; returns its handle."""

    def begin(program: str, *, run_id: str = "run-00000001", attempt: int = 1, **order: object) -> str:
        command = (sys.executable, "-u", "-c", program)
        return engine.start(StartSpec(**{"run_id": run_id, "attempt": attempt, "command": command, **order}))  # type: ignore[arg-type]

    return begin
