"""What starts, what waits, what is kept and what is stopped, by example."""

import pytest

from sill.core.accelerators import AcceleratorType
from sill.core.errors import InvalidValue, Refused
from sill.scheduler.decide import decide
from sill.scheduler.explain import explain
from sill.scheduler.policies import GRACE_S, policy_named
from sill.scheduler.rules import Scheduler
from sill.scheduler.state import State
from sill.scheduler.types import (
    Action,
    Cluster,
    Ended,
    Job,
    Node,
    NodeJoined,
    NodeLeft,
    Preempt,
    Queue,
    QueuesSet,
    Reserve,
    Site,
    Start,
    Stopped,
    Submitted,
    Tick,
    Withdrawn,
)
from sill.testing.scheduling import GIB, at_s, cluster, job, state


def submit(of: State, *jobs: Job, at: float = 0) -> list[Action]:
    return [action for each in jobs for action in decide(of, Submitted(job=each), at_s(at))]


def end(of: State, name: str, at: float) -> list[Action]:
    return decide(of, Ended(job_id=name, attempt=of.entries[name].attempt), at_s(at))


def started(actions: list[Action]) -> list[str]:
    return [action.job_id for action in actions if isinstance(action, Start)]


def test_a_job_goes_to_the_node_with_least_left() -> None:
    of = state(cluster(2, 8))
    actions = submit(of, job("a", 5), job("b", 6), job("c", 2))

    assert [action.slots[0].node for action in actions if isinstance(action, Start)] == ["n0", "n1", "n1"]


def test_a_gang_starts_whole_or_not_at_all() -> None:
    of = state(cluster(2, 8))
    assert started(submit(of, job("small"), job("gang", 8, workers=2))) == ["small"]

    assert started(end(of, "small", 5)) == ["gang"]
    assert [(slot.node, len(slot.devices)) for slot in of.entries["gang"].placed] == [("n0", 8), ("n1", 8)]


def test_a_gang_stays_within_the_domain_it_asks_for() -> None:
    of = state(cluster(4, 4, racks=2))
    submit(of, job("a", 4), job("b", 4, workers=2, level="rack"))

    assert {slot.node for slot in of.entries["b"].placed} == {"n2", "n3"}
    assert started(submit(of, job("c", 2, workers=2, level="node"))) == ["c"]
    assert len(of.entries["c"].placed) == 1


def test_parts_of_a_device_share_it_and_never_pass_the_whole() -> None:
    of = state(cluster(1, 2))
    submit(of, job("a", 0.5), job("b", 0.5), job("c", 0.75), job("d", 0.5))

    assert of.entries["a"].placed == of.entries["b"].placed
    assert of.ledger.machines[0].devices["gpu"] == [0, 250]
    assert explain(of, "d").text == "needs 0.5 gpu, 0.25 of 2 are free"


def test_types_capabilities_labels_and_places_are_kept_to() -> None:
    nodes = (
        Node(name="old", site="eu", accelerators={"v100": 8}, labels={"disk": "ssd"}),
        Node(name="new", site="us", accelerators={"h100": 8}),
    )
    types = (AcceleratorType(name="v100"), AcceleratorType(name="h100", capabilities=("fp8",)))
    of = state(Cluster(nodes=nodes, types=types, sites=(Site(name="eu", place="DE"), Site(name="us", place="US"))))
    submit(
        of,
        job("fp8", capabilities=("fp8",)),
        job("prefers", types=("h100", "v100")),
        job("labelled", labels={"disk": "ssd"}),
        job("at-home", places=("DE",)),
        job("nowhere", places=("FR",)),
    )

    where = {name: entry.placed[0].node for name, entry in of.running.items()}
    assert where == {"fp8": "new", "prefers": "new", "labelled": "old", "at-home": "old"}
    assert explain(of, "nowhere").text == "no node that takes work has its labels and place (FR)"


