"""Who is stopped for whom: pure searches that return victims and the place they free; stopping is decided elsewhere.

Victims are taken from the worst in the order on, only until one domain has room; those that turn out not to be needed are
spared. What is not preemptible, has not run its least time or is being stopped already is never chosen.
"""

from collections.abc import Callable, Iterable

from sill.scheduler.entries import Entry, Phase
from sill.scheduler.ledger import Ledger, bits
from sill.scheduler.machines import MILLI
from sill.scheduler.placement import Need, Spread
from sill.scheduler.queues import QueueNode
from sill.scheduler.state import State
from sill.scheduler.types import Slot

VICTIMS_MAX = 4_096
"""So many running jobs are looked at for one that waits."""


class Freed:
    """Nodes as they would be if some jobs were gone."""

    def __init__(self, ledger: Ledger, need: Need, accelerator: str) -> None:
        self._ledger = ledger
        self._need = need
        self._accelerator = accelerator
        self._devices: dict[int, list[int]] = {}
        self._plain: dict[int, tuple[int, int]] = {}

    def change(self, index: int, slot: Slot, victim: Entry, sign: int) -> None:
        """Add (1) what a job gives back on one node, or take it away again (-1)."""
        machine = self._ledger.machines[index]
        cpus, memory = self._plain.get(index, (machine.cpus_free, machine.memory_free))
        gone = victim.need
        self._plain[index] = (cpus + sign * gone.cpus * slot.workers, memory + sign * gone.memory * slot.workers)
        if victim.accelerator != self._accelerator or not gone.milli:
            return
        free = self._devices.setdefault(index, list(machine.devices[self._accelerator]))
        for device in slot.devices:
            free[device] += sign * min(gone.milli, MILLI)

    def room(self, index: int) -> int:
        """Workers that would fit on the node."""
        need, machine = self._need, self._ledger.machines[index]
        room = 1 << 30
        if need.milli:
            free = self._devices.get(index, machine.devices.get(self._accelerator, []))
            if need.milli >= MILLI:
                room = free.count(MILLI) // (need.milli // MILLI)
            else:
                room = sum(left // need.milli for left in free)
        cpus, memory = self._plain.get(index, (machine.cpus_free, machine.memory_free))
        if need.cpus:
            room = min(room, cpus // need.cpus)
        if need.memory:
            room = min(room, memory // need.memory)
        return max(room, 0)


def may_stop(entry: Entry, now_us: int) -> bool:
    """True if a running job may be stopped for another now."""
    return (
        entry.phase is Phase.RUNNING
        and entry.job.preemptible
        and now_us - entry.started_us >= entry.job.runtime_min_s * 1e6
    )


def find_victims(
    state: State, entry: Entry, worst_first: Iterable[Entry], may_take: Callable[[Entry], bool]
) -> tuple[str, Spread, list[Entry]] | None:
    """The accelerator type, the nodes and the jobs to stop so that the whole gang has room, or None.

    `worst_first` ends where `may_take` first says no.
    """
    for accelerator in entry.need.types:
        allowed = entry.need.nodes_up(state.ledger, state.kept_by_others(entry))
        found = _Search(state, entry.need, accelerator, allowed).run(worst_first, may_take)
        if found is not None:
            return accelerator, *found
    return None


def claimant(state: State, entry: Entry) -> QueueNode | None:
    """The lowest queue around a job that has a guarantee with room for it, in whose name it may reclaim; None for none."""
    for accelerator in entry.need.types:
        amounts = state.resources.amounts(entry.need, accelerator)
        for node in state.tree.path(entry.leaf)[:-1]:
            if node.promises:
                return node if state.tree.within(node, amounts) else None
    return None


def borrowers(state: State, queue: QueueNode) -> list[Entry]:
    """Running jobs that hold more than their own queues are guaranteed, outside a queue; the cheapest to stop first.

    So many only that no queue is left with less than its guarantee by their end.
    """
    own = {node.number for node in state.tree.path(queue)}
    taken: dict[tuple[int, int], int] = {}
    found: list[Entry] = []
    for entry in state.running.values():
        if entry.phase is Phase.STOPPING:
            _count(taken, state.tree.path(entry.leaf)[:-1], entry)
    for entry in sorted(state.running.values(), key=lambda each: (loss(each, state.now_us), -each.number)):
        path = [node for node in state.tree.path(entry.leaf)[:-1] if node.number not in own]
        is_inside = any(node is queue for node in state.tree.path(entry.leaf))
        if is_inside or not may_stop(entry, state.now_us) or any(_needs_it(node, entry, taken) for node in path):
            continue
        _count(taken, path, entry)
        found.append(entry)
    return found


class Borrowed:
    """Work that may be taken back for one queue, the cheapest to stop first; each is given out once."""

    def __init__(self, state: State, queue: QueueNode) -> None:
        self._state = state
        self._all = borrowers(state, queue)
        self._looked_at: dict[int, int] = {}
        """By class of need: so many from the front do not cover it, or are given out."""

    @property
    def left(self) -> list[Entry]:
        """Those not given out."""
        return [entry for entry in self._all if entry.phase is Phase.RUNNING]

    def covering(self, need: Need, allowed: int) -> Entry | None:
        """The cheapest of which the place on one node is enough for the one worker of a gang, or None."""
        at = self._looked_at.get(need.index, 0)
        while at < len(self._all):
            entry = self._all[at]
            at += 1
            if entry.phase is Phase.RUNNING and _covers(self._state, entry, need, allowed):
                self._looked_at[need.index] = at
                return entry
        self._looked_at[need.index] = at
        return None


def _covers(state: State, entry: Entry, need: Need, allowed: int) -> bool:
    """True if the devices a job holds on one node are enough for a worker, and cpus and memory with what is free there."""
    if need.milli and entry.accelerator not in need.types:
        return False
    gone = entry.need
    for slot in entry.placed:
        machine = state.ledger.machines[state.ledger.by_name[slot.node]]
        devices = gone.milli * slot.workers if need.milli >= MILLI and gone.milli >= MILLI else gone.milli
        if (
            machine.bit & allowed
            and devices >= need.milli
            and machine.cpus_free + gone.cpus * slot.workers >= need.cpus
            and machine.memory_free + gone.memory * slot.workers >= need.memory
        ):
            return True
    return False


def _count(taken: dict[tuple[int, int], int], path: list[QueueNode], entry: Entry) -> None:
    for node in path:
        for resource, amount in enumerate(entry.amounts):
            taken[node.number, resource] = taken.get((node.number, resource), 0) + amount


def _needs_it(node: QueueNode, entry: Entry, taken: dict[tuple[int, int], int]) -> bool:
    """True if the queue would hold less than it is guaranteed without the job."""
    return any(
        node.used[resource] - taken.get((node.number, resource), 0) - entry.amounts[resource] < promised
        for resource, promised in node.promises
        if entry.amounts[resource]
    )


def clear(state: State, entry: Entry, accelerator: str, spread: Spread) -> list[Entry] | None:
    """Jobs to stop on exactly these nodes so that the gang has room there, the cheapest; None if some may not be."""
    freed = Freed(state.ledger, entry.need, accelerator)
    victims: dict[str, Entry] = {}
    for index, workers in spread:
        here = [state.entries[name] for name in state.ledger.machines[index].jobs]
        for each in here:
            if each.phase is Phase.STOPPING or each.job.id in victims:
                freed.change(index, each.slot_on(state.ledger.machines[index].spec.name), each, 1)
        able = [each for each in here if each.job.id not in victims and may_stop(each, state.now_us)]
        for each in sorted(able, key=lambda one: (loss(one, state.now_us), one.number)):
            if freed.room(index) >= workers:
                break
            victims[each.job.id] = each
            freed.change(index, each.slot_on(state.ledger.machines[index].spec.name), each, 1)
        if freed.room(index) < workers:
            return None
    return list(victims.values())


def loss(entry: Entry, now_us: int) -> float:
    """Device-seconds that stopping the job now throws away: work since it last saved, and the restart."""
    job = entry.job
    lost_s = 0.0
    if not job.can_checkpoint:
        lost_s = entry.work_us(now_us) / 1e6
    elif job.checkpoint_every_s:
        lost_s = min((now_us - entry.saved_us) / 1e6, job.checkpoint_every_s)
    return (lost_s + job.restart_s) * entry.devices


class _Search:
    """One search for room: which jobs would have to go until one domain has it."""

    def __init__(self, state: State, need: Need, accelerator: str, allowed: int) -> None:
        self._state = state
        self._need = need
        self._allowed = allowed
        self._freed = Freed(state.ledger, need, accelerator)
        self._level = state.ledger.levels.index(need.level) if need.level in state.ledger.levels else -1
        self._rooms: dict[int, int] = {}
        self._totals: dict[int, int] = {}
        self._victims: list[Entry] = []
        if need.workers > 1:
            for index in bits(need.candidates(state.ledger, accelerator, ~allowed)):
                self._see(index)

    def run(self, worst_first: Iterable[Entry], may_take: Callable[[Entry], bool]) -> tuple[Spread, list[Entry]] | None:
        for number, victim in enumerate(worst_first):
            if number >= VICTIMS_MAX or not may_take(victim):
                return None
            if not may_stop(victim, self._state.now_us):
                continue
            domain = self._add(victim)
            if domain is not None:
                return self._settle(domain)
        return None

    def _add(self, victim: Entry) -> int | None:
        """Count what the job would give back; the domain that now has room for all workers, if one has."""
        found = None
        is_of_use = False
        for slot in victim.placed:
            index = self._state.ledger.by_name[slot.node]
            if self._allowed >> index & 1:
                is_of_use = True
                self._freed.change(index, slot, victim, 1)
                domain = self._see(index)
                if self._totals[domain] >= self._need.workers:
                    found = domain
        if is_of_use:
            self._victims.append(victim)
        return found

    def _see(self, index: int) -> int:
        """Bring the totals up to date for one node; its domain."""
        domain = self._domain(index)
        room = min(self._freed.room(index), self._need.workers)
        self._totals[domain] = self._totals.get(domain, 0) + room - self._rooms.get(index, 0)
        self._rooms[index] = room
        return domain

    def _domain(self, index: int) -> int:
        if self._need.level == "node":
            return index
        return self._state.ledger.machines[index].domains[self._level] if self._level >= 0 else 0

    def _settle(self, domain: int) -> tuple[Spread, list[Entry]]:
        """The nodes to take, and only those victims whose place is needed."""
        touched = {self._state.ledger.by_name[slot.node] for each in self._victims for slot in each.placed}
        rooms = [(index, room) for index, room in self._rooms.items() if room and self._domain(index) == domain]
        spread: Spread = []
        left = self._need.workers
        for index, room in sorted(rooms, key=lambda each: (each[0] in touched, -each[1], each[0])):
            spread.append((index, min(room, left)))
            left -= min(room, left)
            if not left:
                break
        wanted = dict(spread)
        return spread, [each for each in reversed(self._victims) if not self._spared(each, wanted)][::-1]

    def _spared(self, victim: Entry, wanted: dict[int, int]) -> bool:
        """True (and it stays) if all wanted nodes have room without stopping the job."""
        here = [(self._state.ledger.by_name[slot.node], slot) for slot in victim.placed]
        here = [(index, slot) for index, slot in here if index in wanted]
        for index, slot in here:
            self._freed.change(index, slot, victim, -1)
        if all(self._freed.room(index) >= wanted[index] for index, _ in here):
            return True
        for index, slot in here:
            self._freed.change(index, slot, victim, 1)
        return False
