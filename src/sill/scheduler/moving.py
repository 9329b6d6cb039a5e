"""Which running jobs go elsewhere so that a gang that fits in all fits in one place. A pure search: moving is done elsewhere.

Only work that goes on where it was (`can_checkpoint`) and may be stopped is moved, the cheapest first, each to a place that
is free now; and only if what that loses is small beside what the gang would wait for otherwise.
"""

from functools import partial
from typing import NamedTuple

from sill.scheduler.entries import Entry
from sill.scheduler.ledger import Ledger
from sill.scheduler.machines import MILLI, pick_devices
from sill.scheduler.placement import Need, Spread, gang
from sill.scheduler.preemption import find_victims, loss, may_stop
from sill.scheduler.state import State

MOVES_MAX = 32
"""So many jobs at most are moved for one."""
MOVABLE_MAX = 2_048
"""So many running jobs are looked at, the cheapest to move first."""
REST_S = 600.0
"""A job that just started is not moved: it may have been moved itself."""


class Moves(NamedTuple):
    """Where the gang goes, and where those go that are there now."""

    accelerator: str
    spread: Spread
    moved: list[tuple[Entry, Spread]]


def make_room(state: State, entry: Entry, waits_s: float) -> Moves | None:
    """Jobs to move so that the gang has room, or None.

    Args:
        waits_s: how long it would wait otherwise; moving loses at most `Policy.moves` of that times its devices.
    """
    may_lose = state.policy.moves * waits_s * entry.devices
    kept = state.kept_by_others(entry)
    if not any(_fits_in_all(state.ledger, entry.need, name, kept) for name in entry.need.types):
        return None
    movable = [each for each in state.running.values() if _is_movable(state, each)]
    movable.sort(key=lambda each: (loss(each, state.now_us), each.devices, each.number))
    found = find_victims(state, entry, movable[:MOVABLE_MAX], lambda each: True)
    if found is None:
        return None
    accelerator, spread, victims = found
    lost = sum(loss(each, state.now_us) for each in victims)
    if not victims or len(victims) > MOVES_MAX or lost > may_lose:
        return None
    moved = _elsewhere(state, victims, kept, spread)
    return None if moved is None else Moves(accelerator, spread, moved)


def _is_movable(state: State, entry: Entry) -> bool:
    job = entry.job
    rests = state.now_us - entry.started_us < REST_S * 1e6
    is_elastic = job.id in state.elastic  # it is made smaller instead
    return job.can_checkpoint and not rests and not is_elastic and may_stop(entry, state.now_us)


def _fits_in_all(ledger: Ledger, need: Need, accelerator: str, kept: int) -> bool:
    """True if as many devices are free as the gang asks for, wherever they are."""
    if not need.milli:
        return True
    usable, devices = need.nodes_up(ledger, kept), ledger.devices.get(accelerator)
    if devices is None:
        return False
    free = sum(many * (exact & usable).bit_count() for many, exact in enumerate(devices.exact))
    return free * MILLI >= need.devices or need.milli < MILLI


def _elsewhere(state: State, victims: list[Entry], kept: int, spread: Spread) -> list[tuple[Entry, Spread]] | None:
    """A place that is free now for each of them, outside the gang's nodes, the largest first; None if one has none."""
    taken = _Taken(state.ledger)
    for index, _ in spread:
        kept |= 1 << index
    moved: list[tuple[Entry, Spread]] = []
    for entry in sorted(victims, key=lambda each: (-each.devices, each.number)):
        mask = entry.need.candidates(state.ledger, entry.accelerator, kept)
        place = gang(
            state.ledger, entry.need, entry.accelerator, mask, partial(taken.room, entry.need, entry.accelerator)
        )
        if place is None:
            return None
        for index, workers in place:
            taken.take(entry.need, entry.accelerator, index, workers)
        moved.append((entry, place))
    return moved


class _Taken:
    """Nodes as they are once some jobs have been moved to them."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._plain: dict[int, tuple[int, int]] = {}
        self._devices: dict[tuple[int, str], list[int]] = {}

    def room(self, need: Need, accelerator: str, index: int) -> int:
        """Workers that fit on the node."""
        cpus, memory = self._left(index)
        rooms = [cpus // need.cpus] if need.cpus else []
        rooms += [memory // need.memory] if need.memory else []
        if need.milli >= MILLI:
            rooms.append(self._free(index, accelerator).count(MILLI) // (need.milli // MILLI))
        elif need.milli:
            rooms.append(sum(left // need.milli for left in self._free(index, accelerator)))
        return max(min(rooms, default=need.workers), 0)

    def take(self, need: Need, accelerator: str, index: int, workers: int) -> None:
        """Workers go there."""
        cpus, memory = self._left(index)
        self._plain[index] = (cpus - need.cpus * workers, memory - need.memory * workers)
        if need.milli:
            free = self._free(index, accelerator)
            for device in pick_devices(free, workers, need.milli):
                free[device] -= min(need.milli, MILLI)

    def _left(self, index: int) -> tuple[int, int]:
        machine = self._ledger.machines[index]
        return self._plain.get(index, (machine.cpus_free, machine.memory_free))

    def _free(self, index: int, accelerator: str) -> list[int]:
        known = self._devices.get((index, accelerator))
        if known is None:
            known = list(self._ledger.machines[index].devices.get(accelerator, ()))
            self._devices[index, accelerator] = known
        return known
