"""Running jobs are moved so that a gang that fits in all fits in one place."""

import msgspec
from hypothesis import event, given
from hypothesis import strategies as st

from sill.scheduler.decide import choose, decide
from sill.scheduler.folding import happen
from sill.scheduler.policies import policy_named
from sill.scheduler.preemption import loss
from sill.scheduler.state import State
from sill.scheduler.types import Action, Ended, Job, Preempt, Reserve, Start, Stopped, Submitted, Tick
from sill.testing.scheduling import at_s, check_nothing_is_given_twice, cluster, job, many

PATIENT_S = 3_601
PATIENT = msgspec.structs.replace(policy_named("sill"), patience_ratio=0.0)


def scattered(*jobs: Job, gone: tuple[str, ...] = ()) -> State:
    """Jobs on two nodes of four devices, of which some have ended."""
    of = State(cluster(2, 4), PATIENT)
    for each in jobs:
        decide(of, Submitted(job=each), 0)
    for name in gone:
        happen(of, Ended(job_id=name, attempt=1), at_s(1))
    return of


def let_wait(of: State, gang: Job) -> list[Action]:
    """The gang comes, and its patience ends."""
    decide(of, Submitted(job=gang), at_s(2))
    return decide(of, Tick(), at_s(2 + PATIENT_S))


def stop_all(of: State, actions: list[Action]) -> list[Action]:
    for action in actions:
        if isinstance(action, Preempt):
            happen(of, Stopped(job_id=action.job_id, attempt=action.attempt), of.now_us)
    return choose(of)


def test_a_gang_that_fits_in_all_gets_its_node_and_what_was_there_goes_on_elsewhere() -> None:
    of = scattered(*(job(name, 2) for name in "abcd"), gone=("a", "c"))
    actions = let_wait(of, job("gang", 4))

    assert [action.job_id for action in actions if isinstance(action, Preempt)] == ["b"]
    assert {action.job_id for action in actions if isinstance(action, Reserve)} == {"gang", "b"}
    started = {action.job_id: action.slots[0].node for action in stop_all(of, actions) if isinstance(action, Start)}
    assert started == {"gang": "n0", "b": "n1"}


def test_what_cannot_go_on_where_it_was_is_not_moved() -> None:
    fixed = scattered(*(job(name, 2, can_checkpoint=False) for name in "abcd"), gone=("a", "c"))

    assert not any(isinstance(action, Preempt) for action in let_wait(fixed, job("gang", 4)))


def test_nothing_is_moved_that_loses_more_than_the_wait_is_worth() -> None:
    dear = scattered(*(job(name, 2, restart_s=10_000.0) for name in "abcd"), gone=("a", "c"))

    assert not any(isinstance(action, Preempt) for action in let_wait(dear, job("gang", 4)))


@many
@given(
    sizes=st.lists(st.sampled_from([0.5, 1.0, 2.0]), min_size=8, max_size=14),
    stays=st.lists(st.sampled_from([True, False, False]), min_size=24, max_size=24),
    gang=st.tuples(st.sampled_from([3.0, 4.0]), st.integers(1, 2)),
    restart_s=st.sampled_from([0.0, 100.0, 3_000.0]),
)
def test_whoever_is_moved_runs_on_and_the_gang_starts(
    sizes: list[float], stays: list[bool], gang: tuple[float, int], restart_s: float
) -> None:
    of = State(cluster(4, 4, racks=2), PATIENT)
    for number, size in enumerate(sizes):
        decide(of, Submitted(job=job(f"j{number}", size, restart_s=restart_s)), 0)
    for name in [name for name in of.running if not stays[int(name[1:])]]:
        happen(of, Ended(job_id=name, attempt=1), at_s(1))
    actions = let_wait(of, job("gang", gang[0], workers=gang[1]))
    moved = [action.job_id for action in actions if isinstance(action, Preempt)]
    lost = sum(loss(of.entries[name], of.now_us) for name in moved)
    running = set(of.running)
    event(f"{len(moved)} moved")

    stop_all(of, actions)

    check_nothing_is_given_twice(of)
    assert set(of.running) == running | {"gang"} if moved else True
    assert lost <= PATIENT.moves * PATIENT.drain_s * gang[0] * gang[1]
