"""The server is killed and left down while a script logs with MLflow's plain client: the script does not notice, and the
series read back is the one of an undisturbed run. `pytest -s` prints what the outages cost the script."""

import json
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from sill.runs.types import Resources, Run, RunSpec, RunState
from sill.sdk.stages import Stages
from sill.testing.control_plane import ControlPlane
from sill.testing.peers import environment

SCRIPT = """
import json, os, sys, time
import mlflow

calls, points, think_s = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])

def queued_s():
    return int(open("/proc/self/schedstat").read().split()[1]) / 1e9

mlflow.set_experiment("outages")
with mlflow.start_run() as run:
    began, waited_s, cpu_s, logging_s = time.perf_counter(), queued_s(), time.process_time(), 0.0
    for step in range(calls):
        time.sleep(think_s)
        if step % 10 == 0:
            print("step", step, flush=True)
        at = time.perf_counter()
        if points == 1:
            mlflow.log_metric("loss", 1 / (step + 1), step=step)
        else:
            mlflow.log_metrics({f"loss_{at}": at / (step + 1) for at in range(points)}, step=step)
        logging_s += time.perf_counter() - at
    took = {"wall_s": time.perf_counter() - began, "queued_s": queued_s() - waited_s, "logging_s": logging_s}
    took["cpu_s"] = time.process_time() - cpu_s
print(json.dumps(took), flush=True)
"""
READY_S = 120.0
RUN_S_MAX = 900.0
SERIES_PAGE = 25_000


@dataclass(frozen=True)
class Work:
    """What the script does: `calls` times, `points` at once, after `think_s` of what would be training."""

    calls: int
    points: int
    think_s: float


class Outages:
    """Runs the script on a platform, and kills its control plane when it has come to a step."""

    def __init__(self, plane: ControlPlane, python: Path) -> None:
        self.plane = plane
        self._python = python

    def run(self, work: Work, kill_at: list[int]) -> tuple[Run, dict[str, float]]:
        """The run, and what its script measured of itself."""
        arguments = (str(work.calls), str(work.points), str(work.think_s))
        spec = RunSpec(command=(str(self._python), "-c", SCRIPT, *arguments), resources=Resources(memory_bytes=2**30))
        run = self._here().runs.submit(spec)
        for step in kill_at:
            self._wait_for_step(run, step)
            self.plane.kill()
            time.sleep(random.uniform(0.1, 0.6))  # it is left down
            self.plane.start()
        ended = self._ended(run)
        said = "".join(self._here().runs.output(run.id))
        assert ended.state is RunState.FINISHED, said
        return ended, json.loads(said.splitlines()[-1])

    def series(self, run: Run) -> dict[str, list[tuple[int, float]]]:
        """Every point the script logged, in the order of the server."""
        here = self._here()
        found: dict[str, list[tuple[int, float]]] = {}
        for key in here.runs.data(run.id).metrics:
            if key.startswith("loss"):
                page = here.runs.history(run.id, key, limit=SERIES_PAGE)
                points = list(page.items)
                while page.next:
                    page = here.runs.history(run.id, key, after=page.next, limit=SERIES_PAGE)
                    points += page.items
                found[key] = [(point.step, point.value) for point in points]
        return found

    def _here(self) -> Stages:
        return Stages(self.plane.client())

    def _wait_for_step(self, run: Run, step: int) -> None:
        log = self.plane.home / "runs" / run.id / "1" / "output.log"
        until_s = time.monotonic() + READY_S
        while time.monotonic() < until_s:
            said = log.read_text() if log.exists() else ""
            steps = [int(line.split()[1]) for line in said.splitlines() if line.startswith("step ")]
            if "{" in said or (steps and steps[-1] >= step):
                return
            time.sleep(0.01)
        raise AssertionError(f"the script did not come to step {step}: {said}")

    def _ended(self, run: Run) -> Run:
        until_s = time.monotonic() + RUN_S_MAX
        while not (found := self._here().runs.get(run.id)).state.is_final:
            assert time.monotonic() < until_s, "the run does not end"
            time.sleep(0.05)
        return found


def compare(outages: Outages, work: Work, kills: int) -> None:
    seed = random.randrange(2**32)
    random.seed(seed)
    calm_run, calm = outages.run(work, [])
    moments = sorted(random.sample(range(work.calls), kills))
    rough_run, rough = outages.run(work, moments)
    print(f"\nseed {seed}: {work.calls * work.points:,} points, killed at steps {moments}")
    for name in calm:
        print(
            f"{name:>10}: undisturbed {calm[name]:8.3f}, disturbed {rough[name]:8.3f}, ratio {rough[name] / calm[name]:.4f}"
        )
    own = [each["wall_s"] - each["queued_s"] for each in (calm, rough)]
    print(
        f"{'own':>10}: undisturbed {own[0]:8.3f}, disturbed {own[1]:8.3f}, ratio {own[1] / own[0]:.4f} (no wait for cores)"
    )

    undisturbed = outages.series(calm_run)
    assert outages.series(rough_run) == undisturbed
    assert {key: len(points) for key, points in undisturbed.items()} == dict.fromkeys(undisturbed, work.calls)
    assert len(undisturbed) == work.points


@pytest.fixture
def outages(tmp_path: Path) -> Iterator[Outages]:
    plane = ControlPlane(tmp_path / "home")
    plane.start()
    yield Outages(plane, environment("mlflow"))
    plane.stop()


@pytest.mark.peer("mlflow")
def test_three_outages_change_nothing(outages: Outages) -> None:
    compare(outages, Work(calls=500, points=10, think_s=0.005), kills=3)


@pytest.mark.slow
@pytest.mark.peer("mlflow")
@pytest.mark.timeout(1_800)
@pytest.mark.parametrize(
    "work",
    [Work(calls=50_000, points=1, think_s=0.0), Work(calls=5_000, points=10, think_s=0.01)],
    ids=["pure", "training"],
)
def test_twenty_outages_change_nothing(outages: Outages, work: Work) -> None:
    compare(outages, work, kills=20)
