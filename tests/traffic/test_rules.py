"""The judge: a good revision always gets through, a bad one never past its limits, and each decision says why."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sill.endpoints.types import Endpoint, EndpointSpec, Revision, RevisionState, Rollout
from sill.traffic.rules import (
    LABELS_MIN,
    LATENCY_BOUNDS_MS,
    chance_better,
    chance_of,
    judge,
    latency_counts,
    latency_ms_p99,
    phase_of,
    stats_id,
    why_return,
)
from sill.traffic.types import Decision, RevisionStats

NOW_US = 1_000_000_000


def endpoint(state: RevisionState, weight: int = 0, rollout: Rollout | None = None, **spec: bool) -> Endpoint:
    live = Revision(number=1, model_version=1, state=RevisionState.LIVE, weight=100 - weight)
    coming = Revision(number=2, model_version=2, state=state, weight=weight, state_us=NOW_US)
    declared = EndpointSpec(project="p", name="churn", model="churn", rollout=rollout or Rollout(), **spec)
    return Endpoint(project="p", name="churn", model="churn", spec=declared, revisions=(live, coming))


def stats(number: int, phase: str, requests: int = 0, slow: int = 0, **sums: int) -> RevisionStats:
    counts = latency_counts([(1.5, requests - slow), (900.0, slow)])
    return RevisionStats(
        project="p",
        id=stats_id("churn", number, phase),
        endpoint="churn",
        number=number,
        since_us=0,
        requests=requests,
        latency_counts=counts,
        **sums,
    )


def decide(at: Endpoint, *seen: RevisionStats, after_s: float = 1.0) -> Decision:
    decision = judge(at, seen, NOW_US + round(after_s * 1e6))
    assert decision is not None
    return decision


def test_without_a_revision_on_its_way_there_is_nothing_to_decide() -> None:
    at = endpoint(RevisionState.RETIRED)

    assert judge(at, (), NOW_US) is None


def test_a_pending_revision_begins_in_shadow_or_at_the_first_step() -> None:
    assert decide(endpoint(RevisionState.PENDING)).state is RevisionState.SHADOW
    no_shadow = decide(endpoint(RevisionState.PENDING, rollout=Rollout(shadow_requests=0)))
    assert (no_shadow.state, no_shadow.weight) == (RevisionState.CANARY, 1)


def test_a_good_revision_climbs_every_step_and_goes_live() -> None:
    seen, at, path = [], endpoint(RevisionState.SHADOW), []
    for _ in range(10):
        rolling = at.revisions[1]
        phase = phase_of(rolling, rolling.state is RevisionState.SHADOW, NOW_US)
        seen.append(stats(2, phase, 50, compared=50))
        decision = decide(at, *seen)
        path.append((decision.state.value, decision.weight))
        if decision.state is RevisionState.LIVE:
            break
        at = endpoint(decision.state, decision.weight)

    assert path == [("canary", 1), ("canary", 10), ("canary", 50), ("live", 100)]


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (stats(2, "canary-1", 4, errors=2), "errors"),
        (stats(2, "canary-1", 50, slow=8), "longer"),
        (stats(2, "canary-1", 50, compared=50, disagreed=20), "differ"),
    ],
)
def test_a_bad_revision_is_stopped_at_the_first_step_with_the_reason(bad: RevisionStats, why: str) -> None:
    decision = decide(endpoint(RevisionState.CANARY, 1), bad)

    assert decision.state is RevisionState.REJECTED
    assert why in decision.reason


def test_labels_overrule_disagreement_and_stop_a_worse_revision() -> None:
    live = stats(1, "live", 100, labelled=100, correct=60)
    better = stats(2, "shadow", 50, compared=50, disagreed=40, labelled=50, correct=48)
    worse = stats(2, "shadow", 50, compared=50, disagreed=1, labelled=50, correct=20)

    assert decide(endpoint(RevisionState.SHADOW), live, better).state is RevisionState.CANARY
    assert "by the labels" in decide(endpoint(RevisionState.SHADOW), live, worse).reason


def test_one_slow_answer_among_fifty_proves_nothing() -> None:
    assert decide(endpoint(RevisionState.CANARY, 1), stats(2, "canary-1", 50, slow=1)).weight == 10


def test_too_little_traffic_waits_and_is_decided_on_what_there_is_when_time_is_up() -> None:
    at = endpoint(RevisionState.CANARY, 1)

    assert not decide(at, stats(2, "canary-1", 20)).is_move
    assert decide(at, stats(2, "canary-1", 20), after_s=3_601).weight == 10
    starved = decide(at, stats(2, "canary-1", 3), after_s=3_601)
    assert not starved.is_move
    assert "Send traffic" in starved.reason


def test_a_paused_endpoint_waits() -> None:
    assert (
        decide(endpoint(RevisionState.SHADOW, paused=True), stats(2, "shadow", 99)).reason == "the endpoint is paused."
    )


SUMS = st.integers(0, 200)


@given(SUMS, SUMS, SUMS, SUMS, SUMS, st.sampled_from([1, 10, 50]))
def test_more_errors_disagreement_or_wrong_labels_never_turn_a_no_into_a_yes(
    requests: int, errors: int, disagreed: int, labelled: int, correct: int, weight: int
) -> None:
    at = endpoint(RevisionState.CANARY, weight)
    phase = f"canary-{weight}"
    seen = stats(
        2,
        phase,
        requests,
        errors=min(errors, requests),
        compared=requests,
        disagreed=min(disagreed, requests),
        labelled=min(labelled, requests),
        correct=min(correct, labelled, requests),
    )
    live = stats(1, "live", 100, labelled=100, correct=90)
    worse = msgspec.structs.replace(seen, errors=seen.requests, disagreed=seen.compared, correct=0)

    if decide(at, live, seen).state is RevisionState.REJECTED:
        assert decide(at, live, worse).state is RevisionState.REJECTED


@given(SUMS, st.sampled_from([1, 10, 50]), st.floats(0, 10_000))
def test_a_move_is_one_step_up_and_always_has_a_reason(requests: int, weight: int, after_s: float) -> None:
    decision = decide(endpoint(RevisionState.CANARY, weight), stats(2, f"canary-{weight}", requests), after_s=after_s)

    following = {1: 10, 10: 50, 50: 100}[weight]
    assert decision.reason
    assert decision.weight == (following if decision.is_move else weight)


@given(st.lists(st.floats(0, 20_000), min_size=1, max_size=300))
def test_counts_keep_every_latency_and_bound_the_percentile(latencies: list[float]) -> None:
    counts = latency_counts((latency_ms, 1) for latency_ms in latencies)
    true_p99 = sorted(latencies)[-(-99 * len(latencies) // 100) - 1]

    assert sum(counts) == len(latencies)
    assert latency_ms_p99(counts) >= min(true_p99, LATENCY_BOUNDS_MS[-1])


def test_the_chance_of_slow_answers_is_the_binomial_tail() -> None:
    assert chance_of(1, 50) == pytest.approx(1 - 0.99**50)
    assert chance_of(0, 50) == 1.0


def test_an_answer_counts_for_the_step_it_was_given_in() -> None:
    canary = Revision(number=2, model_version=2, state=RevisionState.CANARY, weight=10, state_us=100)

    assert phase_of(canary, False, 100) == "canary-10"
    assert phase_of(canary, False, 99) == "late"
    assert phase_of(canary, True, 100) == "late-shadow"


FIXED = Rollout(split="fixed", steps=(50, 100))
BANDIT = Rollout(split="bandit", steps=(50, 100))


def test_an_ab_test_stays_as_it_is_until_it_is_ended_by_hand_and_a_bad_one_is_stopped() -> None:
    at = endpoint(RevisionState.CANARY, 50, FIXED)

    assert not decide(at, stats(2, "canary-50", 1_000_000), after_s=1e6).is_move
    assert decide(at, stats(2, "canary-50", 100, errors=50)).state is RevisionState.REJECTED


@pytest.mark.parametrize(
    ("right", "expected"), [(80, RevisionState.LIVE), (60, RevisionState.CANARY), (20, RevisionState.REJECTED)]
)
def test_a_bandit_gives_more_to_the_one_that_is_right_more_often_and_ends_when_it_is_sure(
    right: int, expected: RevisionState
) -> None:
    at = endpoint(RevisionState.CANARY, 50, BANDIT)
    seen = stats(2, "canary-50", 100, labelled=100, correct=right), stats(1, "live", 100, labelled=100, correct=55)

    decision = decide(at, *seen)

    assert decision.state is expected
    assert expected is not RevisionState.CANARY or 50 < decision.weight <= 95


def test_a_bandit_waits_for_labels_and_leaves_each_its_least_share() -> None:
    at = endpoint(RevisionState.CANARY, 50, Rollout(split="bandit", steps=(50, 100), share_min=20))
    few = stats(2, "canary-50", 100, labelled=LABELS_MIN - 1), stats(1, "live", 100, labelled=100, correct=100)
    bad = stats(2, "canary-50", 100, labelled=40, correct=20), stats(1, "live", 100, labelled=40, correct=28)

    assert not decide(at, *few).is_move
    assert decide(at, *bad).weight == 20


@given(st.integers(0, 300), st.integers(0, 300), st.data())
def test_chances_of_both_sides_add_up_and_more_right_is_never_less_likely(n: int, m: int, data: st.DataObject) -> None:
    one, other = (n, data.draw(st.integers(0, n))), (m, data.draw(st.integers(0, m)))

    assert chance_better(one, other) + chance_better(other, one) == pytest.approx(1.0, abs=1e-6)
    if one[1] < one[0]:
        assert chance_better((one[0], one[1] + 1), other) >= chance_better(one, other) - 1e-9


def test_the_chance_of_many_labels_is_close_to_the_exact_one() -> None:
    assert chance_better((2_001, 1_020), (2_001, 1_000)) == pytest.approx(
        chance_better((2_000, 1_020), (2_000, 1_000)), abs=0.02
    )


def gone_live(*later: Revision) -> Endpoint:
    """Revision 2 took over from revision 1 just now."""
    retired = Revision(number=1, model_version=1, state=RevisionState.RETIRED, weight_max=100)
    live = Revision(number=2, model_version=2, state=RevisionState.LIVE, weight=100, weight_max=100, state_us=NOW_US)
    spec = EndpointSpec(project="p", name="churn", model="churn")
    return Endpoint(project="p", name="churn", model="churn", spec=spec, revisions=(retired, live, *later))


GOOD = stats(1, "live", 1_000)


def test_a_revision_that_breaks_its_promises_once_it_is_live_is_left_for_the_former_one() -> None:
    assert "errors" in why_return(gone_live(), (GOOD, stats(2, "live", 200, errors=5)), NOW_US + 1)
    assert "longer" in why_return(gone_live(), (GOOD, stats(2, "live", 200, slow=20)), NOW_US + 1)
    assert why_return(gone_live(), (GOOD, stats(2, "live", 200, slow=2)), NOW_US + 1) == ""


def test_a_few_bad_answers_of_many_and_what_was_no_better_before_prove_nothing() -> None:
    assert why_return(gone_live(), (GOOD, stats(2, "live", 5_000, errors=6)), NOW_US + 1) == ""
    as_bad = stats(1, "live", 1_000, errors=30)
    assert why_return(gone_live(), (as_bad, stats(2, "live", 1_000, errors=40)), NOW_US + 1) == ""


def test_an_old_revision_and_one_that_was_returned_to_stay() -> None:
    bad = (GOOD, stats(2, "live", 200, errors=50))
    hours_later_us = NOW_US + 7_200 * 1_000_000
    left = Revision(number=3, model_version=3, state=RevisionState.REJECTED, weight_max=100)
    stopped = Revision(number=3, model_version=3, state=RevisionState.REJECTED, weight_max=10)

    assert why_return(gone_live(), bad, hours_later_us) == ""
    assert why_return(gone_live(left), bad, NOW_US + 1) == ""
    assert why_return(gone_live(stopped), bad, NOW_US + 1)


@pytest.mark.parametrize("requests", [2_000, 1_000_000])
def test_chances_of_many_requests_are_numbers_too(requests: int) -> None:
    expected = requests // 100

    assert 0.4 < chance_of(expected, requests) < 0.6
    assert chance_of(2 * expected, requests) < 1e-4
