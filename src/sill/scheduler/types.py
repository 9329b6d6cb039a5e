"""What there is, what is asked for, what happened, and what is to be done: the values the scheduler works on.

Those of which there are many are not followed by the collector of cycles (`gc=False`): a frozen value cannot hold itself,
and a state of 100,000 jobs would make the collector walk through all of them in the middle of a decision.
"""

from sill.core.accelerators import AcceleratorType
from sill.core.values import Value

# --- the cluster: what there is ---------------------------------------------------------------------------------


class Site(Value, frozen=True, kw_only=True):
    """A place with machines: own racks, a cloud's zone, an edge. `place` is what residency rules name."""

    name: str
    place: str = ""
    engine: str = "local"
    price_factor: float = 1.0
    carbon_series: str = ""
    latency_ms: float = 0.0


class Node(Value, frozen=True, kw_only=True, gc=False):
    """One machine. `domains` names where it stands, outermost first, one name for each of `Cluster.levels`."""

    name: str
    site: str = ""
    cpus: float = 0.0
    memory_bytes: int = 0
    accelerators: dict[str, int] = {}
    labels: dict[str, str] = {}
    domains: tuple[str, ...] = ()
    price_usd_per_h: float = 0.0


class Cluster(Value, frozen=True, kw_only=True):
    """All machines the scheduler places on.

    Attributes:
        levels: names of the topology's levels, outermost first, such as `("block", "rack")`; a node is always the
            innermost level and is not listed.
    """

    nodes: tuple[Node, ...]
    types: tuple[AcceleratorType, ...] = ()
    sites: tuple[Site, ...] = ()
    levels: tuple[str, ...] = ()


class Queue(Value, frozen=True, kw_only=True):
    """One queue of the tree. Quantities are by resource: `cpus`, `memory_bytes`, `accelerators` (of all types),
    `accelerators/TYPE`.

    Attributes:
        parent: name of the queue above; empty for one directly under the root.
        guarantee: what it gets whenever it asks, within the grace of a reclaim; nothing when absent.
        ceiling: what it and all queues below may hold at most; no limit when absent.
        borrow: how much above its guarantee it may take of what others leave; no limit when absent.
        lend: how much of its guarantee others may use while it does not; all of it when absent.
        weight: its part of what is left after guarantees, relative to its siblings.
        band: queues of a higher band are served first.
        half_life_s: over which past use counts in its share; 0 for present use only.
        strict: nothing overtakes its first job.
        patience_s: seconds its first blocked job may be overtaken before nodes are kept for it; None for the policy's.
    """

    name: str
    parent: str = ""
    guarantee: dict[str, float] = {}
    ceiling: dict[str, float] = {}
    borrow: dict[str, float] = {}
    lend: dict[str, float] = {}
    weight: float = 1.0
    band: int = 0
    half_life_s: float = 0.0
    strict: bool = False
    patience_s: float | None = None


# --- work: what is asked for ------------------------------------------------------------------------------------


class Job(Value, frozen=True, kw_only=True, gc=False):
    """A gang of equal workers; starts whole or not at all.

    Attributes:
        cpus, memory_bytes, accelerators: what each worker needs. Accelerators below 1 are a part of one device, above
            they are whole devices.
        types: accelerator types it can use, the best first; any when empty.
        capabilities: what the accelerator must have.
        labels: what its nodes must carry.
        level: the topology level all workers must share, such as `rack`, or `node`; empty for anywhere.
        slowdowns: by level (`node`, or one of the topology), how many times slower it runs when its workers do not share
            one; it waits for a near place as long as that would cost it.
        places: the only places it may run in; anywhere when empty.
        min_workers, max_workers: an elastic gang may shrink and grow between them; 0 for `workers`.
        scaling: relative throughput by number of workers, for elastic gangs; linear between the given points.
        template: what its run time is learned from first (then user, queue, size).
        estimate_s: its expected run time, if somebody knows; 0 for unknown.
        estimate_high_s: the time it ends within nine times of ten; 0 for unknown.
        can_checkpoint: it goes on where it was when it is stopped and started again.
        checkpoint_every_s: how often it saves by itself; work since then is lost when it is stopped. 0 for on demand.
        restart_s: seconds a stop and a new start cost it.
        runtime_min_s: it is not stopped for others before it ran this long.
        preemptible: it may be stopped for others.
        deadline_us: when it should be done; 0 for never.
        start_by_us: it may wait until then for power that costs or emits less; 0 to start as soon as it can.
    """

    id: str
    queue: str = ""
    user: str = ""
    workers: int = 1
    cpus: float = 0.0
    memory_bytes: int = 0
    accelerators: float = 0.0
    types: tuple[str, ...] = ()
    capabilities: tuple[str, ...] = ()
    labels: dict[str, str] = {}
    level: str = ""
    slowdowns: dict[str, float] = {}
    places: tuple[str, ...] = ()
    min_workers: int = 0
    max_workers: int = 0
    scaling: dict[int, float] = {}
    priority: int = 0
    submitted_us: int = 0
    not_before_us: int = 0
    template: str = ""
    estimate_s: float = 0.0
    estimate_high_s: float = 0.0
    can_checkpoint: bool = True
    checkpoint_every_s: float = 0.0
    restart_s: float = 0.0
    runtime_min_s: float = 0.0
    preemptible: bool = True
    deadline_us: int = 0
    start_by_us: int = 0


