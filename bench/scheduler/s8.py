"""S8: ElasticFlow's deadlines: which part of all jobs makes its own, on ten of the eleven workloads of its figure 8b.

The eleventh (Philly) is not among the traces. A job may have any number of devices its table lists, and is promised its
deadline or not; the others run on what is left. A start or a change of size costs what their simulator charges.
"""

from collections.abc import Iterator
from pathlib import Path

from bench.scheduler.tables import goal, rows
from sill.scheduler.policies import policy_named
from sill.scheduler.simulation.elasticflow import NODES, elasticflow
from sill.scheduler.simulation.report import mean
from sill.scheduler.simulation.simulate import Simulation
from sill.scheduler.simulation.types import Workload

PUBLISHED = {
    "EDF": (0.182, 0.228, 0.095, 0.007, 0.375, 0.105, 0.046, 0.252, 0.800, 0.769),
    "Tiresias": (0.478, 0.470, 0.401, 0.120, 0.420, 0.466, 0.346, 0.373, 0.468, 0.473),
    "Themis": (0.464, 0.431, 0.389, 0.432, 0.430, 0.425, 0.437, 0.423, 0.456, 0.431),
    "Chronus": (0.474, 0.445, 0.426, 0.450, 0.453, 0.432, 0.460, 0.447, 0.466, 0.454),
    "ElasticFlow": (0.788, 0.822, 0.455, 0.631, 0.832, 0.607, 0.665, 0.896, 0.938, 0.981),
}
"""Raw values behind figure 8b, clusters 1 to 10."""
BEATEN = 8


def measure(folder: Path) -> Iterator[str]:
    """Each cluster: published ratios, and ours."""
    lines, above, broken = [], 0, 0
    for at, cluster in enumerate(NODES):
        found, kept, promised = met(elasticflow(folder, cluster))
        theirs = PUBLISHED["ElasticFlow"][at]
        above += found >= theirs
        broken += promised - kept
        lines.append(
            (cluster, *(f"{PUBLISHED[name][at]:.3f}" for name in PUBLISHED), f"{found:.3f}", f"{found - theirs:+.3f}")
        )
    yield from rows(("share of deadlines met", *(f"{name} (published)" for name in PUBLISHED), "ours", "more"), lines)
    yield goal(
        "workloads at or above ElasticFlow (of 10; the goal is of 11)",
        above,
        BEATEN,
        least=True,
        published="ElasticFlow",
    )
    yield goal("promised deadlines that were not kept", broken, 0)


def met(workload: Workload) -> tuple[float, int, int]:
    """Part of all jobs that made their deadline; promises kept; promises given."""
    promised: set[str] = set()
    simulation = Simulation(
        workload,
        policy_named("elastic"),
        observe=lambda state, actions: promised.update(
            action.job_id for action in actions if state.elastic[action.job_id].is_promised
        ),
    )
    deadlines_s = {job.id: job.deadline_us / 1e6 for job in workload.jobs}
    made = {record.id for record in simulation.run().records if record.ended_s <= deadlines_s[record.id]}
    return mean([float(job.id in made) for job in workload.jobs]), len(made & promised), len(promised)
