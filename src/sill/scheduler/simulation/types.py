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

    @property
    def jct_s(self) -> float:
        """Seconds from submission to the end."""
        return self.ended_s - self.submitted_s

    @property
    def wait_s(self) -> float:
        """Seconds it did not make progress: all but its run time."""
        return self.jct_s - self.runtime_s


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
    fairness_jain: float
    """Jain's index of mean slowdowns by user (by queue without users): 1 is equal."""
    by_size: tuple[SizeClass, ...]
