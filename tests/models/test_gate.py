"""The gate: what it asks for, and what it says."""

from sill.models.rules import judge, state_after
from sill.models.types import Check, GateReport, VersionState
from sill.runs.training.types import GateSpec, SliceResult
from sill.testing.platform import against, evaluation


def check(report: GateReport, name: str) -> Check:
    return next(one for one in report.checks if one.name == name)


def test_a_first_version_passes_on_minimum_and_latency() -> None:
    report = judge(evaluation(0.9), GateSpec(minimum=0.85, latency_ms_max=5.0), champion=0)

    assert report.passed
    assert {one.name for one in report.checks} == {"metric", "parity", "minimum", "incumbent", "latency"}


def test_a_first_version_below_the_minimum_is_rejected_with_both_figures() -> None:
    report = judge(evaluation(0.8), GateSpec(minimum=0.85), champion=0)

    assert not report.passed
    assert "auc 0.8000, required at least 0.85" in report.reason


def test_of_a_loss_less_is_better() -> None:
    measured = evaluation(metric="rmse", metrics={"rmse": 3.0})

    assert judge(measured, GateSpec(metric="rmse", minimum=4.0), champion=0).passed
    assert not judge(measured, GateSpec(metric="rmse", minimum=2.0), champion=0).passed


def test_an_export_that_differs_from_the_original_is_rejected() -> None:
    report = judge(evaluation(parity_max_difference=0.1), GateSpec(), champion=0)

    assert not check(report, "parity").passed


def test_a_better_version_passes() -> None:
    assert judge(against(1, +0.03), GateSpec(), champion=1).passed


def test_a_worse_version_is_rejected() -> None:
    report = judge(against(1, -0.05), GateSpec(), champion=1)

    assert not check(report, "improvement").passed
    assert not check(report, "confidence").passed


def test_a_better_version_whose_interval_reaches_too_low_is_rejected() -> None:
    report = judge(against(1, +0.01, width=0.05), GateSpec(margin=0.02), champion=1)

    assert check(report, "improvement").passed
    assert not check(report, "confidence").passed


def test_a_version_evaluated_against_a_former_champion_must_be_evaluated_again() -> None:
    report = judge(against(2, +0.03), GateSpec(), champion=3)

    assert not report.passed
    assert check(report, "incumbent").observed == "evaluated against version 2, champion is 3: evaluate again"


def test_a_version_evaluated_without_the_champion_is_rejected() -> None:
    assert not judge(evaluation(0.99), GateSpec(), champion=1).passed


def test_one_slice_that_fell_too_far_rejects_and_is_named() -> None:
    slices = (
        SliceResult(column="plan", value="free", rows=50, metric=0.70, incumbent_metric=0.90),
        SliceResult(column="plan", value="pro", rows=50, metric=0.95, incumbent_metric=0.90),
        SliceResult(column="plan", value="gift", rows=3, metric=0.10, incumbent_metric=0.90),
    )

    report = judge(against(1, +0.03, slices=slices), GateSpec(), champion=1)

    assert [one.name for one in report.checks if not one.passed] == ["slice plan=free"]
    assert "slice plan=gift" not in {one.name for one in report.checks}


def test_a_slow_model_is_rejected() -> None:
    assert not judge(evaluation(latency_ms_p99=80.0), GateSpec(latency_ms_max=50.0), champion=0).passed


def test_another_metric_than_the_gates_is_no_evidence() -> None:
    assert not judge(evaluation(metric="f1"), GateSpec(metric="auc"), champion=0).passed


def test_a_passed_gate_that_asks_for_approval_waits_for_it() -> None:
    gate = GateSpec(approval=True)

    assert state_after(judge(evaluation(), gate, champion=0), gate) is VersionState.AWAITING_APPROVAL
