"""Placements that score all nodes: what is typical keeps its room."""

import copy

import pytest

from sill.core.accelerators import AcceleratorType
from sill.core.errors import NotFound
from sill.scheduler.decide import decide
from sill.scheduler.fits import FITS, fit_named
from sill.scheduler.folding import happen
from sill.scheduler.state import State
from sill.scheduler.types import Action, Cluster, Ended, Job, Node, Observed, Policy, Start, Submitted


def state(placement: str, *nodes: Node) -> State:
    types = tuple(AcceleratorType(name=name) for name in ("a", "b"))
    return State(Cluster(nodes=nodes, types=types), Policy(name="test", placement=placement))


def teach(of: State, *jobs: Job) -> None:
    for job in jobs:
        happen(of, Observed(job=job, runtime_s=1.0), 0)


def placed(of: State, job: Job) -> tuple[str, str, tuple[int, ...]]:
    actions: list[Action] = decide(of, Submitted(job=job), 0)
    (start,) = [action for action in actions if isinstance(action, Start)]
    return start.slots[0].node, start.accelerator, start.slots[0].devices


def node(name: str, cpus: float, **devices: int) -> Node:
    return Node(name=name, cpus=cpus, accelerators=devices)


def test_a_part_goes_where_a_part_is_left_over() -> None:
    of = state("least_fragmentation", node("n0", 64, a=2), node("n1", 64, a=2))
    teach(of, *(Job(id=f"{at}", accelerators=1, cpus=1) for at in range(9)), Job(id="p", accelerators=0.5, cpus=1))
    first = placed(of, Job(id="one", accelerators=0.5, cpus=1))

    assert placed(of, Job(id="two", accelerators=0.5, cpus=1)) == first


def test_work_that_takes_many_cpus_goes_where_devices_keep_theirs() -> None:
    of = state("least_fragmentation", node("n0", 16, a=4), node("n1", 64, a=4))
    teach(of, *(Job(id=f"{at}", accelerators=1, cpus=4) for at in range(9)))

    assert placed(of, Job(id="hungry", accelerators=1, cpus=16))[0] == "n1"
    assert placed(of, Job(id="plain", cpus=16))[0] == "n1"


def test_work_without_devices_goes_to_a_node_without_devices() -> None:
    of = state("least_fragmentation", node("n0", 64, a=1), node("n1", 64))
    teach(of, Job(id="t", accelerators=1, cpus=1))

    assert placed(of, Job(id="plain", cpus=2))[0] == "n1"


def test_types_a_job_cannot_use_are_left_alone() -> None:
    of = state("least_fragmentation", node("n0", 64, a=2), node("n1", 64, b=2))

    assert placed(of, Job(id="picky", accelerators=1, types=("b",)))[:2] == ("n1", "b")


@pytest.mark.parametrize("placement", sorted(FITS))
def test_every_placement_fills_the_cluster_and_gives_nothing_twice(placement: str) -> None:
    of = state(placement, node("n0", 64, a=2), node("n1", 64, b=2), node("n2", 64))
    taken = [placed(of, Job(id=f"{at}", accelerators=0.5, cpus=1)) for at in range(8)]
    assert sorted(taken) == sorted(2 * [("n0", "a", (0,)), ("n0", "a", (1,)), ("n1", "b", (0,)), ("n1", "b", (1,))])

    assert not decide(of, Submitted(job=Job(id="more", accelerators=0.5)), 1)
    (start,) = decide(of, Ended(job_id="3", attempt=1), 2)
    assert isinstance(start, Start)
    assert start.job_id == "more"


@pytest.mark.parametrize("placement", sorted(FITS))
def test_a_fork_decides_as_its_origin_does(placement: str) -> None:
    of = state(placement, *(node(f"n{at}", 64, a=4) for at in range(5)))
    for at in range(6):
        placed(of, Job(id=f"{at}", accelerators=0.3 if at % 2 else 2, cpus=1))
    fork = copy.deepcopy(of)
    more = Job(id="more", accelerators=0.5, cpus=1)

    assert placed(of, more) == placed(fork, more)


def test_an_unknown_placement_is_refused_with_those_there_are() -> None:
    with pytest.raises(NotFound, match="no placement 'magic'"):
        fit_named("magic")
