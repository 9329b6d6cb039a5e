"""An evaluation of a registered version anew, on the data as it is now."""

from pathlib import Path

import msgspec

from sill.agent.evaluation import EvaluationTask, execute_evaluation
from sill.agent.platform import Platform
from sill.agent.training import TrainingRun
from sill.runs.training.types import Evaluation, TrainingSpec

from .conftest import StandIn, rows


def test_a_version_is_evaluated_on_todays_held_out_rows(
    platform: Platform, stand_in: StandIn, training: TrainingSpec, folder: Path, tmp_path: Path
) -> None:
    TrainingRun(platform, training, folder).execute()
    stand_in.table = rows(count=300, seed=8)
    task = {"evaluation": msgspec.to_builtins(EvaluationTask(version=1, training=training))}
    execute_evaluation(platform, task, folder)

    report = msgspec.json.decode((tmp_path / "run/outputs/evaluation.json").read_bytes(), type=Evaluation)
    assert report.metrics["auc"] > 0.9
    assert 50 < report.rows < 100
    assert {part.value for part in report.slices} == {"free", "pro"}
    assert stand_in.metrics()["auc"] == report.metrics["auc"]
