"""What may happen to an endpoint's revisions."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sill.core.errors import Conflict, InvalidValue, SillError
from sill.endpoints import rules
from sill.endpoints.types import Endpoint, EndpointSpec, RevisionState, Rollout

PENDING, SHADOW, CANARY, LIVE, RETIRED, REJECTED = RevisionState
SPEC = EndpointSpec(project="default", name="churn", model="churn")


def live(version: int = 1) -> Endpoint:
    fresh = rules.deploy(rules.create(SPEC, 0), version, 1)
    return rules.move(fresh, 1, LIVE, 0, "first", 2)


def states(endpoint: Endpoint) -> dict[int, str]:
    return {revision.number: revision.state.value for revision in endpoint.revisions}


def test_the_first_revision_goes_live_at_once() -> None:
    assert rules.start(rules.deploy(rules.create(SPEC, 0), 1, 0)) == (LIVE, 100, "first revision of the endpoint")


def test_a_later_revision_is_a_shadow_first_or_a_canary_without_one() -> None:
    without = rules.apply(live(), EndpointSpec(**_fields(rollout=Rollout(shadow_requests=0, steps=(5, 100)))))

    assert rules.start(rules.deploy(live(), 2, 3)) == (SHADOW, 0, "answers 50 requests unseen first")
    assert rules.start(rules.deploy(without, 2, 3)) == (CANARY, 5, "first step")


def test_the_live_revision_has_what_the_canary_leaves() -> None:
    endpoint = rules.move(rules.deploy(live(), 2, 3), 2, CANARY, 10, "step", 4)

    assert [revision.weight for revision in endpoint.revisions] == [90, 10]


def test_a_revision_that_takes_over_retires_the_former() -> None:
    endpoint = rules.move(rules.deploy(live(), 2, 3), 2, LIVE, 100, "passed", 4)

    assert states(endpoint) == {1: "retired", 2: "live"}
    assert rules.find(endpoint, 1).reason == "revision 2 took over"


def test_a_rejected_revision_gives_its_traffic_back_and_keeps_the_most_it_had() -> None:
    canary = rules.move(rules.deploy(live(), 2, 3), 2, CANARY, 10, "step", 4)

    endpoint = rules.move(canary, 2, REJECTED, 0, "too many errors", 5)

    assert [revision.weight for revision in endpoint.revisions] == [100, 0]
    assert rules.find(endpoint, 2).weight_max == 10


def test_an_illegal_move_says_what_is_allowed() -> None:
    endpoint = rules.move(rules.deploy(live(), 2, 3), 2, CANARY, 10, "step", 4)

    with pytest.raises(Conflict, match="is canary; shadow may not follow, allowed: canary, live, rejected"):
        rules.move(endpoint, 2, SHADOW, 0, "back", 5)


@pytest.mark.parametrize("weight", [0, -1, 101])
def test_a_canarys_weight_is_1_to_100(weight: int) -> None:
    with pytest.raises(InvalidValue):
        rules.move(rules.deploy(live(), 2, 3), 2, CANARY, weight, "step", 4)


def test_a_newer_version_replaces_the_one_on_its_way_in() -> None:
    endpoint = rules.deploy(rules.deploy(live(), 2, 3), 3, 4)

    assert states(endpoint) == {1: "live", 2: "rejected", 3: "pending"}
    assert rules.find(endpoint, 2).reason == "replaced by version 3"


def test_a_version_that_is_live_is_not_deployed_again() -> None:
    with pytest.raises(Conflict):
        rules.deploy(live(), 1, 3)


def test_rollback_stops_what_is_rolling_and_then_returns_to_the_former() -> None:
    second = rules.move(rules.deploy(live(), 2, 3), 2, LIVE, 100, "passed", 4)
    third = rules.move(rules.deploy(second, 3, 5), 3, CANARY, 10, "step", 6)

    stopped = rules.rollback(third, "bad", 7)
    back = rules.rollback(stopped, "bad too", 8)

    assert states(stopped) == {1: "retired", 2: "live", 3: "rejected"}
    assert states(back) == {1: "live", 2: "rejected", 3: "rejected"}
    with pytest.raises(Conflict, match="no former live revision"):
        rules.rollback(back, "again", 9)


def test_an_endpoint_follows_the_newest_accepted_version_once() -> None:
    assert rules.follow(rules.create(SPEC, 0), accepted=3, champion=2) == 2
    assert rules.follow(live(2), accepted=3, champion=2) == 3
    assert rules.follow(rules.deploy(live(2), 3, 3), accepted=3, champion=2) == 0
    assert rules.follow(rules.rollback(rules.deploy(live(2), 3, 3), "", 4), accepted=3, champion=2) == 0


def test_an_endpoint_without_auto_rollout_follows_nothing() -> None:
    endpoint = rules.apply(live(), EndpointSpec(**_fields(auto_rollout=False)))

    assert rules.follow(endpoint, accepted=5, champion=1) == 0


def test_history_is_bounded_and_keeps_what_matters() -> None:
    endpoint = rules.move(rules.deploy(live(), 2, 3), 2, LIVE, 100, "passed", 4)
    for version in range(3, 300):
        endpoint = rules.move(rules.deploy(endpoint, version, version), version, REJECTED, 0, "no", version)

    assert len(endpoint.revisions) <= rules.REVISIONS_MAX + 3
    assert endpoint.former() is not None
    assert endpoint.live() is not None


@pytest.mark.parametrize(
    "fields",
    [
        {"name": "../x"},
        {"log_sample": 1.5},
        {"log_sample": float("nan")},
        {"rollout": Rollout(steps=())},
        {"rollout": Rollout(steps=(10, 5, 100))},
        {"rollout": Rollout(steps=(1, 50))},
        {"rollout": Rollout(shadow_requests=-1)},
    ],
)
def test_declarations_that_cannot_be_meant_are_refused(fields: dict[str, object]) -> None:
    with pytest.raises(InvalidValue):
        rules.check_spec(EndpointSpec(**_fields(**fields)))


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["deploy", "rollback", SHADOW, CANARY, LIVE, REJECTED, RETIRED]),
            st.integers(1, 6),
            st.integers(0, 100),
        ),
        max_size=30,
    )
)
def test_whatever_is_tried_one_is_live_one_is_rolling_and_weights_sum_to_100(
    steps: list[tuple[str, int, int]],
) -> None:
    endpoint = live()
    for at, (what, number, weight) in enumerate(steps, start=3):
        try:
            if what == "deploy":
                endpoint = rules.deploy(endpoint, number, at)
            elif what == "rollback":
                endpoint = rules.rollback(endpoint, "", at)
            else:
                endpoint = rules.move(endpoint, number, RevisionState(what), weight, "", at)
        except SillError:
            continue
        assert sum(revision.weight for revision in endpoint.revisions) == 100
        assert sum(revision.state is LIVE for revision in endpoint.revisions) == 1
        assert sum(revision.state in rules.ROLLING for revision in endpoint.revisions) <= 1
        assert all(revision.weight <= revision.weight_max for revision in endpoint.revisions)


def _fields(**changed: object) -> dict[str, object]:
    return {"project": "default", "name": "churn", "model": "churn"} | changed
