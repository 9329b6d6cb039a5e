"""A host of runs in a temporary home, and words to submit and wait with."""

import asyncio
import importlib.util
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from sill.core.actors import Actor
from sill.runs.types import LogChunk, Resources, Run, RunSpec

WAIT_S = 20.0
HOST = Path(__file__).parent / "host.py"
_spec = importlib.util.spec_from_file_location("runs_host", HOST)
assert _spec
assert _spec.loader
host_module = importlib.util.module_from_spec(_spec)
sys.modules["runs_host"] = host_module
_spec.loader.exec_module(host_module)

ADA = Actor(id="ada", scopes=frozenset({"*"}))


@pytest.fixture
def ada() -> Actor:
    return ADA


@pytest.fixture
def build_host() -> Any:
    """What makes the parts of a host."""
    return host_module.build


@pytest.fixture
def at_work() -> Any:
    """What lets the worker of a host run meanwhile."""
    return host_module.working


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[Any]:
    """Everything but the worker running."""
    built = host_module.build(tmp_path / "home")
    yield built
    for folder in (tmp_path / "home" / "runs").glob("*/*"):
        built.engine.stop(f"local:{folder.parent.name}/{folder.name}", grace_s=0)
    built.database.close()


@pytest.fixture
async def working(host: Any) -> AsyncIterator[Any]:
    """The host with its worker."""
    async with host_module.working(host):
        yield host


@pytest.fixture
def program() -> Callable[..., RunSpec]:
    """A run of a Python program."""

    def make(text: str = "pass", **fields: Any) -> RunSpec:
        needs = {"resources": Resources(cpus=0.1, memory_bytes=256 * 1024**2), **fields}
        return RunSpec(command=(sys.executable, "-u", "-c", text), **needs)

    return make


@pytest.fixture
def over(host: Any) -> Callable[[Run], Awaitable[Run]]:
    """Wait until a run is over; returns it."""

    async def wait(run: Run) -> Run:
        chunk = LogChunk(text="", next_offset=0, is_end=False)
        async with asyncio.timeout(WAIT_S):
            while not chunk.is_end:
                chunk = await host.runs.logs(ADA, run.project, run.id, chunk.next_offset, 1.0)
        return await host.runs.run(ADA, run.project, run.id)  # type: ignore[no-any-return]

    return wait
