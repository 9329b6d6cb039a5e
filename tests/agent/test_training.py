"""A training run: from a training set to a registered version, with the real libraries."""

import io
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sill.agent.calling import UserError
from sill.agent.data import class_names, make_split
from sill.agent.platform import Platform
from sill.agent.training import TrainingRun, reference_rows
from sill.core.errors import InvalidValue, Refused
from sill.models.types import VersionSpec, VersionState
from sill.runs.training.types import Evaluation, TrainingSpec, Tune
from sill.runs.types import RunState

from .conftest import StandIn, rows

replace = msgspec.structs.replace


def feedback(count: int, shift: float, seed: int = 5) -> pa.Table:
    """Labelled requests, as the traffic stage hands them over."""
    table = rows(count, seed, shift)
    return pa.table(
        {
            "request_id": [f"req-{row}" for row in range(count)],
            "at_us": list(range(count)),
            "load": table["load"],
            "age": table["age"],
            "is_new": table["is_new"].cast(pa.float64()),
            "label": table["churned"],
        }
    )


def test_a_training_registers_an_evaluated_version(
    platform: Platform, stand_in: StandIn, training: TrainingSpec, folder: Path
) -> None:
    version = TrainingRun(platform, training, folder).execute()

    assert version.state is VersionState.ACCEPTED
    assert version.spec.signature.features == ("load", "age", "is_new")
    assert version.spec.signature.classes == ("no", "yes")
    assert version.spec.evaluation.metrics["auc"] > 0.9
    assert {part.value for part in version.spec.evaluation.slices} == {"free", "pro"}
    assert "sill://p/tables/rows/41" in version.spec.inputs
    assert stand_in.metrics()["auc"] == version.spec.evaluation.metrics["auc"]


def test_the_bundle_has_model_reference_card_evaluation_and_bill_of_materials(
    platform: Platform, stand_in: StandIn, training: TrainingSpec, folder: Path
) -> None:
    version = TrainingRun(platform, training, folder).execute()
    files = {path: stand_in.blobs[digest] for path, digest in version.spec.files.items()}

    reference = pq.read_table(io.BytesIO(files["reference.parquet"]))
    assert reference.column_names == ["load", "age", "is_new", "label", "prediction"]
    assert set(reference["prediction"].to_pylist()) == {"no", "yes"}
    assert msgspec.json.decode(files["evaluation.json"], type=Evaluation) == version.spec.evaluation
    bom = msgspec.json.decode(files["bom.json"])
    assert (bom["bomFormat"], bom["specVersion"]) == ("CycloneDX", "1.6")
    assert "scikit-learn" in {component["name"] for component in bom["components"]}
    assert b"## Evaluation" in files["card.md"]


def test_provenance_names_code_environment_and_seed(
    platform: Platform, stand_in: StandIn, training: TrainingSpec, folder: Path, tmp_path: Path
) -> None:
    TrainingRun(platform, training, folder).execute()
    told = stand_in.updates[0]["provenance"]

    assert told["code"] == training.code
    assert len(told["environment"]) == 64
    assert "numpy==" in (tmp_path / "run/outputs/environment.txt").read_text()
    assert stand_in.updates[-1]["outputs"] == ["sill://p/models/churn/1"]


def test_tuning_records_each_trial_and_fits_the_best(
    platform: Platform, stand_in: StandIn, training: TrainingSpec, folder: Path
) -> None:
    spec = replace(training, tune=Tune(trials=4, metric="auc", space={"c": [0.01, 10.0, "log"]}))
    version = TrainingRun(platform, spec, folder).execute()

    trials = list(stand_in.inline.values())
    assert [run.state for run in trials] == [RunState.FINISHED] * 4
    best = max(trials, key=lambda run: max(m.value for m in run.batch.metrics if m.key == "auc"))
    assert version.spec.params == best.spec.params


def test_a_second_attempt_does_not_repeat_finished_trials(
    platform: Platform, stand_in: StandIn, training: TrainingSpec, folder: Path
) -> None:
    tune = Tune(trials=3, metric="auc", space={"c": [0.1, 1.0]})
    TrainingRun(platform, replace(training, tune=tune), folder).execute()
    stand_in.inline.clear()
    TrainingRun(platform, replace(training, tune=replace(tune, trials=5)), folder).execute()

    assert sorted(stand_in.inline) == ["run-00000001/trial/3", "run-00000001/trial/4"]


def test_the_champion_is_judged_on_the_same_rows(
    platform: Platform, stand_in: StandIn, training: TrainingSpec, folder: Path
) -> None:
    TrainingRun(platform, training, folder).execute()
    stand_in.champion = 1
    evaluation = TrainingRun(platform, training, folder).execute().spec.evaluation

    assert evaluation.incumbent_version == 1
    assert evaluation.delta == pytest.approx(0, abs=1e-6)
    assert evaluation.delta_low == pytest.approx(0, abs=1e-6)
    assert all(part.incumbent_metric == pytest.approx(part.metric) for part in evaluation.slices)


