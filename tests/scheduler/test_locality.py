"""A gang waits for a near place for as long as running apart would cost it, and never leaves a level it needs."""

from sill.core.accelerators import AcceleratorType
from sill.scheduler.decide import decide
from sill.scheduler.policies import policy_named
from sill.scheduler.simulation.simulate import simulate
from sill.scheduler.simulation.types import Workload
from sill.scheduler.state import State
from sill.scheduler.types import Action, Cluster, Job, Node, Start, Submitted, Tick

CLUSTER = Cluster(
    nodes=tuple(Node(name=f"n{at}", accelerators={"gpu": 4}, domains=(f"r{at // 2}",)) for at in range(4)),
    types=(AcceleratorType(name="gpu"),),
    levels=("rack",),
)


def gang(name: str, workers: int, *, slower: float = 1.0, level: str = "") -> Job:
    slowdowns = {"node": slower, "rack": slower * 1.5} if slower > 1 else {}
    return Job(id=name, workers=workers, accelerators=1, slowdowns=slowdowns, level=level, estimate_s=100.0)


def starts(actions: list[Action]) -> dict[str, int]:
    return {action.job_id: len(action.slots) for action in actions if isinstance(action, Start)}


def scattered() -> State:
    """Two devices are free on each node."""
    state = State(CLUSTER, policy_named("fifo-skip").__class__(name="test", placement="worst_fit", fair=False))
    for at in range(4):
        decide(state, Submitted(job=Job(id=f"held{at}", accelerators=2)), 0)
    return state


def test_work_that_is_as_fast_apart_takes_what_is_scattered() -> None:
    assert starts(decide(scattered(), Submitted(job=gang("a", 4)), 0)) == {"a": 2}


def test_work_that_suffers_waits_as_long_as_the_slowdown_would_cost_it() -> None:
    state = scattered()

    assert starts(decide(state, Submitted(job=gang("a", 4, slower=2.0)), 0)) == {}
    assert starts(decide(state, Tick(), 99_000_000)) == {}
    assert starts(decide(state, Tick(), 101_000_000)) == {"a": 2}


def test_a_gang_too_large_for_a_node_waits_for_a_rack_only() -> None:
    state = State(CLUSTER, policy_named("fifo-skip"))

    (started,) = [a for a in decide(state, Submitted(job=gang("a", 8, slower=2.0)), 0) if isinstance(a, Start)]
    assert {slot.node for slot in started.slots} in ({"n0", "n1"}, {"n2", "n3"})


def test_a_required_level_is_never_given_up() -> None:
    state = scattered()

    assert starts(decide(state, Submitted(job=gang("a", 5, slower=2.0, level="rack")), 0)) == {}
    assert starts(decide(state, Tick(), 10**12)) == {}


def test_a_gang_that_runs_apart_takes_as_much_longer_and_is_counted() -> None:
    job = Job(id="a", workers=6, accelerators=1)
    workload = Workload(
        name="test", cluster=CLUSTER, jobs=(job,), runtimes_s=(100.0,), slowdowns=({"node": 1.5, "rack": 3.0},)
    )
    (record,) = simulate(workload, policy_named("fifo-skip")).records

    assert (record.jct_s, record.slowed_s, record.wait_s) == (150.0, 50.0, 0.0)
