"""The promises of `decide`, on generated clusters, queues and jobs, under every policy."""

import copy
from math import inf

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sill.scheduler.decide import choose
from sill.scheduler.entries import Phase
from sill.scheduler.explain import explain
from sill.scheduler.folding import fold, happen
from sill.scheduler.ledger import MILLI, bits
from sill.scheduler.placement import place
from sill.scheduler.policies import POLICIES, policy_named
from sill.scheduler.queues import QueueNode
from sill.scheduler.simulation.simulate import Simulation
from sill.scheduler.simulation.types import Workload
from sill.scheduler.state import State
from sill.scheduler.types import Action, Ended, NodeLeft, Start, Step, Stopped, Submitted, Tick
from sill.testing.scheduling import at_s, workloads

DEVICES = 4
policies = st.sampled_from(sorted(POLICIES))
many = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


def check_nothing_is_given_twice(state: State) -> None:
    held: dict[tuple[str, int], int] = {}
    cpus: dict[str, int] = {}
    for entry in state.running.values():
        need = entry.need
        assert sum(slot.workers for slot in entry.placed) == need.workers  # whole or not at all
        for slot in entry.placed:
            cpus[slot.node] = cpus.get(slot.node, 0) + slot.workers * need.cpus
            assert len(slot.devices) == slot.workers * max(need.milli // MILLI, 1 if need.milli else 0)
            for device in slot.devices:
                held[slot.node, device] = held.get((slot.node, device), 0) + min(need.milli, MILLI)
    for machine in state.ledger.machines:
        free = machine.devices["gpu"]
        assert free == [MILLI - held.get((machine.spec.name, device), 0) for device in range(DEVICES)]
        assert min(free) >= 0
        assert machine.cpus_free == machine.total_cpus - cpus.get(machine.spec.name, 0) >= 0
        for wanted in range(1, DEVICES + 1):
            assert (state.ledger.devices["gpu"].whole[wanted] >> machine.index & 1) == (free.count(MILLI) >= wanted)


def check_limits(state: State, actions: list[Action]) -> None:
    used: dict[int, list[int]] = {}
    for entry in state.running.values():
        for node in state.tree.path(entry.leaf):
            of = used.setdefault(node.number, [0] * len(node.used))
            for resource, amount in entry.amounts:
                of[resource] += amount
    for node in (state.tree.root, *state.tree.by_name.values()):
        assert node.used == used.get(node.number, [0] * len(node.used))
        for held, ceiling, guarantee, borrow in zip(node.used, node.ceiling, node.guarantee, node.borrow, strict=True):
            assert held <= min(ceiling, guarantee + borrow if node is not state.tree.root else inf)


def check_kept_guarantees(state: State) -> None:
    """What a queue does not lend is never in the hands of others."""
    leaves: list[QueueNode] = [node for node in state.tree.by_name.values() if not node.children]
    for resource, total in enumerate(state.resources.total):
        mine = sum(max(node.kept[resource], node.used[resource]) for node in leaves)
        promised = sum(node.kept[resource] for node in leaves)
        assert mine <= max(total, promised) or not any(node.used[resource] > node.kept[resource] for node in leaves)


def check_reasons(state: State) -> None:
    for entry in state.entries.values():
        assert explain(state, entry.job.id).text
        if entry.phase is Phase.WAITING and entry.job.id not in state.reservations:
            assert entry.waiting_us <= state.now_us


@pytest.mark.parametrize("name", sorted(POLICIES))
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(workload=workloads())
def test_nothing_is_given_twice_no_limit_is_passed_and_all_has_a_reason(name: str, workload: Workload) -> None:
    def look(state: State, actions: list[Action]) -> None:
        check_nothing_is_given_twice(state)
        check_limits(state, actions)
        check_kept_guarantees(state)
        check_reasons(state)

    Simulation(workload, policy_named(name), observe=look, horizon_s=10**6).run()


@many
@given(workload=workloads(with_queues=False), name=policies)
def test_every_job_that_has_room_ends_and_preemption_comes_to_rest(workload: Workload, name: str) -> None:
    outcome = Simulation(workload, policy_named(name)).run()

    assert outcome.left == 0
    assert all(record.jct_s >= record.runtime_s for record in outcome.records)
    assert sum(record.preemptions for record in outcome.records) <= 200 * len(workload.jobs)


@many
@given(workload=workloads(), name=policies)
def test_the_same_journal_gives_the_same_actions_and_the_same_state(workload: Workload, name: str) -> None:
    simulation = Simulation(workload, policy_named(name), keep_journal=True, horizon_s=10**6)
    simulation.run()
    journal = simulation.journal

    again = State(workload.cluster, policy_named(name), workload.queues)
    for steps in _decisions(journal):
        for step in steps:
            happen(again, step.event, step.now_us)
        assert tuple(choose(again)) == steps[-1].actions
    folded = fold(workload.cluster, policy_named(name), workload.queues, journal)
    assert picture(folded) == picture(again) == picture(simulation.state)


@many
@given(workload=workloads(), name=policies, seed=st.integers(0, 5))
def test_reports_that_come_twice_or_late_change_nothing(workload: Workload, name: str, seed: int) -> None:
    simulation = Simulation(workload, policy_named(name), horizon_s=10**6)
    ended: list[Ended] = []

    def repeat(state: State, actions: list[Action]) -> None:
        before = picture(state)
        for action in actions:
            if isinstance(action, Start):
                ended.append(Ended(job_id=action.job_id, attempt=action.attempt - 1))
                ended.append(Ended(job_id=action.job_id, attempt=action.attempt + 1))
        for event in ended[-seed:] if seed else []:
            happen(state, event, state.now_us - seed)
            happen(state, Stopped(job_id=event.job_id, attempt=event.attempt), 0)
        for job in workload.jobs:
            if job.id in state.entries:
                happen(state, Submitted(job=job), state.now_us)
        assert picture(state) == before

    simulation._observe = repeat
    simulation.run()


@many
@given(workload=workloads(), name=policies, upto=st.integers(1, 30))
def test_a_copy_decides_as_the_original_does(workload: Workload, name: str, upto: int) -> None:
    simulation = Simulation(workload, policy_named(name), keep_journal=True, horizon_s=10**6)
    simulation.run()
    state = State(workload.cluster, policy_named(name), workload.queues)
    for step in simulation.journal[:upto]:
        happen(state, step.event, step.now_us)
        choose(state)
    copied = copy.deepcopy(state)

    for one in (state, copied):
        happen(one, NodeLeft(name="n1"), state.now_us)
    assert choose(state) == choose(copied)
    assert picture(state) == picture(copied)


@many
@given(workload=workloads(with_queues=False), name=st.sampled_from(["fifo", "fifo-skip", "drf", "easy", "drain"]))
def test_what_a_lost_node_held_runs_again_elsewhere(workload: Workload, name: str) -> None:
    state = State(workload.cluster, policy_named(name))
    for job in workload.jobs:
        happen(state, Submitted(job=job), at_s(5_000))
    choose(state)
    lost = list(state.ledger.machines[0].jobs)
    happen(state, NodeLeft(name=state.ledger.machines[0].spec.name), at_s(5_001))
    stopped = {action.job_id for action in choose(state)}
    assert set(lost) <= stopped

    for job_id in lost:
        happen(state, Stopped(job_id=job_id, attempt=state.entries[job_id].attempt), at_s(5_002))
    choose(state)
    happen(state, Tick(), at_s(5_003))
    assert not state.ledger.machines[0].jobs
    assert set(state.entries) == {job.id for job in workload.jobs}


def picture(state: State) -> object:
    """All that matters of a state."""
    return (
        {name: (e.phase, e.attempt, e.placed, e.attained_us, e.preemptions) for name, e in state.entries.items()},
        [(machine.devices, machine.cpus_free, machine.memory_free) for machine in state.ledger.machines],
        {name: (kept.spread, kept.start_us) for name, kept in state.reservations.items()},
        list(bits(state.kept)),
    )


def _decisions(journal: list[Step]) -> list[list[Step]]:
    """Steps that were decided on together: a decision closes at its last event."""
    groups: list[list[Step]] = [[]]
    for at, step in enumerate(journal):
        groups[-1].append(step)
        following = journal[at + 1] if at + 1 < len(journal) else None
        if following is not None and step.is_decided:
            groups.append([])
    return groups


@many
@given(workload=workloads(with_queues=False), name=st.sampled_from(["fifo-skip", "sjf-skip", "drf", "srtf"]))
def test_nothing_waits_that_has_room(workload: Workload, name: str) -> None:
    def look(state: State, actions: list[Action]) -> None:
        for line in state.lines:
            assert place(state.ledger, line.need, line.need.types, state.kept, state.fit) is None

    Simulation(workload, policy_named(name), observe=look).run()