def test_queues_are_served_by_share_and_weight() -> None:
    of = state(cluster(1, 8), "drf", Queue(name="a", weight=3), Queue(name="b"))
    for number in range(8):
        of.admit(job(f"a{number}", queue="a"))
        of.admit(job(f"b{number}", queue="b"))
    for entry in of.entries.values():
        of.enqueue(entry)
    decide(of, Tick(), 0)

    held = [entry.job.queue for entry in of.running.values()]
    assert (held.count("a"), held.count("b")) == (6, 2)


def test_a_ceiling_holds_for_all_queues_below_and_says_so() -> None:
    queues = (
        Queue(name="top", ceiling={"accelerators": 4}),
        Queue(name="a", parent="top"),
        Queue(name="b", parent="top"),
    )
    of = state(cluster(1, 8), "drf", *queues)
    submit(of, job("a1", 3, queue="a"), job("b1", 3, queue="b"), job("free", 2, queue="c"))

    assert set(of.running) == {"a1", "free"}
    assert explain(of, "b1").text == "needs 3 accelerators, queue 'top' holds 3 of its ceiling of 4"
    assert started(end(of, "a1", 1)) == ["b1"]


def test_what_a_queue_does_not_lend_stays_free_for_it() -> None:
    queues = (Queue(name="a", guarantee={"accelerators": 4}, lend={"accelerators": 1}), Queue(name="b"))
    of = state(cluster(1, 8), "drf", *queues)
    submit(of, *(job(f"b{number}", queue="b") for number in range(8)))

    assert len(of.running) == 5
    assert explain(of, "b7").text.startswith("needs 1 accelerators; the rest is kept by queues for themselves")
    assert started(submit(of, job("a1", 3, queue="a"), at=1)) == ["a1"]


def test_borrowing_ends_at_its_limit() -> None:
    queues = (Queue(name="a", guarantee={"accelerators": 2}, borrow={"accelerators": 1}),)
    of = state(cluster(1, 8), "drf", *queues)
    submit(of, job("x", 2, queue="a"), job("y", 1, queue="a"), job("z", 1, queue="a"))

    assert set(of.running) == {"x", "y"}
    assert "holds 3 of 3: its guarantee of 2 and 1 borrowed" in explain(of, "z").text
    decide(of, QueuesSet(queues=()), at_s(1))
    assert "z" in of.running


def test_nodes_are_kept_for_a_gang_that_was_overtaken_for_too_long() -> None:
    of = state(cluster(2, 8), "drain")
    submit(of, job("long", 4, estimate_s=50_000), job("gang", 8, workers=2, estimate_s=60))
    assert started(submit(of, job("overtakes", 4, estimate_s=60), at=10)) == ["overtakes"]

    actions = decide(of, Tick(), at_s(3_601))
    kept = next(action for action in actions if isinstance(action, Reserve))
    assert (kept.job_id, kept.start_us) == ("gang", at_s(3_601) + round(of.policy.drain_s * 1e6))
    assert started(submit(of, job("short", 4, estimate_s=600), at=3_700)) == ["short"]
    assert started(submit(of, job("too-long", 4, estimate_s=36_000), at=3_800)) == []
    assert "kept for gang" in explain(of, "too-long").text


def test_at_the_start_of_a_reservation_those_that_run_too_long_are_stopped_and_come_back_first() -> None:
    of = state(cluster(2, 8), "drain")
    submit(of, job("long", 8, estimate_s=50_000), job("gang", 8, workers=2, estimate_s=60))
    decide(of, Tick(), at_s(3_600))

    actions = decide(of, Tick(), at_s(7_200))
    assert [(action.job_id, action.for_job) for action in actions if isinstance(action, Preempt)] == [("long", "gang")]
    assert started(decide(of, Stopped(job_id="long", attempt=1), at_s(7_210))) == ["gang"]
    submit(of, job("newer", 8, estimate_s=1), at=7_220)
    assert started(end(of, "gang", 7_300)) == ["long", "newer"]


