"""What is simulated, and what came out."""

from sill.core.values import Value
from sill.scheduler.types import Cluster, Event, Job, Queue


class Workload(Value, frozen=True, kw_only=True):
    """Jobs with the run times only the simulator knows, on a cluster."""

    name: str
    cluster: Cluster
    jobs: tuple[Job, ...]
    runtimes_s: tuple[float, ...]
    """Seconds of work of each job, in the order of `jobs`."""
    queues: tuple[Queue, ...] = ()
    carbon_g_per_kwh: tuple[float, ...] = ()
    """Of each hour from time 0 on; what comes after is as the last day. Empty for unknown."""
    slowdowns: tuple[dict[str, float], ...] = ()
    """Of each job, what `Job.slowdowns` means, whether or not the scheduler is told; run times are those without any."""
    events: tuple[tuple[int, Event], ...] = ()
    """What else happens, with its time in microseconds, by time: forecasts, nodes that come and go."""


class Record(Value, frozen=True):
    """What happened to one job. Times are seconds; `started_s` is its first start, -1 if it never started."""

    id: str
    queue: str
    user: str
    devices: float
    submitted_s: float
    started_s: float
    ended_s: float
    runtime_s: float
    preemptions: int
    lost_s: float
    slowed_s: float = 0.0
    """Seconds it ran longer because its workers were apart."""
    resizes: int = 0

    @property
    def jct_s(self) -> float:
        """Seconds from submission to the end."""
        return self.ended_s - self.submitted_s

    @property
    def wait_s(self) -> float:
        """Seconds it did not make progress: all but its run time."""
        return self.jct_s - self.runtime_s - self.slowed_s


class Outcome(Value, frozen=True, kw_only=True):
    """One simulated workload."""

    policy: str
    records: tuple[Record, ...]
    left: int
    """Jobs that never ended: they can never start, or time ran out."""
    devices: float
    """Devices of the cluster (its cpus if it has no devices)."""
    busy_s: float
    """Device-seconds held by jobs."""
    events: int
    decisions: int
    actions: int
    slowest_s: float
    """Longest decision, if a clock was given; else 0."""
    usd: float = 0.0
    """Money and energy of the devices held, by the price and power of their types."""
    energy_wh: float = 0.0
    carbon_g: float = 0.0


class SizeClass(Value, frozen=True, kw_only=True):
    """Waits of jobs between two sizes (in devices)."""

    least: float
    most: float
    jobs: int
    wait_mean_s: float
    wait_p99_s: float
    wait_max_s: float


class Report(Value, frozen=True, kw_only=True):
    """An outcome in numbers. Times are seconds."""

    policy: str
    jobs: int
    left: int
    jct_mean_s: float
    jct_p50_s: float
    jct_p99_s: float
    wait_mean_s: float
    wait_p50_s: float
    wait_p99_s: float
    wait_max_s: float
    slowdown_mean: float
    """Bounded slowdown: jct over run time, run times below ten seconds taken as ten; never below 1."""
    slowdown_p99: float
    makespan_s: float
    utilisation: float
    preemptions: int
    preempted: float
    """Preemptions per job."""
    lost_device_h: float
    slowed_device_h: float
    """Device-hours held for longer because workers were apart."""
    cost_usd: float
    energy_kwh: float
    carbon_kg: float
    fairness_jain: float
    """Jain's index of mean slowdowns by user (by queue without users): 1 is equal."""
    by_size: tuple[SizeClass, ...]


class WhatIf(Value, frozen=True, kw_only=True):
    """What is to be otherwise.

    Attributes:
        add: machines that come: accelerators by type (any name), `cpus`, `memory_bytes`.
        policy: the policy that decides; empty for the one that does.
        last_s: the runs of so many seconds until now are simulated again; 0 for what waits and runs now.
    """

    add: dict[str, float] = {}
    policy: str = ""
    last_s: float = 0.0


class Bill(Value, frozen=True, kw_only=True):
    """What runs come to by the price book, at full use of what they asked for."""

    usd: float
    energy_kwh: float
    carbon_kg: float


class QueueDifference(Value, frozen=True, kw_only=True):
    """Mean waits of one queue's jobs in seconds, as it is and as it would be."""

    name: str
    jobs: int
    wait_before_s: float
    wait_after_s: float


class WhatIfReport(Value, frozen=True, kw_only=True):
    """The same jobs as it is and as it would be.

    `waited_mean_s` is what the runs of the past really waited, to compare the simulation with; 0 from now on.
    `added_usd_per_h` is what the added machines cost, used or not.
    """

    asked: WhatIf
    before: Report
    after: Report
    bill_before: Bill
    bill_after: Bill
    queues: tuple[QueueDifference, ...]
    waited_mean_s: float = 0.0
    added_usd_per_h: float = 0.0


class ShadowDifference(Value, frozen=True, kw_only=True):
    """A decision of one policy alone: `start` or `stop` of a run, by the policy that decides (`is_ours`) or its shadow."""

    at_us: int
    run_id: str
    what: str
    is_ours: bool


class ShadowReport(Value, frozen=True, kw_only=True):
    """What the shadow policy would have done where the other decided.

    Attributes:
        compared: decisions at which anything waited.
        same, ours, theirs: starts and stops of both, of the policy that decides alone, and of its shadow alone.
        last: the newest differences.
    """

    policy: str
    shadow: str
    since_us: int
    compared: int
    same: int
    ours: int
    theirs: int
    last: tuple[ShadowDifference, ...]
