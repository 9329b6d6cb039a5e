"""The heap of what happens next comes to an end, and not before all jobs have."""

import pytest

from sill.scheduler.policies import policy_named
from sill.scheduler.simulation import simulate as simulation
from sill.scheduler.simulation.types import Workload
from sill.scheduler.types import Cluster, Job, Node

LONG_S = 1_000.0


def test_ends_of_attempts_that_were_stopped_are_not_taken_for_standing_still(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulation, "STUCK_WAKES_MAX", 5)
    long = Job(id="long", accelerators=1, estimate_s=LONG_S)
    short = [Job(id=f"s{at}", accelerators=1, estimate_s=1.0, submitted_us=at * 10_000_000) for at in range(1, 21)]
    workload = Workload(
        name="test",
        cluster=Cluster(nodes=(Node(name="n", accelerators={"gpu": 1}),)),
        jobs=(long, *short),
        runtimes_s=(LONG_S, *(1.0 for _ in short)),
    )
    outcome = simulation.simulate(workload, policy_named("srtf"))

    assert outcome.left == 0
    assert max(record.preemptions for record in outcome.records) == len(short)
