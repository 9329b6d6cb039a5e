"""One platform for all pages, on a home of its own, with the example project of `docs/example` applied and trained."""

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sill.runs.types import RunState
from sill.sdk.client import Client
from sill.sdk.stages import Stages
from sill.testing.live import Live
from sill.testing.pages import EXAMPLE, script

READY_S = 20.0


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A running platform that this process and its children find by their environment, as a user's would."""
    pytest.importorskip("sklearn")
    live = Live(tmp_path_factory.mktemp("docs") / "home").start()
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("SILL_")]:
            patch.delenv(name)
        for name, value in {"SILL_HOME": live.home, "SILL_PORT": live.port, "PATH": programs, "COLUMNS": 160}.items():
            patch.setenv(name, str(value))
        yield live
    live.stop()


@pytest.fixture(scope="session")
def example(platform: Live) -> Live:
    """The platform with one trained model that answers, for pages that begin behind README's tour.

    When README ran before, the model is there already.
    """
    with script() as names:
        flowers = names["flowers"] = Stages(Client(project="flowers"))
        if not flowers.traffic.is_ready("species"):
            make_example(flowers)
        until_s = time.monotonic() + READY_S
        while not flowers.traffic.is_ready("species") and time.monotonic() < until_s:
            time.sleep(0.1)
        del flowers
    return platform


def make_example(flowers: Stages) -> None:
    """What README's tour does: apply, ingest, train."""
    flowers.apply(EXAMPLE / "project.py")
    for kind, name in (("ingestion", "load"), ("training", "fit")):
        run = flowers.triggers.start(kind, name)
        said = "".join(flowers.runs.follow(run.id))
        assert flowers.runs.get(run.id).state is RunState.FINISHED, said
