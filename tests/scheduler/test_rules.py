"""The scheduler's promises, by example and by property."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sill.core.errors import Refused
from sill.scheduler.rules import PATIENCE_S, STARVED_S, check_possible, decide
from sill.scheduler.types import Capacity, Plan, RunningRun, Snapshot, WaitingRun

GIB = 1024**3
MACHINE = Capacity(cpus=4, memory_bytes=8 * GIB)


def waiting(name: str, cpus: float = 1, *, at_s: float = 0, priority: int = 0, **more: object) -> WaitingRun:
    fields = {"project": "p", "memory_bytes": GIB, "not_before_us": 0, **more}
    return WaitingRun(id=name, cpus=cpus, submitted_us=int(at_s * 1e6), priority=priority, **fields)  # type: ignore[arg-type]


def running(name: str, cpus: float, project: str = "p") -> RunningRun:
    return RunningRun(id=name, project=project, cpus=cpus, memory_bytes=GIB)


def plan(*runs: WaitingRun | RunningRun, now_s: float = 1, quotas: dict[str, Capacity] | None = None) -> Plan:
    held = tuple(run for run in runs if isinstance(run, RunningRun))
    wait = tuple(run for run in runs if isinstance(run, WaitingRun))
    return decide(Snapshot(capacity=MACHINE, waiting=wait, running=held, quotas=quotas or {}), int(now_s * 1e6))


def test_higher_priority_goes_first_then_the_earlier() -> None:
    assert plan(waiting("a", at_s=1), waiting("b", at_s=0), waiting("c", priority=5)).start == ("c", "b", "a")


def test_a_run_that_does_not_fit_says_what_is_free_and_who_is_before_it() -> None:
    reasons = plan(running("r", 2.5), waiting("a", 3), waiting("b", 4, at_s=0.5)).reasons

    assert reasons["a"] == "needs 3 cpus, 1.5 of 4 are free"
    assert reasons["b"] == "needs 4 cpus, 1.5 of 4 are free; 1 run before it"


def test_a_gang_waits_until_all_of_it_fits() -> None:
    assert plan(running("r", 2), waiting("gang", 3)).start == ()


def test_memory_is_a_resource_too() -> None:
    assert "needs 8 GiB of memory, 7 of 8" in plan(running("r", 1), waiting("a", memory_bytes=8 * GIB)).reasons["a"]


def test_a_small_run_may_overtake_at_first_and_not_for_ever() -> None:
    runs = (running("r", 2), waiting("big", 4), waiting("small", 1, at_s=1))

    assert plan(*runs, now_s=PATIENCE_S - 1).start == ("small",)
    patient = plan(*runs, now_s=PATIENCE_S + 1)
    assert patient.start == ()
    assert patient.reasons["small"].startswith("would fit, but what is free is kept for big")


def test_a_starved_run_comes_before_higher_priority() -> None:
    assert plan(waiting("old", 4), waiting("vip", 4, at_s=STARVED_S, priority=100), now_s=STARVED_S + 1).start == (
        "old",
    )


def test_a_quota_holds_back_its_own_project_only() -> None:
    quotas = {"p": Capacity(cpus=1, memory_bytes=8 * GIB)}
    made = plan(running("r", 1), waiting("a"), waiting("b", project="q"), quotas=quotas)

    assert made.start == ("b",)
    assert made.reasons["a"] == "needs 1 cpus, 0 of project 'p''s quota of 1 are free"


def test_a_run_put_off_says_until_when() -> None:
    assert "waits until 1970-01-01T00:00:09" in plan(waiting("a", not_before_us=9_000_000)).reasons["a"]


def test_what_could_never_start_is_refused_with_the_capacity() -> None:
    with pytest.raises(Refused, match="needs 64 cpus, there are 4 in all"):
        check_possible(Capacity(cpus=64, memory_bytes=0), MACHINE)


amounts = {"cpus": st.floats(0.01, 5), "memory_bytes": st.integers(0, 9 * GIB), "accelerators": st.just(0.0)}
projects = st.sampled_from(["p", "q"])
some_waiting = st.builds(
    WaitingRun,
    id=st.uuids().map(str),
    project=projects,
    priority=st.integers(-3, 3),
    submitted_us=st.integers(0, 10**10),
    not_before_us=st.integers(0, 10**10),
    **amounts,
)
some_running = st.builds(RunningRun, id=st.uuids().map(str), project=projects, **amounts)
snapshots = st.builds(
    Snapshot,
    capacity=st.just(MACHINE),
    waiting=st.lists(some_waiting, max_size=12).map(tuple),
    running=st.lists(some_running, max_size=3).map(tuple),
    quotas=st.dictionaries(projects, st.builds(Capacity, **amounts)),
)


@settings(max_examples=200, deadline=None)
@given(snapshots, st.integers(0, 2 * 10**10))
def test_capacity_and_quota_are_never_exceeded_and_no_run_waits_without_reason(snapshot: Snapshot, now_us: int) -> None:
    made = decide(snapshot, now_us)
    started = [run for run in snapshot.waiting if run.id in made.start]
    bounds = [(MACHINE, list(snapshot.running), started)]
    for project, quota in snapshot.quotas.items():
        mine = [run for run in snapshot.running if run.project == project]
        bounds.append((quota, mine, [run for run in started if run.project == project]))

    for bound, held, new in bounds:
        if new:
            assert sum(run.cpus for run in [*held, *new]) <= bound.cpus + 1e-6
            assert not any(run.memory_bytes for run in new) or (
                sum(run.memory_bytes for run in [*held, *new]) <= bound.memory_bytes
            )
    assert {run.id for run in snapshot.waiting} == {*made.start, *made.reasons}
    assert all(made.reasons.values())
    shuffled = msgspec.structs.replace(snapshot, waiting=tuple(reversed(snapshot.waiting)))
    assert decide(shuffled, now_us) == made
