"""Real platforms in processes of their own, and the small loop that is told on them."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest

from sill.core.errors import NotFound
from sill.runs.types import Run, RunState
from sill.sdk.client import Client
from sill.sdk.stages import Stages
from sill.testing.live import Live

T = TypeVar("T")

SECONDS_MAX = 60.0
ROWS = 240


def stages(platform: Live, project: str) -> Stages:
    """All calls of a platform's API, as its root."""
    client = Client(
        url=platform.url, token=platform.tokens["root"], project=project, inference_url=platform.inference_url
    )
    return Stages(client)


def until(look: Callable[[], T | None], what: str, seconds: float = SECONDS_MAX) -> T:
    """What `look` returns once that is true-ish."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            found = look()
        except NotFound:
            found = None
        if found:
            return found
        assert time.monotonic() < deadline, f"waited {seconds:.0f} s, and it did not come that {what}"
        time.sleep(0.1)


def ended(sill: Stages, run: Run) -> Run:
    """The run, once it is over."""

    def look() -> Run | None:
        now = sill.runs.get(run.id)
        return now if now.state.is_final else None

    return until(look, f"run {run.id} ends")


def finished(sill: Stages, run: Run) -> Run:
    """The run, which must finish well."""
    done = ended(sill, run)
    assert done.state is RunState.FINISHED, f"{done.reason}\n{sill.runs.logs(done.id).text}"
    return done


def write_customers(path: Path, rows: int = ROWS, seed: int = 3) -> dict[str, str]:
    """Customers as CSV, of whom those with a high load churn; returns who does."""
    chance = np.random.default_rng(seed)
    load = chance.normal(0, 1, rows)
    age = chance.normal(40, 10, rows)
    spend = 30 + 12 * load + chance.normal(0, 1, rows)
    churned = np.where(load + 0.3 * chance.normal(size=rows) > 0, "yes", "no")
    lines = ["id,at,load,age,plan,spend,churned"]
    for row in range(rows):
        at = f"2026-09-{1 + row % 28:02d}T08:00:00Z"
        plan = ("free", "pro")[row % 2]
        lines.append(f"c{row:04d},{at},{load[row]:.4f},{age[row]:.2f},{plan},{spend[row]:.3f},{churned[row]}")
    path.write_text("\n".join([*lines, lines[-1]]) + "\n")
    return {f"c{row:04d}": str(churned[row]) for row in range(rows)}


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A platform on embedded stores, shared by the tests of this folder; each uses a project of its own."""
    live = Live(tmp_path_factory.mktemp("platform") / "home")
    try:
        yield live.start()
    finally:
        live.stop()
