"""Nodes kept for a gang that others would overtake for ever: which nodes, from when, and who may use them until then.

A reservation names concrete nodes: those predicted to be free first, in one domain if the gang asks for that, the cheapest
to clear among equals. Until its start others may use them if they are predicted to end by then, or take only what it
leaves. With `Policy.revokes` what still runs at the start is stopped, so that wrong predictions delay nobody.
Sources: Lifka 1995 and Mu'alem and Feitelson, TPDS 2001 (EASY and conservative backfilling).
"""

from sill.scheduler.entries import Entry, Phase, Reservation
from sill.scheduler.ledger import bits
from sill.scheduler.placement import Spread
from sill.scheduler.preemption import Freed, loss
from sill.scheduler.state import State

NODES_LOOKED_AT = 1_024
"""So many nodes are compared for one reservation, those with the most free devices first."""
HIGH = 0.9
FOREVER_S = 1e9


def ends_us(state: State, entry: Entry, part: float = 0.5) -> int:
    """When a job ends that runs, or that would start now, by prediction."""
    had_s = entry.work_us(state.now_us) / 1e6
    left_s = state.predictor.left_s(entry.job, had_s, part)
    if entry.phase is not Phase.RUNNING and entry.attempt:
        left_s += entry.job.restart_s
    return state.now_us + round(left_s * 1e6)


def plan(state: State, entry: Entry) -> Reservation | None:
    """The reservation with the earliest start, or None if the gang fits on no nodes that take new work."""
    best: Reservation | None = None
    for accelerator in entry.need.types:
        found = _plan_on(state, entry, accelerator)
        if found is not None and (best is None or found.start_us < best.start_us):
            best = found
    return best


def allows(state: State, entry: Entry, ends: int) -> int:
    """Kept nodes that a job may use that would end then."""
    mask = 0
    for kept in state.reservations.values():
        if ends <= kept.start_us and not kept.victims:
            mask |= kept.mask
        else:
            need = entry.need
            for index, (cpus, memory, milli) in kept.slack.items():
                if cpus >= need.cpus and memory >= need.memory and milli >= need.milli:
                    mask |= 1 << index
    return mask


def use_slack(state: State, entry: Entry, spread: Spread, ends: int) -> None:
    """A job that outlasts the start of a reservation took some of what that one leaves."""
    for kept in state.reservations.values():
        if ends > kept.start_us:
            for index, workers in spread:
                if index in kept.slack:
                    need, (cpus, memory, milli) = entry.need, kept.slack[index]
                    left = (cpus - need.cpus * workers, memory - need.memory * workers, milli - need.milli * workers)
                    kept.slack[index] = left


def _plan_on(state: State, entry: Entry, accelerator: str) -> Reservation | None:
    need, ledger = entry.need, state.ledger
    allowed = need.nodes_up(ledger, state.kept_by_others(entry))
    level = ledger.levels.index(need.level) if need.level in ledger.levels else -1
    drain_s = state.policy.drain_s or FOREVER_S
    latest_us = state.now_us + round(drain_s * 1e6)
    by_domain: dict[int, list[tuple[int, float, int]]] = {}
    for index in _most_free_first(state, accelerator, allowed):
        domain = index if need.level == "node" else ledger.machines[index].domains[level] if level >= 0 else 0
        by_domain.setdefault(domain, []).extend(
            (min(ready_us, latest_us), cost, index) for ready_us, cost in _rooms(state, entry, accelerator, index)
        )
    chosen: list[tuple[int, float, int]] | None = None
    for rooms in by_domain.values():
        if len(rooms) >= need.workers:
            first = sorted(rooms)[: need.workers]
            if chosen is None or (first[-1][0], sum(each[1] for each in first)) < (
                chosen[-1][0],
                sum(each[1] for each in chosen),
            ):
                chosen = first
    if chosen is None:
        return None
    spread: dict[int, int] = {}
    for _, _, index in chosen:
        spread[index] = spread.get(index, 0) + 1
    made = Reservation(entry, accelerator, sorted(spread.items()), max(chosen[-1][0], state.now_us), state.now_us)
    made.slack = _slack(state, entry, made)
    return made


def _most_free_first(state: State, accelerator: str, allowed: int) -> list[int]:
    """At most `NODES_LOOKED_AT` of the allowed nodes that have such devices at all."""
    devices = state.ledger.devices.get(accelerator)
    if devices is None:
        return [index for index, _ in zip(bits(allowed), range(NODES_LOOKED_AT), strict=False)]
    found: list[int] = []
    for exact in reversed(devices.exact):
        for index in bits(exact & allowed):
            found.append(index)
            if len(found) >= NODES_LOOKED_AT:
                return found
    return found


def _rooms(state: State, entry: Entry, accelerator: str, index: int) -> list[tuple[int, float]]:
    """For each worker the node can take: when there is room for it, and what clearing it by force would cost."""
    need, workers = entry.need, entry.need.workers
    freed = Freed(state.ledger, need, accelerator)
    found = [(state.now_us, 0.0)] * min(freed.room(index), workers)
    if len(found) >= workers:
        return found
    cost = 0.0
    here = [state.entries[name] for name in state.ledger.machines[index].jobs]
    for ends, number in sorted((ends_us(state, each), at) for at, each in enumerate(here)):
        freed.change(index, here[number].slot_on(state.ledger.machines[index].spec.name), here[number], 1)
        cost += loss(here[number], state.now_us)
        room = min(freed.room(index), workers)
        found += [(ends, cost)] * (room - len(found))
    return found


def _slack(state: State, entry: Entry, made: Reservation) -> dict[int, tuple[int, int, int]]:
    """What will be free on each of its nodes at the start, beyond what it takes."""
    found: dict[int, tuple[int, int, int]] = {}
    need = entry.need
    for index, workers in made.spread:
        machine = state.ledger.machines[index]
        cpus, memory = machine.cpus_free, machine.memory_free
        milli = sum(machine.devices.get(made.accelerator, ()))
        for name in machine.jobs:
            each = state.entries[name]
            if ends_us(state, each) <= made.start_us:
                many = each.slot_on(machine.spec.name).workers
                cpus += each.need.cpus * many
                memory += each.need.memory * many
                milli += each.need.milli * many if each.accelerator == made.accelerator else 0
        left = (cpus - need.cpus * workers, memory - need.memory * workers, milli - need.milli * workers)
        if any(left):
            found[index] = left
    return found
