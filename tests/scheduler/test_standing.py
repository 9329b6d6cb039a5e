"""How the cluster stands: what there is, what is used, what nobody can have now."""

import pytest

from sill.scheduler.rules import Scheduler
from sill.scheduler.types import Cluster, Job, Node, NodeLeft, Queue, ResourceStanding, Submitted


def scheduler(*nodes: Node, queues: tuple[Queue, ...] = ()) -> Scheduler:
    return Scheduler(Cluster(nodes=nodes), "fifo-skip", queues)


def by_name(of: Scheduler) -> dict[str, ResourceStanding]:
    return {each.name: each for each in of.standing().resources}


def test_what_no_machine_has_is_not_told() -> None:
    of = scheduler(Node(name="n0", cpus=4))
    assert list(by_name(of)) == ["cpus"]


@pytest.mark.parametrize(("type_", "name"), [("h100", "accelerators/h100"), ("accelerators", "accelerators")])
def test_devices_are_told_by_type_if_it_says_anything(type_: str, name: str) -> None:
    of = scheduler(Node(name="n0", accelerators={type_: 8}), queues=(Queue(name="q"),))
    of.take(Submitted(job=Job(id="a", queue="q", accelerators=2)), 0)
    of.decide(0)

    assert by_name(of)[name].used == 2
    assert of.standing().queues[0].held == {"accelerators": 2.0, name: 2.0}


def test_what_a_closed_machine_has_left_is_told_as_closed() -> None:
    of = scheduler(Node(name="n0", cpus=4), Node(name="n1", cpus=4))
    of.take(Submitted(job=Job(id="a", cpus=3)), 0)
    of.decide(0)
    of.take(NodeLeft(name="n0", is_lost=False), 1)

    cpus = by_name(of)["cpus"]
    assert (cpus.total, cpus.used, cpus.free, cpus.closed, cpus.largest) == (8, 3, 4, 1, 4)
    of.take(NodeLeft(name="n1", is_lost=False), 2)
    cpus = by_name(of)["cpus"]
    assert (cpus.total, cpus.used, cpus.free, cpus.closed, cpus.fragmentation) == (8, 3, 0, 5, 0)


def test_what_is_free_beside_others_work_is_fragmented() -> None:
    of = scheduler(*(Node(name=f"n{at}", accelerators={"h100": 8}) for at in range(2)))
    of.take(Submitted(job=Job(id="a", accelerators=5)), 0)
    of.decide(0)

    assert by_name(of)["accelerators/h100"].fragmentation == pytest.approx(3 / 11)