# --- events: what happened ---------------------------------------------------------------------------------------


class Submitted(Value, frozen=True, kw_only=True, tag="submitted"):
    """A job came."""

    job: Job


class Withdrawn(Value, frozen=True, kw_only=True, tag="withdrawn"):
    """Somebody cancelled a job. If it runs, its place is free once `Stopped` or `Ended` says so."""

    job_id: str


class Ended(Value, frozen=True, kw_only=True, tag="ended"):
    """An attempt ended by itself, and the job with it."""

    job_id: str
    attempt: int
    is_success: bool = True


class Stopped(Value, frozen=True, kw_only=True, tag="stopped"):
    """An attempt was stopped, by us or by a failure, and the job waits again, from `not_before_us` on.

    `lost_s` is the work since its last checkpoint, which it has to do again.
    """

    job_id: str
    attempt: int
    not_before_us: int = 0
    lost_s: float = 0.0


class Checkpointed(Value, frozen=True, kw_only=True, tag="checkpointed"):
    """An attempt saved its state: stopping it now loses nothing."""

    job_id: str
    attempt: int


class Running(Value, frozen=True, kw_only=True, tag="running"):
    """A job is found running where the state does not know it: after a restart, or on a foreign scheduler."""

    job: Job
    attempt: int
    slots: "tuple[Slot, ...]"
    accelerator: str = ""
    started_us: int = 0
    attained_s: float = 0.0


class Observed(Value, frozen=True, kw_only=True, tag="observed"):
    """A job ended before the journal began, or elsewhere: its run time is learned."""

    job: Job
    runtime_s: float


class NodeJoined(Value, frozen=True, kw_only=True, tag="node_joined"):
    """A machine came, or came back."""

    node: Node


class NodeLeft(Value, frozen=True, kw_only=True, tag="node_left"):
    """A machine is gone (`is_lost`), or takes no new work (it is drained for maintenance)."""

    name: str
    is_lost: bool = True


class QueuesSet(Value, frozen=True, kw_only=True, tag="queues_set"):
    """The tree of queues was declared anew."""

    queues: tuple[Queue, ...]


class Priced(Value, frozen=True, kw_only=True, tag="priced"):
    """What running costs at a place from `start_us` on, slot by slot: money, carbon or both, in one unit for all places.

    `place` is empty for wherever nothing else is said.
    """

    place: str = ""
    start_us: int
    slot_s: float = 3600.0
    values: tuple[float, ...]


class Tick(Value, frozen=True, kw_only=True, tag="tick"):
    """Nothing but time passed."""


Event = (
    Submitted
    | Withdrawn
    | Ended
    | Stopped
    | Checkpointed
    | Running
    | Observed
    | NodeJoined
    | NodeLeft
    | QueuesSet
    | Priced
    | Tick
)

# --- actions: what is to be done ---------------------------------------------------------------------------------


class Slot(Value, frozen=True, gc=False):
    """Workers of a gang on one node, and the devices they get, worker after worker."""

    node: str
    workers: int
    devices: tuple[int, ...] = ()


class Start(Value, frozen=True, gc=False, tag="start"):
    """Start an attempt of a job there."""

    job_id: str
    attempt: int
    slots: tuple[Slot, ...]
    accelerator: str
    reason: str


class Preempt(Value, frozen=True, gc=False, tag="preempt"):
    """Stop an attempt (checkpoint it first if it can); report `Stopped` when it is gone."""

    job_id: str
    attempt: int
    for_job: str
    reason: str


class Reserve(Value, frozen=True, tag="reserve"):
    """Nodes are kept for a job that waits; it is expected to start at `start_us`."""

    job_id: str
    slots: tuple[Slot, ...]
    accelerator: str
    start_us: int
    reason: str


class Resize(Value, frozen=True, tag="resize"):
    """Change the number of workers of a running elastic gang."""

    job_id: str
    attempt: int
    slots: tuple[Slot, ...]
    reason: str


Action = Start | Preempt | Reserve | Resize


