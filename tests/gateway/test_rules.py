"""The gateway's pure parts: who gets requests, how often a request is repeated, when it is asked elsewhere."""

import pytest

from sill.core.errors import InvalidValue
from sill.core.settings import replica_bounds, replica_names
from sill.gateway.budget import Budget
from sill.gateway.fleet import first_names
from sill.gateway.health import EJECTED_S, FAULTS_MAX, UNREADY_S, Health, slow_one
from sill.gateway.latency import FLOOR_S, SAMPLES_MIN, UNKNOWN_S, Latency
from sill.gateway.refusals import TOO_LATE, TOO_MANY, is_refusal, unanswered
from sill.gateway.shedding import FORGOTTEN_S, GROWTH, QUIET_S, Shedding


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


@pytest.mark.parametrize(
    "given",
    ["0", "65", "0-2", "3-2", "1-65", "1-", "host", "host:0", "a:1,,b:2", ":80", "runs:", "runs:65", "runs:host:80"],
)
def test_replicas_that_are_neither_a_number_nor_addresses_are_refused(given: str) -> None:
    with pytest.raises(InvalidValue, match="SILL_REPLICAS"):
        replica_names(given)


def test_replicas_are_a_number_or_addresses() -> None:
    assert replica_names("2") == ["replica-1", "replica-2"]
    assert (replica_names("1-4"), replica_bounds("1-4"), replica_bounds("2")) == (["replica-1"], (1, 4), (2, 2))
    assert (replica_names("runs:1-4"), replica_bounds("runs:1-4"), replica_bounds("runs:2")) == ([], (1, 4), (2, 2))
    assert replica_names("10.0.0.1:80, [::1]:81") == ["10.0.0.1:80", "[::1]:81"]


def entered(shedding: Shedding, now_s: float, tries: int = 100) -> int:
    return sum(shedding.try_enter(now_s) for _ in range(tries))


def test_nothing_is_shed_until_a_replica_refuses() -> None:
    assert entered(Shedding(), 0.0) == 100


def test_after_a_refusal_as_many_are_let_in_as_were_beside_it() -> None:
    shedding = Shedding()
    entered(shedding, 0.0, tries=11)
    shedding.refused(0.0)

    assert entered(shedding, 0.1) == 0
    shedding.answered(0.2)
    assert entered(shedding, 0.2) == 1


def shed_beneath(room: int, turns: int, shedding: Shedding, from_s: float = 0.0) -> tuple[int, int]:
    """Twenty come and one is answered each 10 ms, before replicas with room for so many; who was refused by whom."""
    by_replica = by_gateway = waiting = 0
    for turn in range(turns):
        now_s = from_s + turn / 100
        for _ in range(20):
            if not shedding.try_enter(now_s):
                by_gateway += 1
            elif waiting >= room:
                shedding.refused(now_s)
                by_replica += 1
            else:
                waiting += 1
        if waiting:
            shedding.answered(now_s)
            waiting -= 1
    return by_replica, by_gateway


def test_hardly_any_of_a_flood_is_left_to_the_replicas_to_refuse() -> None:
    by_replica, by_gateway = shed_beneath(room=50, turns=6_000, shedding=Shedding())

    assert 6_000 / 64 / 2 < by_replica < 0.002 * by_gateway


def test_without_refusals_by_replicas_the_limit_doubles_with_each_round_of_answers() -> None:
    shedding = Shedding()
    entered(shedding, 0.0, tries=101)
    shedding.refused(0.0)
    for _ in range(100):
        shedding.answered(0.1)
    assert entered(shedding, 0.1, tries=1_000) == 100 + int(100 * GROWTH)

    for _ in range(101):
        shedding.answered(QUIET_S)
    assert entered(shedding, QUIET_S, tries=1_000) == 202


def test_a_limit_that_nobody_meets_for_a_while_is_forgotten() -> None:
    shedding = Shedding()
    entered(shedding, 0.0, tries=2)
    shedding.refused(0.0)
    assert entered(shedding, 0.9 * FORGOTTEN_S) == 0

    assert entered(shedding, FORGOTTEN_S) == 0
    assert entered(shedding, 2 * FORGOTTEN_S) == 100


def test_refusals_that_say_when_to_come_again_are_known_as_such() -> None:
    assert all(is_refusal(int(one[9:12]), one) for one in (TOO_MANY, TOO_LATE, unanswered("all are gone.")))
    assert not is_refusal(503, b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\nretry-after: 1\r\n")


@pytest.mark.parametrize(
    ("given", "alive", "names"),
    [
        ("2", [], ["replica-1", "replica-2"]),
        ("2", ["replica-3"], ["replica-3", "replica-1"]),
        ("2", ["replica-2", "replica-3", "replica-4"], ["replica-2", "replica-3"]),
        ("1-3", ["replica-2", "replica-5"], ["replica-2", "replica-5"]),
        ("10.0.0.1:80", ["replica-1"], ["10.0.0.1:80"]),
    ],
)
def test_a_gateway_begins_with_the_replicas_it_finds(given: str, alive: list[str], names: list[str]) -> None:
    assert first_names(given, alive) == names
