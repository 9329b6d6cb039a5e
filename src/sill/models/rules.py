"""The gate: may a trained version serve? Pure; every check says what it saw and what it asked for."""

import math

from sill.models.types import Check, GateReport, VersionState
from sill.runs.training.types import Evaluation, GateSpec, SliceResult

LOSSES = frozenset({"log_loss", "rmse", "mae", "mse", "brier"})
"""Metrics of which less is better."""
CHAMPION = "champion"
"""The alias of the version that serves."""


def judge(evaluation: Evaluation, gate: GateSpec, champion: int | None = None) -> GateReport:
    """The verdict on an evaluation, with every check behind it.

    A first version passes on parity, minimum and latency alone. Later ones must also have been compared with the
    version that serves now, be better by what the gate asks with its confidence, and be worse on no slice by more
    than the gate allows.

    Args:
        champion: the version that serves now, 0 for none; None takes the evaluation's word for it.
    """
    incumbent = evaluation.incumbent_version if champion is None else champion
    checks = [_metric(evaluation, gate), _parity(evaluation, gate)]
    if gate.minimum is not None:
        checks.append(_minimum(evaluation, gate, gate.minimum))
    checks.append(_incumbent(evaluation, incumbent))
    if incumbent:
        checks += [_improvement(evaluation, gate), _confidence(evaluation, gate)]
        checks += [_slice(part, gate) for part in evaluation.slices if part.rows >= gate.slice_rows_min]
    checks.append(_latency(evaluation, gate))
    failed = [check for check in checks if not check.passed]
    return GateReport(passed=not failed, checks=tuple(checks), reason=_reason(failed, len(checks)))


def state_after(report: GateReport, gate: GateSpec) -> VersionState:
    """What a version becomes once the gate has spoken."""
    if not report.passed:
        return VersionState.REJECTED
    return VersionState.AWAITING_APPROVAL if gate.approval else VersionState.ACCEPTED


def _metric(evaluation: Evaluation, gate: GateSpec) -> Check:
    value = evaluation.metrics.get(gate.metric)
    observed = f"{gate.metric} {value:.4f}" if _is_number(value) else f"{gate.metric} is missing"
    if evaluation.metric != gate.metric:
        observed = f"compared on {evaluation.metric}"
    passed = _is_number(value) and evaluation.metric == gate.metric and evaluation.rows > 0
    return Check(
        name="metric",
        passed=passed,
        observed=f"{observed} on {evaluation.rows} held-out rows",
        required=f"{gate.metric} on held-out rows",
    )


def _parity(evaluation: Evaluation, gate: GateSpec) -> Check:
    difference = evaluation.parity_max_difference
    return Check(
        name="parity",
        passed=_is_number(difference) and difference <= gate.parity_max,
        observed=f"the export differs from the original by at most {difference:.2g}",
        required=f"at most {gate.parity_max:g}",
    )


def _minimum(evaluation: Evaluation, gate: GateSpec, bound: float) -> Check:
    value = evaluation.metrics.get(gate.metric, math.nan)
    is_loss = gate.metric in LOSSES
    return Check(
        name="minimum",
        passed=value <= bound if is_loss else value >= bound,
        observed=f"{gate.metric} {value:.4f}",
        required=f"at {'most' if is_loss else 'least'} {bound:g}",
    )


def _incumbent(evaluation: Evaluation, incumbent: int) -> Check:
    seen = evaluation.incumbent_version
    if seen == incumbent:
        observed = f"evaluated against version {seen}" if seen else "there is no incumbent"
    else:
        champion = f"champion is {incumbent}" if incumbent else "there is no champion"
        against = f"against version {seen}" if seen else "without an incumbent"
        observed = f"evaluated {against}, {champion}: evaluate again"
    required = f"evaluated against version {incumbent}, the champion" if incumbent else "no incumbent"
    return Check(name="incumbent", passed=seen == incumbent, observed=observed, required=required)


def _improvement(evaluation: Evaluation, gate: GateSpec) -> Check:
    delta = evaluation.delta
    return Check(
        name="improvement",
        passed=delta is not None and delta >= gate.improvement,
        observed="not compared" if delta is None else f"{delta:+.4f} {gate.metric}",
        required=f"at least {gate.improvement:+g} over version {evaluation.incumbent_version}",
    )


def _confidence(evaluation: Evaluation, gate: GateSpec) -> Check:
    low, high = evaluation.delta_low, evaluation.delta_high
    share = f"{gate.confidence:.0%}"
    return Check(
        name="confidence",
        passed=low is not None and low > -gate.margin,
        observed="no interval" if low is None or high is None else f"{share} interval {low:+.4f} to {high:+.4f}",
        required=f"lower bound above {-gate.margin:+g}",
    )


def _slice(part: SliceResult, gate: GateSpec) -> Check:
    name = f"slice {part.column}={part.value}"
    required = f"at most {gate.slice_drop_max:g} worse than the incumbent"
    if part.incumbent_metric is None:
        return Check(name=name, passed=False, observed=f"not compared on {part.rows} rows", required=required)
    sign = -1.0 if gate.metric in LOSSES else 1.0
    drop = sign * (part.incumbent_metric - part.metric)
    observed = f"{part.metric:.4f} against {part.incumbent_metric:.4f} on {part.rows} rows"
    return Check(name=name, passed=drop <= gate.slice_drop_max, observed=observed, required=required)


def _latency(evaluation: Evaluation, gate: GateSpec) -> Check:
    latency = evaluation.latency_ms_p99
    return Check(
        name="latency",
        passed=0.0 <= latency <= gate.latency_ms_max,
        observed=f"p99 {latency:.3g} ms",
        required=f"at most {gate.latency_ms_max:g} ms",
    )


def _reason(failed: list[Check], checked: int) -> str:
    if not failed:
        return f"all {checked} checks passed"
    return "; ".join(f"{check.name}: {check.observed}, required {check.required}" for check in failed)


def _is_number(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
