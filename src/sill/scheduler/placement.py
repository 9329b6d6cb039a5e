"""Where a gang goes: which nodes, how many of its workers on each. Which node is best is a plug-in (`Fit`).

One worker goes to the node with least left over (best fit). A gang goes to the smallest domain that holds all of it:
one node, else the rack with least left over, and so outwards; a gang that says `level` never leaves that domain.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import Protocol

from sill.scheduler.ledger import Ledger, bits, lowest
from sill.scheduler.machines import DEVICES_MAX, MILLI
from sill.scheduler.types import Job

Spread = list[tuple[int, int]]
"""Nodes by index, and how many workers each gets."""
Choice = tuple[str, int, tuple[int, ...]]
"""Accelerator type, node by index, and devices; no devices leaves them to the ledger."""
Place = tuple[str, Spread, tuple[int, ...]]
"""The same for a whole gang. Devices are named only for a gang of one worker."""
Amounts = tuple[int, ...]
"""What a gang takes of each resource, in the order of `resources.Resources`."""


class Need:
    """What each job of one equivalence class asks for; one answer about room serves them all.

    Attributes:
        milli: accelerator need of one worker in thousandths.
        types: accelerator types it may use, the best first; `("",)` for a gang without accelerators.
        is_blocked: no place was found, and nothing was freed since that could change it.
    """

    __slots__ = (
        *("avoided", "cpus", "generation", "index", "is_blocked", "key", "labels", "level", "memory", "milli"),
        *("per_node", "places", "static", "takes", "types", "usable", "workers"),
    )

    def __init__(self, index: int, job: Job, types: tuple[str, ...]) -> None:
        self.index = index
        self.key = need_key(job)
        self.workers = job.workers
        self.cpus = round(job.cpus * MILLI)
        self.memory = job.memory_bytes
        self.milli = round(job.accelerators * MILLI)
        self.types = types if self.milli else ("",)
        self.per_node = DEVICES_MAX * MILLI // self.milli if self.milli else job.workers
        """Workers that fit on the largest node there may be."""
        self.labels = tuple(sorted(job.labels.items()))
        self.level = job.level
        self.places = job.places
        self.is_blocked = False
        self.takes: dict[str, Amounts] = {}
        """What a whole gang takes, by accelerator type, as far as somebody asked."""
        self.static = 0
        self.usable = 0
        self.avoided = 0
        self.generation = -1

    @property
    def devices(self) -> int:
        """Thousandths of accelerators the whole gang asks for."""
        return self.milli * self.workers

    def nodes(self, ledger: Ledger) -> int:
        """Nodes it may use at all: those with its labels, in its places."""
        if self.generation != ledger.generation:
            mask = (1 << len(ledger.machines)) - 1
            for label in self.labels:
                mask &= ledger.labelled.get(label, 0)
            if self.places:
                allowed = 0
                for place in self.places:
                    allowed |= ledger.placed.get(place, 0)
                mask &= allowed
            self.static, self.generation = mask, ledger.generation
            self.usable, self.avoided = mask & ledger.up, 0
        return self.static

    def nodes_up(self, ledger: Ledger, avoid: int) -> int:
        """Those of them that take new work and are not to be avoided; the last answer is remembered."""
        if self.generation != ledger.generation or avoid != self.avoided:
            self.usable = self.nodes(ledger) & ledger.up & ~avoid
            self.avoided = avoid
        return self.usable

    def room(self, ledger: Ledger, index: int, accelerator: str) -> int:
        """Workers that fit on one node now."""
        return ledger.fits(index, self.cpus, self.memory, accelerator, self.milli)

    def candidates(self, ledger: Ledger, accelerator: str, avoid: int) -> int:
        """Nodes that may have room for a worker; a few may turn out not to have it."""
        return ledger.with_room(self.cpus, self.memory, accelerator, self.milli) & self.nodes_up(ledger, avoid)


def need_key(job: Job) -> tuple[object, ...]:
    """Jobs with the same key are placed alike."""
    return (
        *(job.workers, job.cpus, job.memory_bytes, job.accelerators, job.types, job.capabilities),
        *(tuple(sorted(job.labels.items())), job.level, job.places),
    )


class Fit(Protocol):
    """Chooses where a gang of one worker goes, over all accelerator types it may use."""

    def choose(self, ledger: Ledger, need: Need, types: Sequence[str], avoid: int) -> Choice | None:
        """A place with room outside the nodes `avoid`, or None. `need.candidates` gives the nodes of one type."""
        ...

    def learn(self, need: Need) -> None:
        """A job of that class came: what is typical is learned from it."""
        ...


class TypeByType:
    """The first type with room is taken; which of its nodes, `best` says.

    Args:
        best: index of the best node of a mask with room for a worker, or -1.
    """

    def __init__(self, best: Callable[[Ledger, Need, str, int], int]) -> None:
        self._best = best

    def choose(self, ledger: Ledger, need: Need, types: Sequence[str], avoid: int) -> Choice | None:
        for accelerator in types:
            mask = need.candidates(ledger, accelerator, avoid)
            found = self._best(ledger, need, accelerator, mask) if mask else -1
            if found >= 0:
                return accelerator, found, ()
        return None

    def learn(self, need: Need) -> None:
        return


class BestFit:
    """The node with the fewest free devices that has room; without devices, one that has none, then fewest cpus."""

    def choose(self, ledger: Ledger, need: Need, types: Sequence[str], avoid: int) -> Choice | None:
        for accelerator in types:
            if need.milli >= MILLI:
                found = _least_whole(ledger, need, accelerator, avoid)
            else:
                mask = need.candidates(ledger, accelerator, avoid)
                found = _least_part(ledger, need, accelerator, mask) if need.milli else _least_cpus(ledger, need, mask)
            if found >= 0:
                return accelerator, found, ()
        return None

    def learn(self, need: Need) -> None:
        return


def first_fit(ledger: Ledger, need: Need, accelerator: str, mask: int) -> int:
    """The first node that has room."""
    return _first_with_room(ledger, need, accelerator, mask)


def worst_fit(ledger: Ledger, need: Need, accelerator: str, mask: int) -> int:
    """The node with the most free devices, which spreads work out."""
    if not need.milli:
        return _first_with_room(ledger, need, accelerator, mask)
    for exact in reversed(ledger.devices[accelerator].exact):
        found = _first_with_room(ledger, need, accelerator, mask & exact)
        if found >= 0:
            return found
    return -1


def place(ledger: Ledger, need: Need, types: Sequence[str], avoid: int, fit: Fit) -> Place | None:
    """Where the whole gang fits now outside `avoid`, or None."""
    if need.workers == 1:
        found = fit.choose(ledger, need, types, avoid)
        return None if found is None else (found[0], [(found[1], 1)], found[2])
    for accelerator in types:
        mask = need.candidates(ledger, accelerator, avoid)
        if not mask:
            continue
        spread = gang(ledger, need, accelerator, mask, partial(_room, ledger, need, accelerator))
        if spread is not None:
            return accelerator, spread, ()
    return None


def gang(ledger: Ledger, need: Need, accelerator: str, mask: int, room: Callable[[int], int]) -> Spread | None:
    """All workers in the smallest domain that holds them, among the nodes of the mask; `room` says how many each takes.

    The domain with the least devices free is taken, so that the large ones stay whole.
    """
    on_one = _on_one_node(ledger, need, accelerator, mask, room)
    if on_one is not None or need.level == "node":
        return on_one
    outermost = ledger.levels.index(need.level) if need.level in ledger.levels else -1
    for level in range(len(ledger.levels) - 1, max(outermost, 0) - 1, -1):
        for domain in _tightest_first(ledger, need, accelerator, level):
            within = mask & ledger.domains[level][domain].mask
            spread = fill(need, within, room) if within else None
            if spread is not None:
                return spread
    return None if outermost >= 0 else fill(need, mask, room)


def _tightest_first(ledger: Ledger, need: Need, accelerator: str, level: int) -> Iterator[int]:
    """Domains of a level that may hold the gang, those with the fewest free devices first."""
    if need.milli < MILLI:
        yield from range(len(ledger.domains[level]))
        return
    by_free = ledger.by_free(level, accelerator)
    for free in sorted(free for free in by_free if free * MILLI >= need.devices):
        yield from bits(by_free[free])


def fill(need: Need, mask: int, room: Callable[[int], int]) -> Spread | None:
    """All workers on as few of these nodes as can be; the last part goes where least is left over."""
    if mask.bit_count() * need.per_node < need.workers:
        return None
    rooms: dict[int, list[int]] = {}
    found = 0
    for index in bits(mask):
        has = room(index)
        if has:
            rooms.setdefault(has, []).append(index)
            found += has
            if len(rooms) == 1 and found >= need.workers and has == 1:
                break  # every node so far takes one: as good as any
    if found < need.workers:
        return None
    spread: Spread = []
    left = need.workers
    for has in sorted(rooms, reverse=True):
        for index in rooms[has]:
            if left <= has:
                least = min((each for each in rooms if each >= left and _unused(rooms[each], spread)), default=has)
                spread.append((_unused(rooms[least], spread)[0], left))
                return spread
            spread.append((index, has))
            left -= has
    return None


def _on_one_node(ledger: Ledger, need: Need, accelerator: str, mask: int, room: Callable[[int], int]) -> Spread | None:
    """The whole gang on the node with least room that has enough, if there is one."""
    if need.milli >= MILLI:
        for exact in ledger.devices[accelerator].exact[need.devices // MILLI :]:
            for index in islice(bits(mask & exact), _ONE_NODE_TRIES):
                if room(index) >= need.workers:
                    return [(index, need.workers)]
        return None
    best, least = -1, 1 << 30
    for index in islice(bits(mask), _ONE_NODE_TRIES):
        has = room(index)
        if need.workers <= has < least:
            best, least = index, has
    return None if best < 0 else [(best, need.workers)]


def _room(ledger: Ledger, need: Need, accelerator: str, index: int) -> int:
    return need.room(ledger, index, accelerator)


_ONE_NODE_TRIES = 512
"""So many nodes are looked at for one that holds the whole gang."""


def _unused(indexes: list[int], spread: Spread) -> list[int]:
    used = {index for index, _ in spread}
    return [index for index in indexes if index not in used]


def _first_with_room(ledger: Ledger, need: Need, accelerator: str, mask: int) -> int:
    for index in bits(mask):
        if ledger.fits(index, need.cpus, need.memory, accelerator, need.milli):
            return index
    return -1


def _least_whole(ledger: Ledger, need: Need, accelerator: str, avoid: int) -> int:
    """The node with the fewest unused devices that has room. Mostly the very first has: cpus and memory are looked up in
    the sets of nodes only if it has not."""
    devices = ledger.devices.get(accelerator)
    if devices is None:
        return -1
    usable = need.nodes_up(ledger, avoid)
    has_all = 0
    for exact in islice(devices.exact, need.milli // MILLI, None):
        if not exact or not (mask := exact & usable):
            continue
        if not has_all:
            machine = ledger.machines[lowest(mask)]
            if machine.cpus_free >= need.cpus and machine.memory_free >= need.memory:
                return machine.index
            has_all = ledger.with_room(need.cpus, need.memory, accelerator, need.milli)
            if not has_all:
                return -1
        found = _first_with_room(ledger, need, accelerator, mask & has_all)
        if found >= 0:
            return found
    return -1


def _least_part(ledger: Ledger, need: Need, accelerator: str, mask: int) -> int:
    """The node whose fullest sufficient device has least left; an unused device is the last choice."""
    best, least = -1, MILLI + 1
    used = mask & ledger.devices[accelerator].parts[max(need.milli * 20 // MILLI, 1)]
    for index in bits(used):
        if not ledger.fits(index, need.cpus, need.memory, accelerator, need.milli):
            continue
        left = min(
            (free for free in ledger.machines[index].devices[accelerator] if need.milli <= free < MILLI),
            default=MILLI + 1,
        )
        if left < least:
            best, least = index, left
    if best >= 0:
        return best
    for exact in ledger.devices[accelerator].exact[1:]:
        found = _first_with_room(ledger, need, accelerator, mask & exact)
        if found >= 0:
            return found
    return -1


def _least_cpus(ledger: Ledger, need: Need, mask: int) -> int:
    """Work without devices goes to a node without devices if there is one, so that devices keep their cpus."""
    with_devices = 0
    for devices in ledger.devices.values():
        with_devices |= devices.unused(1)
    for some in (mask & ~with_devices, mask & with_devices):
        found = _first_with_room(ledger, need, "", some)
        if found >= 0:
            return found
    return -1


def possible_types(job: Job, known: Iterable[str]) -> tuple[str, ...]:
    """Types of the cluster a job may use, in its own order of preference, else in that of the cluster."""
    everything = tuple(known)
    return tuple(name for name in job.types if name in everything) if job.types else everything
