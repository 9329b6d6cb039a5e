"""Why a job waits, in words and with numbers: the one thing that holds it back now, and when it may start.

The reason is worked out when somebody asks, from the state the next decision is made on, so it is never stale and costs
the decisions nothing.
"""

from sill.core.clock import iso
from sill.core.errors import NotFound
from sill.core.values import Value
from sill.scheduler.entries import Entry, Phase
from sill.scheduler.ledger import bits
from sill.scheduler.machines import MILLI
from sill.scheduler.placement import place
from sill.scheduler.queues import QueueNode
from sill.scheduler.reservations import plan
from sill.scheduler.resources import MEMORY
from sill.scheduler.state import State

GIB = 1024**3
NODES_LOOKED_AT = 4_096


class Explanation(Value, frozen=True, kw_only=True):
    """Why a job stands where it stands.

    Attributes:
        constraint: `queue` (a limit of a queue), `room`, `kept` (nodes kept for others), `order`, `time`, or empty for one
            that runs.
        before: how many jobs of its queue come before it.
        start_us: when there is room for it by prediction, if nobody overtakes it; 0 for unknown.
    """

    job_id: str
    constraint: str
    text: str
    before: int = 0
    start_us: int = 0


def explain(state: State, job_id: str) -> Explanation:
    """Why a job waits, or where it runs.

    Raises:
        NotFound: no such job is known.
    """
    entry = state.entries.get(job_id)
    if entry is None:
        raise NotFound(f"no job {job_id!r} waits or runs.", fix="It may be over.")
    if entry.phase is Phase.RUNNING:
        return Explanation(job_id=job_id, constraint="", text=f"it runs on {_names(entry)}")
    if entry.phase is Phase.STOPPING:
        return Explanation(job_id=job_id, constraint="", text=f"it is being stopped on {_names(entry)}")
    if entry.phase is Phase.AWAY:
        until = iso(entry.away_us)
        return Explanation(
            job_id=job_id,
            constraint="time",
            text=_put_aside(state, entry, until),
            start_us=entry.away_us,
        )
    return _waiting(state, entry)


def _put_aside(state: State, entry: Entry, until: str) -> str:
    if entry.job.id in state.optional:
        return f"waits until {until}, when it costs or emits least; it starts by {iso(entry.job.start_by_us)} at the latest"
    return f"waits until {until} before it is tried again"


def reason(state: State, job_id: str) -> str:
    """Why a job waits, in words alone: when there will be room for it is not worked out, which takes most of the time."""
    entry = state.entries[job_id]
    return _told(state, entry)[1] if entry.phase is Phase.WAITING else explain(state, job_id).text


def _waiting(state: State, entry: Entry) -> Explanation:
    constraint, text, before = _told(state, entry)
    kept = state.reservations.get(entry.job.id)
    if kept is None and constraint in ("room", "kept"):
        kept = plan(state, entry)
    start_us = kept.start_us if kept is not None else 0
    return Explanation(job_id=entry.job.id, constraint=constraint, text=text, before=before, start_us=start_us)


def _told(state: State, entry: Entry) -> tuple[str, str, int]:
    """The constraint, the sentence, and how many jobs of its queue come before it."""
    constraint, text = _binding(state, entry)
    before = jobs_before(state, entry)
    if before:
        text += f"; {before} before it"
    kept = state.reservations.get(entry.job.id)
    if kept is not None:
        text += f"; nodes are kept for it from {iso(kept.start_us)} on"
    return constraint, text, before


def jobs_before(state: State, entry: Entry) -> int:
    """Waiting jobs of the same queue that come before it."""
    lines = state.lines_by_queue.get(entry.leaf.number, {})
    return sum(1 for line in lines.values() for rank, _ in line.waiting if rank < entry.rank)


def _binding(state: State, entry: Entry) -> tuple[str, str]:
    """The constraint that holds it back, and the sentence."""
    need = entry.need
    if not need.types:
        return "room", no_room(state, entry)
    allowed = []
    over: tuple[QueueNode, int] | None = None
    for accelerator in need.types:
        found = state.tree.over(entry.leaf, state.resources.amounts(need, accelerator))
        if found is None:
            allowed.append(accelerator)
        else:
            over = found
    if not allowed and over is not None:
        return "queue", _over(state, entry, *over)
    others = state.kept_by_others(entry)
    if place(state.ledger, need, allowed, others, state.fit) is not None:
        return "order", "there is room; it starts when its turn comes"
    if others and place(state.ledger, need, allowed, 0, state.fit) is not None:
        names = [name for name in state.reservations if name != entry.job.id]
        return "kept", f"would fit, but what is free is kept for {', '.join(names[:3])}, which has waited long"
    return "room", no_room(state, entry, allowed[0])


