"""Pipelines on a real platform: steps are runs, what was made is not made again, failures and cancels reach the whole."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from sill.runs.types import Run, RunState
from sill.sdk.stages import Stages
from sill.testing.live import Live

from .conftest import ended, finished, stages, until

PROJECT_FILE = Path(__file__).parent / "steps_project.py"


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("steps")
    shutil.copy(PROJECT_FILE, folder / "steps_project.py")
    return folder


@pytest.fixture(scope="module")
def sill(platform: Live, work: Path) -> Iterator[Stages]:
    with stages(platform, "steps") as calls:
        calls.apply(work / "steps_project.py")
        yield calls


def steps(sill: Stages, run: Run) -> dict[str, Run]:
    """The runs of a pipeline's steps, by the name of the step."""
    return {each.spec.tags["step"]: each for each in sill.runs.list(parent_id=run.id).items}


@pytest.fixture(scope="module")
def first(sill: Stages) -> Run:
    return finished(sill, sill.triggers.start("pipeline", "chain"))


def test_each_step_is_a_run_that_gets_the_results_of_those_it_needs(sill: Stages, first: Run) -> None:
    done = steps(sill, first)

    assert set(done) == {"load", "scale", "add"}
    assert msgspec.json.decode(sill.runs.artifact(done["add"].id, "result.json")) == 6
    assert sill.runs.artifact(done["scale"].id, "picture.bin") == b"\x00\x01"
    assert sill.runs.data(done["load"].id).metrics["rows"] == 3


def test_a_second_start_takes_what_was_made(sill: Stages, first: Run) -> None:
    again = finished(sill, sill.triggers.start("pipeline", "chain"))

    assert steps(sill, again) == {}
    assert sill.runs.logs(again.id).text.count("taken from run") == 3


def test_a_changed_param_repeats_only_what_depends_on_it(sill: Stages, first: Run) -> None:
    known = sill.pipelines.get("chain")
    changed = tuple(
        msgspec.structs.replace(step, params={"scale": 5}) if step.name == "scale" else step for step in known.steps
    )
    sill.pipelines.declare(msgspec.structs.replace(known, steps=changed))
    again = finished(sill, sill.triggers.start("pipeline", "chain"))
    done = steps(sill, again)

    assert set(done) == {"scale", "add"}
    assert msgspec.json.decode(sill.runs.artifact(done["add"].id, "result.json")) == 15


def test_a_failing_step_fails_the_pipeline_with_its_reason(sill: Stages) -> None:
    run = ended(sill, sill.triggers.start("pipeline", "failing"))

    assert run.state is RunState.FAILED
    why = sill.runs.why(run.id).text
    assert "step 'bad' did not finish" in why
    assert "ValueError: no rows for today" in why
    assert set(steps(sill, run)) == {"good", "bad"}


def test_a_cancelled_pipeline_takes_its_steps_with_it(sill: Stages) -> None:
    run = sill.triggers.start("pipeline", "slow")
    step = until(lambda: steps(sill, run).get("wait"), "the step is there")
    until(lambda: sill.runs.get(step.id).state is RunState.RUNNING, "the step runs")
    sill.runs.cancel(run.id)

    assert ended(sill, run).state is RunState.CANCELLED
    assert ended(sill, step).state is RunState.CANCELLED
