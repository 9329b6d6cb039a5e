"""The gateway's pure parts: who gets requests, how often a request is repeated, when it is asked elsewhere."""

import pytest

from sill.core.errors import InvalidValue
from sill.core.settings import replica_names
from sill.gateway.budget import Budget
from sill.gateway.health import EJECTED_S, FAULTS_MAX, UNREADY_S, Health, slow_one
from sill.gateway.latency import FLOOR_S, SAMPLES_MIN, UNKNOWN_S, Latency


def test_a_new_replica_serves_after_its_first_good_probe() -> None:
    health = Health()
    health.probe_answered(0.0, is_ready=False)
    assert not health.is_admitted

    health.probe_answered(0.1, is_ready=True)

    assert health.is_admitted


def test_a_replica_with_an_endpoint_that_is_never_ready_serves_in_the_end() -> None:
    health = Health()
    for now_s in (0.0, UNREADY_S):
        health.probe_answered(now_s, is_ready=False)

    assert health.is_admitted


def test_an_ejected_replica_needs_two_good_probes_and_its_time() -> None:
    health = Health()
    health.probe_answered(0.0, is_ready=True)
    health.eject(1.0, "silent")
    serves = []
    for now_s in (1.1, 1.2, 1.0 + EJECTED_S):
        health.probe_answered(now_s, is_ready=True)
        serves.append(health.is_admitted)

    assert serves == [False, False, True]


def test_broken_answers_in_a_row_eject_and_good_ones_between_do_not() -> None:
    health = Health()
    health.probe_answered(0.0, is_ready=True)
    for _ in range(FAULTS_MAX - 1):
        health.answered(1.0, is_fault=True)
    health.answered(1.0, is_fault=False)
    health.answered(1.0, is_fault=True)
    assert health.is_admitted

    for _ in range(FAULTS_MAX - 1):
        health.answered(1.0, is_fault=True)

    assert not health.is_admitted


def test_only_one_far_beyond_the_others_is_slow() -> None:
    assert slow_one({"a": 0.01, "b": 0.012, "c": 0.5}) == "c"
    assert slow_one({"a": 0.2, "b": 0.25}) is None
    assert slow_one({"a": 9.0}) is None


def test_repeats_stay_a_fixed_part_of_the_load() -> None:
    budget = Budget(0.2, 1.0)
    taken = 0
    for _ in range(1_000):
        budget.earn()
        taken += budget.take()

    assert 199 <= taken <= 202


def test_a_request_is_asked_elsewhere_after_the_95th_percentile() -> None:
    latency = Latency()
    assert latency.hedge_after_s == UNKNOWN_S
    for number in range(SAMPLES_MIN):
        latency.add(0.001 * number)

    assert latency.hedge_after_s == pytest.approx(0.030)
    for _ in range(200):
        latency.add(0.0001)
    assert latency.hedge_after_s == FLOOR_S


@pytest.mark.parametrize("given", ["0", "65", "host", "host:0", "a:1,,b:2", ":80"])
def test_replicas_that_are_neither_a_number_nor_addresses_are_refused(given: str) -> None:
    with pytest.raises(InvalidValue, match="SILL_REPLICAS"):
        replica_names(given)


def test_replicas_are_a_number_or_addresses() -> None:
    assert replica_names("2") == ["replica-1", "replica-2"]
    assert replica_names("10.0.0.1:80, [::1]:81") == ["10.0.0.1:80", "[::1]:81"]
