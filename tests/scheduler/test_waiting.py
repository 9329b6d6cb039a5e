"""Nobody waits for ever, nobody is stopped in circles, and it does not matter which process decides."""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sill.scheduler.policies import POLICIES, policy_named
from sill.scheduler.replaying import replay
from sill.scheduler.simulation.report import wait_of_large
from sill.scheduler.simulation.simulate import Simulation, simulate
from sill.scheduler.simulation.types import Workload
from sill.scheduler.state import State
from sill.scheduler.types import Action, Job, Policy, Preempt, Queue, Start
from sill.testing.scheduling import at_s, cluster, many, workloads

DRAINING = [name for name, policy in POLICIES.items() if policy.reservations and policy.revokes]
PREEMPTING = [name for name, policy in POLICIES.items() if policy.preempts or policy.reclaims or policy.revokes]


def crowded(arrivals: list[tuple[int, float]], gang: tuple[int, float]) -> Workload:
    """Small jobs that come faster than they end, and one gang among them."""
    small = [
        Job(id=f"s{number}", accelerators=1, submitted_us=at_s(10 * number), estimate_s=estimate_s)
        for number, (_, estimate_s) in enumerate(arrivals)
    ]
    large = Job(id="gang", workers=gang[0], accelerators=gang[1], submitted_us=at_s(500), estimate_s=1e6)
    runtimes = (*(float(runtime_s) for runtime_s, _ in arrivals), 100.0)
    return Workload(name="crowded", cluster=cluster(4, 4), jobs=(*small, large), runtimes_s=runtimes)


@settings(many, max_examples=15)
@given(
    arrivals=st.lists(
        st.tuples(st.integers(100, 3_000), st.sampled_from([1.0, 60.0, 9_000.0])), min_size=90, max_size=90
    ),
    gang=st.sampled_from([(4, 4.0), (2, 4.0), (3, 3.0)]),
    name=st.sampled_from(DRAINING),
)
def test_a_gang_is_overtaken_for_no_longer_than_its_patience_and_the_draining(
    arrivals: list[tuple[int, float]], gang: tuple[int, float], name: str
) -> None:
    policy = msgspec.structs.replace(policy_named(name), patience_s=300.0, drain_s=200.0)
    outcome = simulate(crowded(arrivals, gang), policy)

    assert wait_of_large(outcome, 8) <= policy.patience_s + policy.drain_s + 1


def test_without_kept_nodes_the_same_gang_is_overtaken_by_all() -> None:
    outcome = simulate(crowded([(300, 60.0)] * 90, (4, 4.0)), policy_named("sjf-skip"))

    assert wait_of_large(outcome, 8) > 1_000


@pytest.mark.parametrize("name", sorted(PREEMPTING))
@settings(many, max_examples=12)
@given(workload=workloads())
def test_at_one_instant_nobody_is_stopped_twice_nor_stops_who_stopped_it(name: str, workload: Workload) -> None:
    stops: Counter[tuple[int, str]] = Counter()
    for_whom: dict[int, set[tuple[str, str]]] = {}

    def look(state: State, actions: list[Action]) -> None:
        for action in actions:
            if isinstance(action, Preempt):
                stops[state.now_us, action.job_id] += 1
                assert stops[state.now_us, action.job_id] == 1
                for_whom.setdefault(state.now_us, set()).add((action.for_job, action.job_id))

    narrow = msgspec.structs.replace(workload, cluster=cluster(1, 4))  # so that many want the same place
    Simulation(narrow, policy_named(name), observe=look, horizon_s=10**5).run()

    for pairs in for_whom.values():
        assert not any((victim, preemptor) in pairs for preemptor, victim in pairs)


def busy(policy: Policy) -> tuple[Simulation, Workload]:
    """A day in which much is reserved, stopped and taken back; the same each time."""
    jobs = tuple(
        Job(
            id=f"j{at}",
            queue="abc"[at * 7 % 3],
            workers=(1, 1, 2, 4, 1, 3)[at % 6],
            accelerators=(0.5, 2, 4, 4, 1, 2)[at % 6],
            submitted_us=at_s(at * 137 % 4_000),
            estimate_s=(0, 10, 100, 5_000)[at * 5 % 4],
            restart_s=5.0,
        )
        for at in range(80)
    )
    queues = (
        Queue(name="a", guarantee={"accelerators": 8}),
        Queue(name="b", lend={"accelerators": 0}),
        Queue(name="c"),
    )
    runtimes = tuple(float((30, 300, 3_000, 9_000)[at * 11 % 4]) for at in range(80))
    workload = Workload(name="busy", cluster=cluster(4, 4, racks=2), jobs=jobs, runtimes_s=runtimes, queues=queues)
    simulation = Simulation(workload, policy, keep_journal=True)
    simulation.run()
    return simulation, workload


def story(name: str) -> str:
    policy = msgspec.structs.replace(policy_named(name), patience_s=60.0, patience_ratio=0.0, drain_s=300.0)
    simulation, workload = busy(policy)
    replay(workload.cluster, policy, workload.queues, simulation.journal)
    return "\n".join(repr(step.actions) for step in simulation.journal)


@pytest.mark.parametrize("name", ["sill", "gittins"])
def test_another_process_decides_the_same(name: str) -> None:
    code = f"from tests.scheduler.test_waiting import story; import zlib; print(zlib.crc32(story({name!r}).encode()))"
    told = [
        subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"PYTHONHASHSEED": seed},
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]

    assert told[0] == told[1] != ""
    assert "Preempt" in story(name) or "Reserve" in story(name)


def test_every_start_says_why() -> None:
    simulation, _ = busy(policy_named("sill"))

    assert all(action.reason for step in simulation.journal for action in step.actions)
    assert any(isinstance(action, Start) for step in simulation.journal for action in step.actions)
