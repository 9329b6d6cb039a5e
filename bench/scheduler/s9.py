"""S9: what it costs when workers are apart: the same jobs with and without the scheduler knowing how much slower they run.

Slowdowns are measured ones (Gavel on V100, Pollux on T4), the network is twelve racks of Lingjun's; ITP's jobs ask for 85 %
of the devices. Without the model a gang starts wherever it fits, packed as tightly as it can be then. One gang in ten must
stay in one rack.
"""

from collections.abc import Iterator
from pathlib import Path

from bench.scheduler.tables import goal, rows
from sill.scheduler.policies import policy_named
from sill.scheduler.simulation.report import report
from sill.scheduler.simulation.simulate import Simulation
from sill.scheduler.simulation.topology import lingjun, spread_jobs
from sill.scheduler.simulation.types import Outcome, Report
from sill.scheduler.state import State
from sill.scheduler.types import Action, Start

LOAD = 0.85
RACKS = 4
"""Of each of three pods."""
OURS = "sill"
POLICIES = ("fifo-skip", OURS)
RATIO = 0.5


def measure(folder: Path) -> Iterator[str]:
    """Both policies, without and with the model."""
    cluster = lingjun(folder, RACKS)
    lines, violated = [], 0
    found: dict[tuple[str, bool], Report] = {}
    for policy in POLICIES:
        for knows in (False, True):
            workload = spread_jobs(folder, cluster, load=LOAD, knows=knows)
            watch = Watch({job.id: job.level for job in workload.jobs})
            outcome: Outcome = Simulation(workload, policy_named(policy), observe=watch).run()
            made = found[policy, knows] = report(outcome)
            violated += watch.violated
            seconds = (made.jct_mean_s, made.jct_p99_s, made.wait_mean_s, made.wait_p99_s)
            name = f"{policy}{', with slowdowns' if knows else ''}"
            lines.append(
                (
                    name,
                    *(f"{value:,.0f}" for value in seconds),
                    f"{made.slowed_device_h:,.0f}",
                    f"{made.utilisation:.3f}",
                )
            )
    yield from rows(("policy", "avg jct", "p99 jct", "avg wait", "p99 wait", "GPU-h lost to spread", "util"), lines)
    before, after = found[OURS, False], found[OURS, True]
    lost = after.slowed_device_h / before.slowed_device_h if before.slowed_device_h else 0.0
    yield goal(f"{OURS}: GPU-hours lost to spread / without the model", lost, RATIO, published="without the model 1")
    yield goal(f"{OURS}: average jct / without the model", after.jct_mean_s / before.jct_mean_s, 1.0)
    yield goal("gangs placed outside the level they ask for", violated, 0)


class Watch:
    """Counts starts that break a required level."""

    def __init__(self, levels: dict[str, str]) -> None:
        self._levels = levels
        self.violated = 0

    def __call__(self, state: State, actions: list[Action]) -> None:
        ledger = state.ledger
        for action in actions:
            if isinstance(action, Start) and self._levels[action.job_id]:
                at = ledger.levels.index(self._levels[action.job_id])
                domains = {ledger.machines[ledger.by_name[slot.node]].domains[at] for slot in action.slots}
                self.violated += len(domains) > 1
