"""The promises of `decide`, on generated clusters, queues and jobs, under every policy."""

import copy
from itertools import combinations_with_replacement
from math import inf

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sill.core.errors import Conflict
from sill.scheduler.decide import choose
from sill.scheduler.entries import Phase
from sill.scheduler.explain import explain
from sill.scheduler.folding import happen
from sill.scheduler.ledger import bits
from sill.scheduler.placement import place
from sill.scheduler.policies import GRACE_S, POLICIES, policy_named
from sill.scheduler.queues import QueueNode
from sill.scheduler.replaying import replay
from sill.scheduler.reservations import ends_us
from sill.scheduler.simulation.simulate import Simulation
from sill.scheduler.simulation.types import Workload
from sill.scheduler.state import State
from sill.scheduler.types import (
    Action,
    Ended,
    Job,
    Node,
    NodeLeft,
    Preempt,
    Queue,
    Start,
    Step,
    Stopped,
    Submitted,
    Tick,
)
from sill.testing.scheduling import at_s, check_nothing_is_given_twice, cluster, many, workloads

policies = st.sampled_from(sorted(POLICIES))


def check_limits(state: State, actions: list[Action]) -> None:
    used: dict[int, list[int]] = {}
    for entry in state.running.values():
        for node in state.tree.path(entry.leaf):
            of = used.setdefault(node.number, [0] * len(node.used))
            for resource, amount in enumerate(entry.amounts):
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

    again = replay(workload.cluster, policy_named(name), workload.queues, journal)

    assert picture(again) == picture(simulation.state)
    assert again.timers == simulation.state.timers
    if any(step.actions for step in journal):
        with pytest.raises(Conflict):
            replay(workload.cluster, policy_named(name), workload.queues, [_without_actions(step) for step in journal])


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


def _without_actions(step: Step) -> Step:
    return msgspec.structs.replace(step, actions=())


@many
@given(workload=workloads(with_queues=False), name=st.sampled_from(["fifo-skip", "sjf-skip", "drf", "srtf"]))
def test_nothing_waits_that_has_room(workload: Workload, name: str) -> None:
    def look(state: State, actions: list[Action]) -> None:
        for line in state.lines:
            assert place(state.ledger, line.need, line.need.types, state.kept, state.fit) is None

    Simulation(workload, policy_named(name), observe=look).run()


@many
@given(workload=workloads(with_queues=False), name=st.sampled_from(["fifo", "drf"]), more=st.integers(1, 3))
def test_with_more_nodes_never_fewer_single_jobs_start(workload: Workload, name: str, more: int) -> None:
    def started(nodes: tuple[Node, ...]) -> int:
        state = State(msgspec.structs.replace(workload.cluster, nodes=nodes), policy_named(name))
        for job in workload.jobs:
            if job.workers == 1:
                happen(state, Submitted(job=job), at_s(5_000))
        return len([action for action in choose(state) if isinstance(action, Start)])

    had = workload.cluster.nodes
    added = tuple(msgspec.structs.replace(had[0], name=f"more{at}") for at in range(more))
    assert started((*had, *added)) >= started(had)


@many
@given(workload=workloads(with_queues=False))
def test_in_a_strict_line_nothing_starts_while_something_of_higher_priority_waits(workload: Workload) -> None:
    order: list[str] = []

    def look(state: State, actions: list[Action]) -> None:
        for action in actions:
            if isinstance(action, Start):
                job = state.entries[action.job_id].job
                rivals = [each.job for each in state.entries.values() if each.phase is Phase.WAITING]
                order.extend(each.id for each in rivals if each.priority > job.priority)

    Simulation(workload, policy_named("fifo"), observe=look).run()
    assert order == []


@many
@given(workload=workloads(with_queues=False), name=st.sampled_from(["drain", "conservative"]))
def test_a_gang_with_kept_nodes_is_overtaken_on_them_only_by_what_should_end_in_time(
    workload: Workload, name: str
) -> None:
    def look(state: State, actions: list[Action]) -> None:
        for action in actions:
            if not isinstance(action, Start):
                continue
            entry = state.entries[action.job_id]
            for kept in state.reservations.values():
                if kept.made_us < state.now_us and kept.victims:
                    on_it = {state.ledger.by_name[slot.node] for slot in entry.placed} & set(bits(kept.mask))
                    assert not on_it or ends_us(state, entry) <= kept.start_us or on_it & set(kept.slack)

    Simulation(workload, policy_named(name), observe=look).run()


@many
@given(shapes=st.lists(st.tuples(st.sampled_from([1, 2, 3, 4]), st.integers(1, 4)), min_size=1, max_size=8))
def test_a_gang_starts_exactly_if_trying_everything_finds_it_a_place(shapes: list[tuple[int, int]]) -> None:
    state = State(cluster(4, 4), policy_named("fifo-skip"))
    for number, (gpus, workers) in enumerate(shapes):
        free = [machine.whole["gpu"] for machine in state.ledger.machines]
        has_room = any(
            all(free[node] >= gpus * chosen.count(node) for node in chosen)
            for chosen in combinations_with_replacement(range(len(free)), workers)
        )
        happen(state, Submitted(job=Job(id=f"j{number}", accelerators=gpus, workers=workers)), number)
        assert bool(choose(state)) == has_room


@many
@given(running=st.integers(1, 16), asked=st.integers(1, 16), guarantee=st.integers(1, 16), parts=st.booleans())
def test_a_guarantee_is_reached_within_the_grace_and_not_passed_by_force(
    running: int, asked: int, guarantee: int, parts: bool
) -> None:
    half = 0.5 if parts else 1.0
    queues = (Queue(name="a", guarantee={"accelerators": guarantee * half}), Queue(name="b"))
    state = State(cluster(4, 4), policy_named("sill"), queues)
    for number in range(running * (2 if parts else 1)):
        happen(state, Submitted(job=Job(id=f"b{number}", queue="b", accelerators=half)), 0)
    choose(state)
    for number in range(asked):
        happen(state, Submitted(job=Job(id=f"a{number}", queue="a", accelerators=half)), 1)
    choose(state)
    stopped = 0
    for at in range(3):
        happen(state, Tick(), at_s((at + 1) * GRACE_S + 1))
        for action in choose(state):
            if isinstance(action, Preempt):
                stopped += 1
                happen(state, Stopped(job_id=action.job_id, attempt=action.attempt), state.now_us)
        choose(state)

    of_a = sum(entry.job.queue == "a" for entry in state.running.values())
    assert of_a >= min(asked, guarantee)
    assert stopped <= guarantee


@many
@given(guarantee=st.integers(0, 16), lent=st.integers(0, 16), asked=st.integers(0, 20), mine=st.integers(0, 20))
def test_what_a_queue_does_not_lend_others_never_hold(guarantee: int, lent: int, asked: int, mine: int) -> None:
    queues = (
        Queue(name="a", guarantee={"accelerators": guarantee}, lend={"accelerators": lent}),
        Queue(name="b"),
    )
    state = State(cluster(4, 4), policy_named("drf"), queues)
    for number in range(asked):
        happen(state, Submitted(job=Job(id=f"b{number}", queue="b", accelerators=1)), 0)
    choose(state)
    own = max(guarantee - lent, 0)
    assert len(state.running) == min(asked, 16 - own)

    for number in range(mine):
        happen(state, Submitted(job=Job(id=f"a{number}", queue="a", accelerators=1)), 1)
    choose(state)
    assert sum(entry.job.queue == "a" for entry in state.running.values()) >= min(mine, own)
