"""Use and waiting over time are exact means by span, and bounded however long the run."""

import pytest

from sill.scheduler.policies import policy_named
from sill.scheduler.simulation.simulate import Simulation
from sill.scheduler.simulation.timeline import SPANS_MAX, Span, Timeline
from sill.scheduler.simulation.types import Workload
from sill.scheduler.types import Cluster, Job, Node


def spans(*jobs: tuple[Job, float]) -> list[Span]:
    workload = Workload(
        name="test",
        cluster=Cluster(nodes=(Node(name="n", accelerators={"gpu": 4}),)),
        jobs=tuple(job for job, _ in jobs),
        runtimes_s=tuple(runtime_s for _, runtime_s in jobs),
    )
    timeline = Timeline()
    Simulation(workload, policy_named("fifo"), observe=timeline).run()
    return timeline.spans()


def test_each_span_tells_what_was_used_and_how_many_waited() -> None:
    found = spans((Job(id="a", accelerators=4), 1.5), (Job(id="b", accelerators=2), 1.5))

    assert [tuple(each) for each in found] == [(0.0, 1.0, 1.0), (1.0, 0.75, 0.5), (2.0, 0.5, 0.0)]


def test_a_long_run_has_no_more_spans_and_the_same_sum() -> None:
    found = spans((Job(id="a", accelerators=1), 1e6), (Job(id="b", accelerators=4), 1e6))
    width_s = found[1].start_s

    assert SPANS_MAX / 2 <= len(found) <= SPANS_MAX
    lengths = [min(width_s, 2e6 - each.start_s) for each in found]
    used_s = sum(each.used * length for each, length in zip(found, lengths, strict=True))
    assert used_s == pytest.approx(1e6 * (0.25 + 1.0))


def test_nothing_that_happens_has_no_spans() -> None:
    assert spans() == []
