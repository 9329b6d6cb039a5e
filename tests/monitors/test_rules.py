"""Promises, quality, and when an incident opens and closes."""

import pytest

from sill.core.errors import InvalidValue
from sill.endpoints.types import SLO
from sill.monitors.observing import fold, step, switch
from sill.monitors.rules import Verdict, add_to_bucket, advance_labels, check_spec, judge_quality, judge_slo
from sill.monitors.sketches import PREDICTION, profile_numbers, profile_texts
from sill.monitors.types import Bucket, IncidentKind, MonitorSpec, MonitorState, Reference
from sill.traffic.types import RequestRow

SPEC = MonitorSpec(project="default", name="churn", endpoint="churn", window_requests=50)
HOUR = SLO(p99_ms=20.0, availability=0.99, window_s=3600)
STATE = switch(MonitorState(project="default", name="churn", endpoint="churn"), 1, 1)
REFERENCE = Reference(
    project="default",
    name="churn",
    model_version=1,
    columns={
        "age": profile_numbers([float(age) for age in range(20, 80)] * 10, 50),
        PREDICTION: profile_texts(["0", "1"] * 300),
    },
)


def rows(count: int, *, age: int = 0, revision: int = 1, status: int = 200, start: int = 0) -> list[RequestRow]:
    return [
        RequestRow(
            request_id=f"req-{index}",
            at_us=index * 1_000,
            project="default",
            endpoint="churn",
            revision=revision,
            model_version=revision,
            is_shadow=False,
            status=status,
            latency_ms=1.0,
            features={"age": float(20 + (index * 7) % 60 + age)},
            prediction=str(index % 2),
        )
        for index in range(start, start + count)
    ]


def calm(slow: int = 0, errors: int = 0, at: int = 100) -> tuple[Bucket, ...]:
    return tuple(Bucket(at=at - back, requests=100, slow=slow, errors=errors) for back in range(12))


def verdict(is_bad: bool | None, kind: IncidentKind = IncidentKind.DRIFT) -> Verdict:
    return Verdict(kind=kind, is_bad=is_bad, summary="")


def test_windows_are_the_same_in_whatever_batches_the_rows_come() -> None:
    every = rows(180)

    whole, windows = fold(STATE, SPEC, HOUR, REFERENCE, every)
    state, pieces = STATE, []
    for place in range(0, 180, 37):
        state, closed = fold(state, SPEC, HOUR, REFERENCE, every[place : place + 37])
        pieces += closed

    assert [one.window for one in windows] == [one.window for one in pieces]
    assert len(windows) == 3
    assert whole == state
    assert (whole.windows, whole.window.requests, whole.requests_seen) == (3, 30, 180)


def test_a_shift_is_found_in_the_first_window_behind_it_with_means_as_evidence() -> None:
    _, windows = fold(STATE, SPEC, HOUR, REFERENCE, [*rows(50), *rows(50, age=40, start=50)])

    assert [one.window.shifted for one in windows] == [(), ("age",)]
    facts = windows[1].drift.evidence["scores"]
    assert isinstance(facts, dict)
    assert facts["age"]["window_mean"] > facts["age"]["reference_mean"] + 30


def test_rows_of_other_revisions_count_for_the_promises_only() -> None:
    state, windows = fold(STATE, SPEC, HOUR, REFERENCE, rows(60, revision=2, status=503))

    assert windows == ()
    assert state.requests_seen == 0
    assert sum(bucket.errors for bucket in state.buckets) == 60


def test_missing_and_strange_features_break_nothing() -> None:
    row = RequestRow(**{name: getattr(rows(1)[0], name) for name in RequestRow.__struct_fields__} | {"features": {}})

    state, windows = fold(STATE, SPEC, HOUR, REFERENCE, [row] * 50)

    assert windows[0].window.scores == ()
    assert windows[0].drift.is_bad is None
    assert state.windows == 1


def test_drift_opens_after_its_windows_and_closes_after_its_clean_ones() -> None:
    spec = MonitorSpec(project="p", name="n", endpoint="e", windows_to_open=2, windows_to_close=2)
    state, actions = STATE, []
    for is_bad in (True, False, True, True, False, None, False):
        state, action = step(state, verdict(is_bad), spec)
        actions.append(action)

    assert actions == ["", "", "", "open", "", "", "close"]


def test_errors_beyond_the_budget_in_both_windows_are_an_incident() -> None:
    _, errors = judge_slo(calm(errors=10), HOUR, 0.001)

    assert errors.is_bad
    assert errors.summary == "120 of 1200 requests failed (10.00%, allowed 1.00%) in 3600 s"


def test_a_burst_that_is_over_is_no_incident_any_more() -> None:
    buckets = (Bucket(at=90, requests=100, errors=80), *calm()[:2][::-1])

    assert judge_slo(buckets, HOUR, 0.001)[1].is_bad is False


def test_one_failure_among_few_requests_says_nothing() -> None:
    assert judge_slo((Bucket(at=100, requests=25, errors=1),), HOUR, 0.001)[1].is_bad is None


def test_one_percent_of_slow_requests_keeps_the_promise_and_ten_do_not() -> None:
    assert judge_slo(calm(slow=1), HOUR, 0.001)[0].is_bad is False
    assert judge_slo(calm(slow=10), HOUR, 0.001)[0].is_bad is True


def test_slices_beyond_the_window_are_forgotten() -> None:
    buckets: tuple[Bucket, ...] = ()
    for at in range(100):
        buckets = add_to_bucket(buckets, at, 1, 0, 0)

    assert [bucket.at for bucket in buckets] == list(range(88, 100))


def test_quality_waits_for_labels_and_for_evidence() -> None:
    spec = MonitorSpec(project="p", name="n", endpoint="e", labels_min=50, accuracy_drop_max=0.05)

    assert judge_quality([(0, 0)], (40, 0), 0.9, spec).is_bad is None
    assert judge_quality([(0, 0)], (60, 50), 0.9, spec).is_bad is None  # 83 % on 60 may be chance
    assert judge_quality([(0, 0)], (60, 30), 0.9, spec).is_bad is True
    assert judge_quality([(0, 0)], (60, 54), 0.9, spec).is_bad is False
    assert judge_quality([(0, 0)], (60, 30), None, spec).is_bad is None


def test_quality_is_judged_on_the_newest_labels() -> None:
    spec = MonitorSpec(project="p", name="n", endpoint="e", labels_min=50)
    labels: tuple[tuple[int, int], ...] = ((0, 0),)
    for count in range(1, 101):  # a long good past
        labels = advance_labels(labels, (count * 50, count * 50), spec.labels_min)

    assert len(labels) == 6
    assert judge_quality(labels, (5_100, 5_000 + 80), 0.95, spec).is_bad is False
    assert judge_quality(labels, (5_100, 5_000), 0.95, spec).is_bad is True


@pytest.mark.parametrize(
    "fields",
    [
        {"window_requests": 0},
        {"false_alarm": 0.0},
        {"psi_min": float("nan")},
        {"name": "../x"},
        {"webhook": "https://example.org/hook"},
    ],
)
def test_monitors_that_cannot_be_meant_are_refused(fields: dict[str, object]) -> None:
    with pytest.raises(InvalidValue):
        check_spec(MonitorSpec(**({"project": "p", "name": "n", "endpoint": "e"} | fields)))
