"""Where a gang goes: which nodes, how many of its workers on each. Which node is best is a plug-in (`Fit`).

One worker goes to the node with least left over (best fit). A gang goes to the smallest domain that holds all of it:
one node, else the rack with least left over, and so outwards; a gang that says `level` never leaves that domain.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice
from typing import Protocol

from sill.core.errors import NotFound
from sill.scheduler.ledger import DEVICES_MAX, MILLI, Ledger, bits
from sill.scheduler.types import Job

Spread = list[tuple[int, int]]
"""Nodes by index, and how many workers each gets."""


class Need:
    """What each job of one equivalence class asks for; one answer about room serves them all.

    Attributes:
        milli: accelerator need of one worker in thousandths.
        types: accelerator types it may use, the best first; `("",)` for a gang without accelerators.
        is_blocked: no place was found, and nothing was freed since that could change it.
    """

    __slots__ = (
        *("cpus", "generation", "index", "is_blocked", "key", "labels", "level", "memory", "milli"),
        *("per_node", "places", "static", "types", "workers"),
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
        self.static = 0
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
        return self.static

    def room(self, ledger: Ledger, index: int, accelerator: str) -> int:
        """Workers that fit on one node now."""
        return ledger.fits(index, self.cpus, self.memory, accelerator, self.milli)

    def candidates(self, ledger: Ledger, accelerator: str, avoid: int) -> int:
        """Nodes that may have room for a worker; a few may turn out not to have it."""
        return ledger.with_room(self.cpus, self.memory, accelerator, self.milli) & self.nodes(ledger) & ~avoid


def need_key(job: Job) -> tuple[object, ...]:
    """Jobs with the same key are placed alike."""
    return (
        *(job.workers, job.cpus, job.memory_bytes, job.accelerators, job.types, job.capabilities),
        *(tuple(sorted(job.labels.items())), job.level, job.places),
    )


class Fit(Protocol):
    """Chooses the node for one worker."""

    def __call__(self, ledger: Ledger, need: Need, accelerator: str, mask: int) -> int:
        """Index of a node of the mask with room for a worker, or -1."""
        ...


def best_fit(ledger: Ledger, need: Need, accelerator: str, mask: int) -> int:
    """The node with the fewest free devices that has room; without devices, one that has none, then fewest cpus."""
    if not need.milli:
        return _least_cpus(ledger, need, mask)
    whole = ledger.devices[accelerator].whole
    if need.milli < MILLI:
        return _least_part(ledger, need, accelerator, mask)
    for wanted in range(need.milli // MILLI, len(whole) - 1):
        found = _first_with_room(ledger, need, accelerator, mask & whole[wanted] & ~whole[wanted + 1])
        if found >= 0:
            return found
    return -1


def first_fit(ledger: Ledger, need: Need, accelerator: str, mask: int) -> int:
    """The first node that has room."""
    return _first_with_room(ledger, need, accelerator, mask)


def worst_fit(ledger: Ledger, need: Need, accelerator: str, mask: int) -> int:
    """The node with the most free devices, which spreads work out."""
    if not need.milli:
        return _first_with_room(ledger, need, accelerator, mask)
    whole = ledger.devices[accelerator].whole
    for wanted in range(len(whole) - 2, -1, -1):
        found = _first_with_room(ledger, need, accelerator, mask & whole[wanted] & ~whole[wanted + 1])
        if found >= 0:
            return found
    return -1


FITS: dict[str, Fit] = {"best_fit": best_fit, "first_fit": first_fit, "worst_fit": worst_fit}


def named(name: str) -> Fit:
    """The placement plug-in of that name.

    Raises:
        NotFound: there is none.
    """
    if name not in FITS:
        raise NotFound(f"no placement {name!r}.", fix=f"There are {', '.join(sorted(FITS))}.", field="placement")
    return FITS[name]


def place(ledger: Ledger, need: Need, types: Iterable[str], avoid: int, fit: Fit) -> tuple[str, Spread] | None:
    """Where the whole gang fits now outside `avoid`, with the accelerator type, or None."""
    for accelerator in types:
        mask = need.candidates(ledger, accelerator, avoid)
        if not mask:
            continue
        if need.workers == 1:
            found = fit(ledger, need, accelerator, mask)
            if found >= 0:
                return accelerator, [(found, 1)]
            continue
        spread = gang(ledger, need, accelerator, mask, partial(_room, ledger, need, accelerator))
        if spread is not None:
            return accelerator, spread
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
    by_free = ledger.domains_by_free[level].get(accelerator, {})
    for free in sorted(by_free):
        if free * MILLI >= need.devices:
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
        whole = ledger.devices[accelerator].whole
        wanted = need.devices // MILLI
        mask &= whole[wanted] if wanted < len(whole) else 0
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
    whole = ledger.devices[accelerator].whole
    for wanted in range(1, len(whole) - 1):
        found = _first_with_room(ledger, need, accelerator, mask & whole[wanted] & ~whole[wanted + 1])
        if found >= 0:
            return found
    return -1


def _least_cpus(ledger: Ledger, need: Need, mask: int) -> int:
    """Work without devices goes to a node without devices if there is one, so that devices keep their cpus."""
    with_devices = 0
    for devices in ledger.devices.values():
        with_devices |= devices.whole[1]
    for some in (mask & ~with_devices, mask & with_devices):
        found = _first_with_room(ledger, need, "", some)
        if found >= 0:
            return found
    return -1


def possible_types(job: Job, known: Iterable[str]) -> tuple[str, ...]:
    """Types of the cluster a job may use, in its own order of preference, else in that of the cluster."""
    everything = tuple(known)
    return tuple(name for name in job.types if name in everything) if job.types else everything