def test_a_better_job_stops_only_as_many_as_it_needs() -> None:
    of = state(cluster(1, 8), "srtf")
    submit(of, job("a", 4, estimate_s=9_000), job("b", 2, estimate_s=8_000), job("c", 2, estimate_s=100))
    actions = submit(of, job("urgent", 2, estimate_s=10), at=1)

    assert [action.job_id for action in actions if isinstance(action, Preempt)] == ["a"]
    assert started(decide(of, Stopped(job_id="a", attempt=1), at_s(2))) == ["urgent"]
    assert of.entries["a"].attained_us == at_s(2)


def test_what_is_not_preemptible_or_has_just_begun_is_left_alone() -> None:
    of = state(cluster(1, 8), "srtf")
    submit(of, job("a", 4, estimate_s=9_000, preemptible=False), job("b", 4, estimate_s=9_000, runtime_min_s=60))

    assert submit(of, job("urgent", 4, estimate_s=10), at=30) == [] or "urgent" not in of.running
    assert [a.job_id for a in decide(of, Tick(), at_s(61)) if isinstance(a, Preempt)] == ["b"]


def test_after_an_hour_of_waiting_a_job_comes_before_all_priorities() -> None:
    of = state(cluster(1, 8), "local")
    submit(of, job("runs", 8), job("old", 8, priority=-5))
    submit(of, job("vip", 8, priority=100), at=3_599)
    decide(of, Tick(), at_s(3_601))

    assert started(end(of, "runs", 3_700)) == ["old"]


def test_a_node_that_leaves_takes_no_new_work_and_one_that_joins_does() -> None:
    of = state(cluster(1, 8))
    decide(of, NodeLeft(name="n0", is_lost=False), 0)
    submit(of, job("a"))
    assert not of.running

    joined = Node(name="n9", accelerators={"gpu": 1}, domains=("r9",))
    assert started(decide(of, NodeJoined(node=joined), at_s(1))) == ["a"]


def test_a_withdrawn_job_is_gone_and_one_that_runs_is_gone_when_it_has_stopped() -> None:
    of = state(cluster(1, 1))
    submit(of, job("runs"), job("waits"))
    decide(of, Withdrawn(job_id="waits"), at_s(1))
    decide(of, Withdrawn(job_id="runs"), at_s(1))
    assert set(of.entries) == {"runs"}

    decide(of, Stopped(job_id="runs", attempt=1), at_s(2))
    assert not of.entries


def test_time_that_runs_backwards_is_taken_as_standing() -> None:
    of = state(cluster(1, 1))
    submit(of, job("a"), at=100)
    submit(of, job("b"), at=50)

    assert of.now_us == at_s(100)
    assert of.entries["b"].waiting_us == at_s(100)


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (job("a", 9), "needs 9 accelerators, there are 8 in all"),
        (Job(id="a", cpus=65), "needs 65 cpus, there are 64 in all"),
        (Job(id="a", memory_bytes=512 * GIB), "needs 512 GiB of memory, there are 256 in all"),
        (job("a", types=("tpu",)), "needs accelerators \\(tpu\\) that no node has"),
    ],
)
def test_what_could_never_start_is_refused_with_what_there_is(asked: Job, says: str) -> None:
    with pytest.raises(Refused, match=says):
        Scheduler(cluster(1, 8)).check_possible(asked)


@pytest.mark.parametrize("amount", [-1.0, float("nan"), float("inf"), 1.5, 0.0001, 65.0])
def test_quantities_that_mean_nothing_are_refused(amount: float) -> None:
    with pytest.raises(InvalidValue):
        Scheduler(cluster(1, 8)).check_possible(job("a", amount))


