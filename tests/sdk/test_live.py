"""What a script logs with `sill.run` arrives once, also when the server is away or the script is killed."""

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import sill
from sill.core.errors import InvalidValue
from sill.runs.types import RunSpec
from sill.sdk import spool as spool_module
from sill.sdk.client import Client
from sill.sdk.live import LiveRun
from sill.sdk.spool import flush, look, retry, spools
from sill.sdk.stages import Stages
from sill.testing.control_plane import ControlPlane
from sill.testing.line import Line

WAIT_S = 30.0


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    started = ControlPlane(tmp_path_factory.mktemp("live") / "home")
    started.start()
    yield started
    started.stop()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where this process keeps its spools."""
    for name in ("SILL_RUN_ID", "SILL_RUN_FOLDER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SILL_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def line(plane: ControlPlane) -> Iterator[Line]:
    made = Line(plane.port)
    yield made
    made.cut()


@pytest.fixture
def client(line: Line, plane: ControlPlane, home: Path) -> Iterator[Client]:
    made = Client(line.url, (plane.home / "token").read_text().strip(), is_patient=False)
    yield made
    made.close()


@pytest.fixture
def begin(client: Client) -> Iterator[Callable[..., LiveRun]]:
    begun: list[LiveRun] = []

    def start(name: str = "fit", experiment: str = "") -> LiveRun:
        begun.append(sill.run(name, experiment, client=client))
        return begun[-1]

    yield start
    for each in begun:
        each.end()


def series(plane: ControlPlane, run_id: str, key: str = "loss") -> list[tuple[int, float]]:
    found = Stages(plane.client()).runs.history(run_id, key, limit=25_000)
    return [(point.step, point.value) for point in found.items]


def expected(count: int) -> list[tuple[int, float]]:
    return [(step, step / 7) for step in range(count)]


def test_a_run_is_logged_and_ended(begin: Callable[..., LiveRun], plane: ControlPlane, tmp_path: Path) -> None:
    (tmp_path / "plots").mkdir()
    (tmp_path / "plots" / "a.svg").write_text("<svg/>")
    with begin("fit", "live") as run:
        for step in range(2_000):
            run.log_metric("loss", step / 7, step)
        run.log_params({"lr": 0.1})
        run.set_tag("stage", "one")
        run.log_artifact(tmp_path / "plots")
        run.log_text("kept", "notes/a.txt")

    here = Stages(plane.client()).runs
    ended, data = here.get(run.id), here.data(run.id)
    assert (ended.state, ended.experiment, ended.name) == ("finished", "live", "fit")
    assert (data.params, data.tags["stage"]) == ({"lr": "0.1"}, "one")
    assert series(plane, run.id) == expected(2_000)
    assert [each.path for each in here.artifacts(run.id).items] == ["notes/a.txt", "plots/a.svg"]
    assert spools(tmp_path) == []  # nothing is left where nothing waits


def test_an_outage_changes_nothing(begin: Callable[..., LiveRun], line: Line, plane: ControlPlane) -> None:
    run = begin()
    for step in range(3_000):
        if step in (500, 1_700):
            line.cut()
        if step in (1_000, 2_500):
            line.mend()
        run.log_metric("loss", step / 7, step)

    assert run.flush(WAIT_S)
    assert series(plane, run.id) == expected(3_000)


def test_a_run_may_begin_and_end_while_the_server_is_away(
    begin: Callable[..., LiveRun], line: Line, plane: ControlPlane, client: Client, home: Path
) -> None:
    line.cut()
    with begin("away", "made-away") as run:
        run.log_metric("loss", float("nan"), 1)
        run.log_metric("loss", float("inf"), 2)
    (left,) = spools(home)
    assert look(left).waiting == 5
    line.mend()
    assert flush(left, client, WAIT_S).waiting == 0

    (found,) = Stages(plane.client()).runs.list(experiment="made-away").items
    assert (found.name, found.state) == ("away", "finished")
    assert [str(value) for _, value in series(plane, found.id)] == ["nan", "inf"]


def test_what_a_killed_script_left_is_sent_by_the_next(
    line: Line, plane: ControlPlane, client: Client, home: Path, begin: Callable[..., LiveRun]
) -> None:
    run = begin()
    script = (
        "import sys, os, sill\n"
        "run = sill.run()\n"
        "for step in range(500): run.log_metric('killed', step / 7, step)\n"
        "print('logged', flush=True)\n"
        "import time; time.sleep(60)\n"
    )
    token = (plane.home / "token").read_text().strip()
    line.cut()
    environment = {"SILL_HOME": str(home), "SILL_URL": line.url, "SILL_TOKEN": token, "SILL_RUN_ID": run.id}
    child = subprocess.Popen(
        [sys.executable, "-c", script], env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert child.stdout is not None
    assert child.stdout.readline() == b"logged\n"
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    line.mend()
    spool_module.send_left(home / "spool", client)

    assert series(plane, run.id, "killed") == expected(500)


def test_a_bad_value_is_refused_at_once(begin: Callable[..., LiveRun]) -> None:
    run = begin()
    with pytest.raises(InvalidValue):
        run.log_metric("../up", 1.0)
    with pytest.raises(InvalidValue):
        run.log_param("lr", "x" * 10_000)
    with pytest.raises(InvalidValue, match="there is no file"):
        run.log_artifact("gone.txt")
    with pytest.raises(InvalidValue):
        run.log_text("x", "../../up.txt")


def test_what_the_server_refuses_later_is_kept_and_can_be_sent_again(
    begin: Callable[..., LiveRun], plane: ControlPlane, client: Client, home: Path
) -> None:
    run = begin()
    here = Stages(plane.client()).runs
    run.flush(WAIT_S)
    client.call("POST", f"/projects/{{project}}/runs/{run.id}/cancel", None)
    here.delete(run.id)
    run.log_metric("loss", 1.0, 1)
    run.flush(WAIT_S)
    run.end()
    (left,) = spools(home)
    assert look(left).refused >= 1
    client.call("POST", f"/projects/{{project}}/runs/{run.id}/restore", None)

    assert retry(left, client) >= 1
    assert flush(left, client, WAIT_S).refused == 0
    assert series(plane, run.id) == [(1, 1.0)]


def test_a_spool_is_sent_to_its_own_server_only(
    begin: Callable[..., LiveRun], line: Line, plane: ControlPlane, client: Client, home: Path
) -> None:
    run = begin()
    line.cut()
    run.log_metric("loss", 1.0)
    run.end()
    (left,) = spools(home)
    with pytest.raises(InvalidValue, match="is meant for"):
        flush(left, Client(plane.url, "sill_" + "a" * 43, is_patient=False), WAIT_S)


def test_flush_says_whether_everything_has_arrived(begin: Callable[..., LiveRun], line: Line) -> None:
    run = begin()
    line.cut()
    for step in range(1_000):
        run.log_metric("loss", 1.0, step)

    assert not run.flush(0.1)
    line.mend()
    assert run.flush(WAIT_S)


def test_what_a_killed_script_of_a_run_logged_arrives_before_the_run_is_over(plane: ControlPlane) -> None:
    script = (
        "import os, signal, sill\n"
        "run = sill.run()\n"
        "for step in range(2_000): run.log_metric('loss', step / 7, step)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    here = Stages(plane.client()).runs
    run = here.submit(RunSpec(command=(sys.executable, "-c", script)))
    for _ in here.follow(run.id):
        pass

    assert here.get(run.id).state == "failed"
    assert series(plane, run.id) == expected(2_000)


def test_runs_of_a_sweep_are_queued_together_or_not_at_all(plane: ControlPlane) -> None:
    here = Stages(plane.client()).runs
    good = RunSpec(name="together", command=("true",), params={"depth": "1"})

    pair = here.submit_many([good, good], key="sweep-1")
    with pytest.raises(InvalidValue):
        here.submit_many([good, RunSpec(command=())])

    assert here.submit_many([good, good], key="sweep-1") == pair
    assert len([run for run in here.list().items if run.name == "together"]) == 2