class Step(Value, frozen=True):
    """One entry of the journal: what happened when, and what was decided. `replaying` plays a journal of them again.

    `is_decided` is false for an event that was taken in together with the next one.
    """

    now_us: int
    event: Event
    actions: tuple[Action, ...] = ()
    is_decided: bool = True


# --- policy -------------------------------------------------------------------------------------------------------


class Policy(Value, frozen=True, kw_only=True):
    """How one core decides. Baselines and ours differ in these settings only.

    Attributes:
        order: which waiting job is first: the name of an order plug-in (`fifo`, `sjf`, `srtf`, `srsf`, `las`, ...).
        placement: which node is best: the name of a placement plug-in (`best_fit`, `first_fit`, `random`, ...).
        strict: nothing overtakes the first job that does not fit.
        reservations: how many blocked jobs may have nodes kept for them at once; 0 for none.
        reserve_from: fraction of a node's devices that a gang must ask for in all, to be kept nodes for; 0 for any job.
        patience_s: how long a blocked job may be overtaken before nodes are kept for it.
        patience_ratio: for work that fits on one node, the same as a multiple of its own predicted run time; the longer
            of both holds. Such work may find room by itself, and the longer it runs, the less a wait matters to it.
        starved_s: a job that waits for longer comes before all others of its queue, whatever their priority; 0 for never.
        drain_s: nodes are kept for at most this long before they are cleared; 0 for until they are predicted to be free.
        uses_high: backfill compares a job's high estimate, not its median, with the start of the reservation.
        revokes: jobs that still run on kept nodes at the start of the reservation are stopped.
        preempts: a running job is stopped for a waiting one that is before it in the order.
        margin: how much better (as a ratio of the index) the waiting one has to be.
        fair: queues are served by share; otherwise all jobs stand in one line.
        reclaims: a job within its queue's guarantee takes back what others have borrowed.
        grace_s: how long it waits before it does.
        depth: how many waiting jobs are tried behind blocked ones in one pass.
        moves: running jobs that checkpoint are moved so that a gang that fits in all fits in one place, if that loses no more
            than this part of the device-seconds the gang would wait otherwise; 0 for never.
        elastic: gangs that may shrink and grow do; they start with as few workers as they can, or as their deadline needs.
        resizes_by_restart: one that runs and is to have another number of workers is stopped, and starts with it once its
            place is free; otherwise it changes in the same step.
    """

    name: str
    order: str = "fifo"
    placement: str = "best_fit"
    strict: bool = False
    reservations: int = 0
    reserve_from: float = 1.0
    patience_s: float = 0.0
    patience_ratio: float = 0.0
    starved_s: float = 0.0
    drain_s: float = 0.0
    uses_high: bool = False
    revokes: bool = False
    preempts: bool = False
    margin: float = 0.0
    fair: bool = True
    reclaims: bool = False
    grace_s: float = 0.0
    depth: int = 500
    moves: float = 0.0
    elastic: bool = False
    resizes_by_restart: bool = False


# --- how it stands -------------------------------------------------------------------------------------------------


class QueueStanding(Value, frozen=True, kw_only=True):
    """How one queue stands. Quantities are by resource.

    Attributes:
        share: dominant part of the cluster it holds, over its weight.
        borrowed: what it holds above its guarantee, of resources that some queue is guaranteed.
        lent: what it would have to take back from others if it asked for all its guarantee now.
        budget, spent: what it may come to this month, and what it has come to, with what runs now.
    """

    name: str
    parent: str
    depth: int
    waiting: int
    running: int
    share: float
    held: dict[str, float]
    guarantee: dict[str, float]
    ceiling: dict[str, float]
    borrowed: dict[str, float]
    lent: dict[str, float]
    budget: dict[str, float] = {}
    spent: dict[str, float] = {}


class ResourceStanding(Value, frozen=True, kw_only=True):
    """How one resource of the cluster stands.

    Attributes:
        total: on all nodes: `used`, `free` and `closed`.
        used: what runs hold.
        free: on nodes that take work.
        closed: what is free on nodes that take none (lost, or under maintenance).
        largest: the most that is free on one node.
        fragmentation: the part of what is free that lies on nodes that are partly used, 0 to 1; 0 with one node.
    """

    name: str
    total: float
    used: float
    free: float
    largest: float
    fragmentation: float
    closed: float = 0.0


class Standing(Value, frozen=True, kw_only=True):
    """The whole cluster and all queues, as they stand. `utilisation` is the largest used part of any resource."""

    policy: str
    nodes: int
    waiting: int
    running: int
    utilisation: float
    resources: tuple[ResourceStanding, ...]
    queues: tuple[QueueStanding, ...]