@pytest.mark.parametrize(
    "queues",
    [
        (Queue(name="a", parent="b"), Queue(name="b", parent="a")),
        (Queue(name="a", parent="missing"),),
        (Queue(name="a", guarantee={"accelerators": -1}),),
        (Queue(name="a", ceiling={"accelerators": float("nan")}),),
        (Queue(name="a", ceiling={"bananas": 1}),),
        (Queue(name="a", weight=0),),
    ],
)
def test_a_tree_of_queues_that_is_none_is_refused(queues: tuple[Queue, ...]) -> None:
    with pytest.raises(InvalidValue):
        state(cluster(1, 8), "drf", *queues)


def test_a_guarantee_is_taken_back_from_those_who_borrow_after_a_grace() -> None:
    queues = (Queue(name="a", guarantee={"accelerators": 4}), Queue(name="b", guarantee={"accelerators": 4}))
    of = state(cluster(1, 8), "sill", *queues)
    submit(of, *(job(f"b{number}", queue="b") for number in range(8)))
    assert submit(of, job("a1", 4, queue="a"), at=10) == []

    actions = decide(of, Tick(), at_s(10 + GRACE_S))
    victims = [action.job_id for action in actions if isinstance(action, Preempt)]
    assert len(victims) == 4
    for name in victims:
        decide(of, Stopped(job_id=name, attempt=1), at_s(400))
    assert "a1" in of.running
    assert sum(entry.job.queue == "b" for entry in of.running.values()) == 4


def test_nobody_takes_back_more_than_a_guarantee_or_from_those_within_theirs() -> None:
    queues = (Queue(name="a", guarantee={"accelerators": 2}), Queue(name="b", guarantee={"accelerators": 8}))
    of = state(cluster(1, 8), "sill", *queues)
    submit(of, *(job(f"b{number}", queue="b") for number in range(8)))
    submit(of, job("a1", 2, queue="a"), job("a2", 4, queue="a"), at=10)

    assert not [action for action in decide(of, Tick(), at_s(1_000)) if isinstance(action, Preempt)]


def test_a_node_with_a_type_nobody_declared_takes_work_that_waits_for_any() -> None:
    of = state(cluster(1, 1), "sill", Queue(name="q", ceiling={"accelerators": 2}))
    submit(of, job("runs", queue="q"), job("any", queue="q"), job("picky", queue="q", types=("gpu",)))
    actions = decide(of, NodeJoined(node=Node(name="n9", accelerators={"npu": 2}, domains=("r9",))), at_s(1))

    assert started(actions) == ["any"]
    assert of.resources.names[-1] == "accelerators/npu"
    assert explain(of, "picky").text


def test_a_node_that_comes_back_without_a_type_leaves_its_rack_with_the_devices_of_the_others() -> None:
    nodes = tuple(Node(name=f"n{at}", accelerators={"gpu": 8}, domains=("r",)) for at in range(3))
    of = State(Cluster(nodes=nodes, levels=("rack",)), policy_named("fifo-skip"))
    for at in range(3):
        decide(of, Submitted(job=job(f"j{at}", 8)), 0)
    decide(of, Ended(job_id="j0", attempt=1), 1)
    decide(of, NodeJoined(node=Node(name="n0", domains=("r",))), 2)
    for at in (1, 2):
        decide(of, Ended(job_id=f"j{at}", attempt=1), 3)

    (start,) = decide(of, Submitted(job=job("gang", 8, workers=2, level="rack")), 4)
    assert isinstance(start, Start)
    assert [slot.node for slot in start.slots] == ["n1", "n2"]


def test_a_queue_left_out_while_its_job_was_put_aside_is_counted_when_the_job_starts() -> None:
    of = state(cluster(1, 8), "drf", Queue(name="q", parent="above"), Queue(name="above"))
    submit(of, job("later", 8, queue="q", not_before_us=at_s(60)))
    decide(of, QueuesSet(queues=(Queue(name="above", ceiling={"accelerators": 1}),)), at_s(1))

    assert started(decide(of, Tick(), at_s(60))) == ["later"]
    held = of.resources.index("accelerators")
    assert of.tree.root.used[held] == 8_000
    end(of, "later", 70)
    assert of.tree.root.used[held] == 0
