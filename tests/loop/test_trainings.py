"""Trainings as runs of a real platform: other libraries and tasks, tuning beside queued trials, and failures with reasons."""

import io
import re
import shutil
import signal
import zipfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import psutil
import pytest

from sill.core.errors import NotFound
from sill.models.types import VersionState
from sill.runs.types import Resources, RunSpec, RunState
from sill.sdk.stages import Stages
from sill.testing.live import Live

from .conftest import ended, finished, stages, until, write_customers

PROJECT_FILE = Path(__file__).parent / "trainings_project.py"


@pytest.fixture(scope="module")
def sill(platform: Live, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stages]:
    """The project, applied, with its table filled."""
    work = tmp_path_factory.mktemp("trainings")
    shutil.copy(PROJECT_FILE, work / "trainings_project.py")
    write_customers(work / "customers.csv")
    with stages(platform, "models") as calls:
        calls.apply(work / "trainings_project.py")
        finished(calls, calls.triggers.start("ingestion", "customers"))
        yield calls


def test_xgboost_goes_the_whole_way_to_a_registered_version(sill: Stages) -> None:
    finished(sill, sill.triggers.start("training", "boosted"))
    version = sill.models.version("boosted", 1)

    assert version.state is VersionState.ACCEPTED
    assert version.spec.evaluation.metrics["accuracy"] > 0.8
    assert version.spec.evaluation.parity_max_difference < 1e-3


def test_trials_are_queued_beside_the_training_that_asks_for_them(sill: Stages) -> None:
    run = finished(sill, sill.triggers.start("training", "tuned"))
    trials = [each for each in sill.runs.list(parent_id=run.id).items if each.state is RunState.FINISHED]

    assert sorted(int(each.spec.tags["trial"]) for each in trials) == list(range(5))
    assert any(each.handle != "inline" for each in trials), "none was queued"
    assert sill.models.version("tuned", 1).spec.params["strength"] in {each.spec.params["strength"] for each in trials}


def test_a_search_ends_although_the_training_holds_the_only_place(sill: Stages) -> None:
    cpus = float(psutil.cpu_count() or 1)
    spec = msgspec.structs.replace(sill.trainings.get("tuned"), name="alone", resources=Resources(cpus=cpus))
    sill.trainings.declare(spec)
    run = finished(sill, sill.trainings.start("alone"))
    trials = sill.runs.list(parent_id=run.id).items

    done = [each for each in trials if each.state is RunState.FINISHED]
    assert sorted(int(each.spec.tags["trial"]) for each in done) == list(range(5))
    assert {each.state for each in trials} <= {RunState.FINISHED, RunState.CANCELLED}


def test_a_number_is_predicted_and_watched(sill: Stages) -> None:
    finished(sill, sill.triggers.start("training", "spending"))
    evaluation = sill.models.version("spend", 1).spec.evaluation
    until(lambda: sill.endpoints.get("spend").live(), "a revision is live")
    until(lambda: sill.traffic.is_ready("spend"), "the endpoint answers")
    rows = sill.lake.rows("customers", columns=["id", "load", "age", "spend"], limit=40).to_pylist()
    asked = {}
    for row in rows:
        answer = sill.traffic.infer("spend", {"load": row["load"], "age": row["age"]}, entity={"id": row["id"]})
        assert abs(answer.prediction - row["spend"]) < 6
        asked[answer.request_id] = row["spend"]
    until(lambda: sum(each.requests for each in sill.traffic.stats("spend")) >= 40, "the requests are rows")
    sill.traffic.label("spend", asked)
    status = until(lambda: found if (found := sill.monitors.get("spend")).windows else None, "a window is closed")

    assert set(evaluation.metrics) == {"rmse", "mae", "r2"}
    assert evaluation.metrics["rmse"] < 5
    assert evaluation.metrics["r2"] > 0.8
    assert (status.problem, [each.summary for each in status.incidents]) == ("", [])


REASONS = {
    "raises": r"raises\(\) raised at trainings_project.py:\d+: RuntimeError: the sensor is broken",
    "returns_nothing": "returned a builtins.NoneType; a fitted scikit-learn",
    "answers_nan": "answer to [0-9]+ of [0-9]+ held-out rows is not a number",
    "knows_one_class": "label 'churned' has the one value 'true'; two are needed",
    "has_few_rows": "'few' has [0-9]+ labelled rows to fit on",
    "reads_texts": "column 'plan' of 'recent' is string; features are numbers",
}


@pytest.mark.parametrize("training", REASONS)
def test_a_training_that_cannot_be_done_says_why_and_registers_nothing(sill: Stages, training: str) -> None:
    run = ended(sill, sill.triggers.start("training", training))
    why = sill.runs.why(run.id).text

    assert run.state is RunState.FAILED
    assert re.search(REASONS[training], why), why
    assert "\n" not in why
    assert len(why) < 1_000
    with pytest.raises(NotFound):
        sill.models.get("broken")


def test_a_module_that_is_missing_is_named(sill: Stages) -> None:
    spec = msgspec.structs.replace(sill.trainings.get("raises"), name="lost", module="gone")
    sill.trainings.declare(spec)
    run = ended(sill, sill.trainings.start("lost"))

    assert run.state is RunState.FAILED
    assert "module 'gone' cannot be imported" in sill.runs.why(run.id).text


CHECKPOINTS = """
import pathlib, sys, time
kept = pathlib.Path("checkpoint")
if kept.exists():
    print("going on from", kept.read_text(), flush=True)
    sys.exit(0)
kept.write_text("step 7")
print("saved", flush=True)
time.sleep(600)
"""


def test_a_run_whose_process_is_killed_goes_on_from_its_checkpoint(sill: Stages, platform: Live) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("work.py", CHECKPOINTS)
    code = sill.runs.upload_code(archive.getvalue()).digest
    run = sill.runs.submit(RunSpec(name="resumes", command=("python", "work.py"), code=code, retries=1))
    until(lambda: "saved" in sill.runs.logs(run.id).text, "the checkpoint is saved")
    worker = next(each for each in platform.processes() if each.cmdline()[1:] == ["work.py"])
    worker.send_signal(signal.SIGKILL)
    done = finished(sill, run)

    assert done.attempt == 2
    assert "going on from step 7" in sill.runs.logs(run.id).text
