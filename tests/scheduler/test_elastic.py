"""Elastic gangs: a promised deadline is kept, room is shared by what it is worth, and fixed work comes first."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sill.scheduler.decide import decide
from sill.scheduler.elastic import Wish, plan, sizes_of
from sill.scheduler.policies import policy_named
from sill.scheduler.replaying import replay
from sill.scheduler.simulation.simulate import Simulation
from sill.scheduler.simulation.traces import gpu_cluster
from sill.scheduler.simulation.types import Outcome, Workload
from sill.scheduler.state import State
from sill.scheduler.types import Job, Preempt, Resize, Start, Stopped, Submitted

ELASTIC = policy_named("elastic")


def elastic(name: str, *, deadline_s: float = 0.0, submitted_s: float = 0.0, **other: object) -> Job:
    return Job(
        id=name,
        accelerators=1,
        min_workers=1,
        max_workers=8,
        deadline_us=round(deadline_s * 1e6),
        submitted_us=round(submitted_s * 1e6),
        **other,  # type: ignore[arg-type]
    )


def run(nodes: int, *jobs: tuple[Job, float]) -> tuple[Simulation, Outcome]:
    known = tuple(job if job.estimate_s else Job(**{**_fields(job), "estimate_s": runtime}) for job, runtime in jobs)
    workload = Workload(
        name="test", cluster=gpu_cluster(nodes), jobs=known, runtimes_s=tuple(runtime for _, runtime in jobs)
    )
    simulation = Simulation(workload, ELASTIC, keep_journal=True)
    return simulation, simulation.run()


def _fields(job: Job) -> dict[str, object]:
    return {name: getattr(job, name) for name in job.__struct_fields__}


def wish(name: str, *, held: int = 0, until_s: float | None = None, is_promised: bool = False) -> Wish:
    job = elastic(name)
    return Wish(job, sizes_of(job), ("gpu",), held=held, left_s=100.0, until_s=until_s, is_promised=is_promised)


def test_a_size_that_is_no_faster_than_a_smaller_one_is_not_worth_having() -> None:
    job = Job(id="a", min_workers=1, max_workers=8, scaling={1: 2.0, 2: 3.0, 4: 2.5, 8: 4.0})

    assert sizes_of(job) == ((1, 1.0), (2, 1.5), (8, 2.0))


def test_a_deadline_is_promised_with_the_fewest_workers_that_make_it() -> None:
    made = plan([wish("a", until_s=30.0), wish("b", until_s=30.0)], {"gpu": 9_000})

    assert made.workers == {"a": 4, "b": 4}
    assert made.promised == {"a", "b"}


def test_a_deadline_that_does_not_fit_beside_those_promised_is_not_promised() -> None:
    made = plan([wish("a", held=4, until_s=25.0, is_promised=True), wish("b", until_s=30.0)], {"gpu": 7_000})

    assert made.promised == {"a"}
    assert "b" not in made.workers


def test_an_idle_machine_makes_a_lone_gang_as_fast_as_it_can_be() -> None:
    _, outcome = run(1, (elastic("a"), 800.0))

    assert outcome.records[0].jct_s == pytest.approx(100.0, abs=1)


def test_a_gang_shrinks_for_work_of_fixed_size_before_anything_is_stopped() -> None:
    fixed = Job(id="fixed", accelerators=4, submitted_us=10_000_000, estimate_s=50.0)
    simulation, outcome = run(1, (elastic("a"), 800.0), (fixed, 50.0))
    record = {each.id: each for each in outcome.records}

    assert record["fixed"].wait_s == 0
    assert sum(each.preemptions for each in outcome.records) == 0
    assert any(isinstance(action, Resize) for step in simulation.journal for action in step.actions)


def test_work_without_a_deadline_gives_way_to_a_promise() -> None:
    late = elastic("late", deadline_s=120.0, submitted_s=10.0)
    _, outcome = run(1, (elastic("a"), 8_000.0), (late, 800.0))
    record = {each.id: each for each in outcome.records}

    assert record["late"].ended_s <= 120.0
    assert outcome.left == 0


def test_what_a_promise_waits_for_is_not_given_to_others_meanwhile() -> None:
    others = [(elastic(f"j{at}"), 1_000.0) for at in range(8)]
    late = elastic("late", deadline_s=120.0, submitted_s=10.0)
    simulation, outcome = run(1, *others, (late, 800.0))
    at_once = [step for step in simulation.journal if step.now_us == 10_000_000]

    assert {each.id: each.ended_s for each in outcome.records}["late"] <= 120.0
    assert outcome.left == 0
    assert len(at_once) <= 10


def test_resizes_are_in_the_journal_and_replay_to_the_same_devices() -> None:
    jobs = [(elastic(f"j{at}", submitted_s=at * 5.0, restart_s=2.0), 100.0 + at) for at in range(6)]
    simulation, _ = run(1, *jobs)
    half = (
        next(at for at, step in enumerate(simulation.journal) if any(isinstance(a, Resize) for a in step.actions)) + 1
    )
    ours = replay(gpu_cluster(1), ELASTIC, (), simulation.journal[:half])

    assert ours.running
    held = sum(slot.workers for entry in ours.running.values() for slot in entry.placed)
    assert held == 8 - ours.ledger.machines[0].devices["gpu"].count(1_000)


@settings(max_examples=25, deadline=None)
@given(
    jobs=st.lists(st.tuples(st.integers(0, 200), st.integers(20, 500), st.floats(0.4, 3.0)), min_size=1, max_size=12)
)
def test_a_promised_deadline_is_always_kept(jobs: list[tuple[int, int, float]]) -> None:
    made = [
        (elastic(f"j{at}", submitted_s=came, deadline_s=came + runs * slack, restart_s=3.0), float(runs))
        for at, (came, runs, slack) in enumerate(jobs)
    ]
    promised: set[str] = set()
    workload = Workload(
        name="test",
        cluster=gpu_cluster(1),
        jobs=tuple(Job(**{**_fields(job), "estimate_s": runs}) for job, runs in made),
        runtimes_s=tuple(runs for _, runs in made),
    )
    outcome = Simulation(
        workload,
        ELASTIC,
        observe=lambda state, actions: promised.update(e.job.id for e in state.elastic.values() if e.is_promised),
    ).run()
    ended_s = {each.id: each.ended_s for each in outcome.records}

    assert outcome.left == 0
    assert all(ended_s[job.id] <= job.deadline_us / 1e6 + 1e-3 for job, _ in made if job.id in promised)


def test_where_processes_cannot_change_their_number_a_gang_keeps_its_place_until_it_is_gone() -> None:
    state = State(gpu_cluster(1), msgspec.structs.replace(ELASTIC, resizes_by_restart=True))
    fixed = Job(id="fixed", accelerators=1, workers=4)

    (alone,) = decide(state, Submitted(job=elastic("wide")), 0)
    (stopped,) = decide(state, Submitted(job=fixed), 1_000_000)
    both = decide(state, Stopped(job_id="wide", attempt=1), 2_000_000)

    assert isinstance(alone, Start)
    assert alone.slots[0].workers == 8
    assert stopped == Preempt("wide", 1, "", "goes on with 4 workers instead of 8")
    assert {action.job_id: action.slots[0].workers for action in both if isinstance(action, Start)} == {
        "wide": 4,
        "fixed": 4,
    }