def _over(state: State, entry: Entry, queue: QueueNode, resource: int) -> str:
    resources = state.resources
    unit = resources.unit(resource) if resource != MEMORY else GIB
    needed = max(
        (resources.amounts(entry.need, name)[resource] for name in entry.need.types),
        default=0,
    )
    what = "GiB of memory" if resource == MEMORY else resources.names[resource]
    held = queue.used[resource] / unit
    if queue is state.tree.root:
        return f"needs {needed / unit:g} {what}; the rest is kept by queues for themselves"
    bound = queue.ceiling[resource]
    borrowed = queue.guarantee[resource] + queue.borrow[resource]
    name = queue.spec.name
    if bound <= borrowed:
        return f"needs {needed / unit:g} {what}, queue {name!r} holds {held:g} of its ceiling of {bound / unit:g}"
    return (
        f"needs {needed / unit:g} {what}, queue {name!r} holds {held:g} of {borrowed / unit:g}: "
        f"its guarantee of {queue.guarantee[resource] / unit:g} and {queue.borrow[resource] / unit:g} borrowed"
    )


def no_room(state: State, entry: Entry, accelerator: str | None = None) -> str:
    """What is short: on the only node, on any node, or for all workers together."""
    need, ledger = entry.need, state.ledger
    if not need.types:
        asked = ", ".join((*entry.job.types, *entry.job.capabilities)) or "any"
        return f"needs accelerators ({asked}) that no node has"
    accelerator = need.types[0] if accelerator is None else accelerator
    usable = need.nodes(ledger) & ledger.up
    if not usable:
        return f"no node that takes work has its labels and place ({_rules(entry)})"
    if need.workers == 1 or usable.bit_count() == 1:
        return _short_on_best(state, entry, accelerator, usable)
    room = sum(need.room(ledger, index, accelerator) for index in _first(usable))
    where = f"one {need.level}" if need.level else "all"
    return f"needs {need.workers} workers of {_each(entry, accelerator)}, {room} fit now" + (
        f" and not in {where}" if need.level and room >= need.workers else ""
    )


def _short_on_best(state: State, entry: Entry, accelerator: str, usable: int) -> str:
    """The resource that is short on the node that comes closest."""
    need, ledger = entry.need, state.ledger
    workers = need.workers
    best: tuple[int, str] | None = None
    for index in _first(usable):
        machine = ledger.machines[index]
        devices = machine.spec.accelerators.get(accelerator, 0)
        free = sum(machine.devices.get(accelerator, ())) / MILLI
        short = [
            ("cpus", need.cpus * workers / MILLI, machine.cpus_free / MILLI, machine.spec.cpus),
            (accelerator or "accelerators", need.milli * workers / MILLI, free, float(devices)),
            ("GiB of memory", need.memory * workers / GIB, machine.memory_free / GIB, machine.spec.memory_bytes / GIB),
        ]
        missing = [each for each in short if each[1] > each[2] + 1e-9]
        text = "; ".join(
            f"needs {_number(wants)} {what}, {_number(has)} of {_number(all_)} are free"
            for what, wants, has, all_ in missing[:1]
        )
        if best is None or len(missing) < best[0]:
            best = (
                len(missing),
                text or f"needs {_each(entry, accelerator)} in whole devices, those free are partly used",
            )
    many = usable.bit_count()
    assert best is not None
    return best[1] + (f" on the best of {many} nodes" if many > 1 else "")


def _first(mask: int) -> list[int]:
    return [index for index, _ in zip(bits(mask), range(NODES_LOOKED_AT), strict=False)]


def _each(entry: Entry, accelerator: str) -> str:
    job = entry.job
    if job.accelerators:
        return f"{job.accelerators:g} {accelerator}"
    return f"{job.cpus:g} cpus and {_number(job.memory_bytes / GIB)} GiB"


def _rules(entry: Entry) -> str:
    labels = [f"{key}={value}" for key, value in entry.need.labels]
    return ", ".join([*labels, *entry.need.places]) or "it takes none"


def _number(amount: float) -> str:
    return f"{max(amount, 0):.4g}"


def _names(entry: Entry) -> str:
    names = [slot.node for slot in entry.placed]
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