def test_a_champion_of_another_runtime_is_judged_on_the_same_rows(
    platform: Platform, stand_in: StandIn, training: TrainingSpec, folder: Path, tmp_path: Path
) -> None:
    first = TrainingRun(platform, training, folder).execute()
    features, classes = first.spec.signature.features, first.spec.signature.classes
    rows = np.random.default_rng(0).normal(size=(60, len(features))).astype(np.float32)
    stand_in.champion = 1
    stand_in.versions[1] = replace(first, spec=boosted(first.spec, rows, stand_in))

    evaluation = TrainingRun(platform, training, folder).execute().spec.evaluation

    assert classes
    assert evaluation.incumbent_version == 1
    assert evaluation.delta is not None
    assert evaluation.delta > 0


def boosted(spec: VersionSpec, rows: "np.ndarray[Any, Any]", stand_in: StandIn) -> VersionSpec:
    """The version with a file of XGBoost's instead: fitted to noise."""
    import xgboost

    labels = np.arange(len(rows)) % 2
    made = xgboost.train({"objective": "binary:logistic"}, xgboost.DMatrix(rows, labels), 2)
    stand_in.blobs["boosted"] = bytes(made.save_raw("ubj"))
    return replace(spec, runtime="xgboost", files={"model.ubj": "boosted"})


def test_a_model_trained_on_shifted_feedback_beats_the_champion(
    platform: Platform, stand_in: StandIn, training: TrainingSpec, folder: Path
) -> None:
    TrainingRun(platform, training, folder).execute()
    stand_in.champion = 1
    stand_in.feedback = feedback(1_200, shift=-3.0)
    spec = replace(training, feedback="churn", gate=replace(training.gate, metric="accuracy", minimum=None))
    version = TrainingRun(platform, spec, folder).execute()

    assert version.spec.evaluation.rows > 300
    assert version.spec.evaluation.delta is not None
    assert version.spec.evaluation.delta > 0
    assert "sill://p/endpoints/churn" in version.spec.inputs


def test_the_reference_after_a_shift_is_the_shifted_traffic(training: TrainingSpec, stand_in: StandIn) -> None:
    before, after = feedback(300, shift=0.0), feedback(300, shift=3.0, seed=9)
    after = after.set_column(1, "at_us", pa.array(range(1_000, 1_300)))
    split = make_split(replace(training, feedback="churn"), stand_in.view, rows(), pa.concat_tables([after, before]))
    kept = reference_rows(split)

    assert 150 < len(kept) < 300
    assert np.nanmean(split.fitted.X[kept, 0]) > 2


def test_the_reference_without_a_shift_is_everything(training: TrainingSpec, stand_in: StandIn) -> None:
    split = make_split(replace(training, feedback="churn"), stand_in.view, rows(), feedback(300, shift=0.0))

    assert len(reference_rows(split)) == len(split.fitted)


def test_what_the_function_raises_is_told_with_file_and_line(
    platform: Platform, training: TrainingSpec, folder: Path
) -> None:
    with pytest.raises(UserError, match=r"fail\(\) raised at churn_code\.py:\d+: RuntimeError: the sensor is broken"):
        TrainingRun(platform, replace(training, function="fail"), folder).execute()


def test_when_every_trial_fails_the_reason_is_the_last_ones(
    platform: Platform, stand_in: StandIn, training: TrainingSpec, folder: Path
) -> None:
    spec = replace(training, function="fail", tune=Tune(trials=2, space={"c": [0.1, 1.0]}))
    with pytest.raises(Refused, match=r"all 2 trials failed.*the sensor is broken"):
        TrainingRun(platform, spec, folder).execute()

    assert {run.state for run in stand_in.inline.values()} == {RunState.FAILED}


def test_a_text_column_is_refused_by_name(training: TrainingSpec, stand_in: StandIn) -> None:
    with pytest.raises(InvalidValue, match=r"column 'plan' of 'recent' is string.*exclude=\['plan'\]"):
        make_split(replace(training, exclude=()), stand_in.view, rows(), None)


def test_a_missing_label_and_a_single_class_are_refused(training: TrainingSpec, stand_in: StandIn) -> None:
    with pytest.raises(InvalidValue, match="label 'gone' is not a column"):
        make_split(replace(training, label="gone"), stand_in.view, rows(), None)
    same = rows().set_column(6, "churned", pa.array(["no"] * 400))
    with pytest.raises(Refused, match="one value 'no'"):
        make_split(training, stand_in.view, same, None)


def test_classes_are_in_the_order_of_their_numbers() -> None:
    assert class_names([10, 9, 1.0]) == ("1", "9", "10")
    assert class_names([True, False]) == ("false", "true")
