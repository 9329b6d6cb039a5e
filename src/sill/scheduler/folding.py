"""How the state changes with what happened: one half of a step of the journal. The other half is decided (`decide`).

Events may come twice, late or out of order: an attempt that is not the running one changes nothing. Time never runs
backwards: an earlier time than the last is taken as the last.
"""

from collections.abc import Iterable

from sill.scheduler.carbon import Prices
from sill.scheduler.entries import Entry, Phase
from sill.scheduler.state import State
from sill.scheduler.types import (
    Checkpointed,
    Ended,
    Event,
    NodeJoined,
    NodeLeft,
    Observed,
    Priced,
    QueuesSet,
    Running,
    Slot,
    Stopped,
    Submitted,
    Withdrawn,
)


def happen(state: State, event: Event, now_us: int) -> None:
    """Take in what happened."""
    state.now_us = max(state.now_us, now_us)
    match event:
        case Submitted(job=job):
            if job.id not in state.entries:
                state.enqueue(state.admit(job))
        case Ended():
            _ended(state, event)
        case Stopped():
            _stopped(state, event)
        case Withdrawn(job_id=job_id):
            _withdrawn(state, job_id)
        case Checkpointed():
            entry = state.running.get(event.job_id)
            if entry is not None and entry.attempt == event.attempt:
                entry.saved_us = state.now_us
        case Observed(job=job, runtime_s=runtime_s):
            state.predictor.learn(job, runtime_s)
            state.fit.learn(state.need(job))
        case Running():
            _found_running(state, event)
        case NodeJoined(node=node):
            state.join(node)
        case NodeLeft():
            _left(state, event)
        case QueuesSet(queues=queues):
            for name in list(state.claims):
                state.unclaim(state.entries[name])
            state.tree.declare(queues)
            for line in state.lines:
                line.barred = None
        case Priced():
            state.price(event.place, Prices(event.start_us, event.slot_s, event.values))
        case _:
            pass
    _pass_time(state)


def stop(state: State, job_id: str, for_job: str) -> None:
    """A running job is being stopped. One stopped at a reservation's start goes to the front of its line again."""
    entry = state.entries[job_id]
    entry.phase = Phase.STOPPING
    entry.for_job = for_job
    kept = state.reservations.get(for_job)
    if kept is not None:
        kept.victims.add(job_id)
        entry.front = -1 if kept.made_us < state.now_us else 0
    elif for_job in state.entries:
        state.claim(state.entries[for_job], entry.accelerator)


def settle(state: State) -> None:
    """Forget what was freed: the decision has seen it."""
    state.touched = 0
    state.loosened.clear()


def slots_of(state: State, spread: Iterable[tuple[int, int]]) -> tuple[Slot, ...]:
    """A spread by the names of its nodes; devices are given at the start."""
    return tuple(Slot(state.ledger.machines[index].spec.name, workers) for index, workers in spread)


def _ended(state: State, event: Ended) -> None:
    entry = state.running.get(event.job_id)
    if entry is None or entry.attempt != event.attempt:
        return
    work_s = entry.work_us(state.now_us) / 1e6
    state.ends += 1
    _gone(state, entry)
    state.vacate(entry)
    state.forget(entry)
    if event.is_success:
        state.predictor.learn(entry.job, work_s)
        state.order.learn(entry, work_s)


def _stopped(state: State, event: Stopped) -> None:
    entry = state.running.get(event.job_id)
    if entry is None or entry.attempt != event.attempt:
        return
    entry.attained_us = max(entry.work_us(state.now_us) - round(event.lost_s * 1e6), 0)
    _gone(state, entry)
    state.vacate(entry)
    if entry.is_withdrawn:
        state.forget(entry)
        return
    if entry.phase is Phase.STOPPING:
        entry.preemptions += 1
        if event.lost_s:
            entry.lost_at = state.ends
    if event.not_before_us > state.now_us:
        state.defer(entry, event.not_before_us)
    else:
        state.enqueue(entry)


def _gone(state: State, entry: Entry) -> None:
    """Nobody waits for its end any more."""
    for kept in state.reservations.values():
        kept.victims.discard(entry.job.id)
    if entry.for_job in state.claims:
        state.unclaim(state.entries[entry.for_job])


def _withdrawn(state: State, job_id: str) -> None:
    entry = state.entries.get(job_id)
    if entry is None:
        return
    if entry.phase in (Phase.RUNNING, Phase.STOPPING):
        entry.is_withdrawn = True
        return
    state.dequeue(entry)
    state.forget(entry)


def _found_running(state: State, event: Running) -> None:
    entry = state.entries.get(event.job.id)
    if entry is None:
        entry = state.admit(event.job)
        entry.phase = Phase.AWAY
    if entry.phase in (Phase.RUNNING, Phase.STOPPING):
        return
    state.restore(entry, event.accelerator, event.slots)
    entry.attempt = event.attempt
    entry.started_us = event.started_us or state.now_us
    entry.attained_us = round(event.attained_s * 1e6)


def _left(state: State, event: NodeLeft) -> None:
    index = state.ledger.by_name.get(event.name)
    if index is None:
        return
    state.ledger.leave(index)
    for kept in list(state.reservations.values()):
        if kept.mask >> index & 1:
            state.unkeep(kept.entry.job.id)
    if event.is_lost:
        state.lost.update(state.ledger.machines[index].jobs)


def _pass_time(state: State) -> None:
    """What was to happen by now."""
    for at_us, what in state.due():
        entry = state.entries.get(what)
        if entry is None:
            continue
        if entry.phase is Phase.AWAY:
            if entry.away_us <= state.now_us:
                state.return_to_line(entry)
        elif entry.phase is Phase.WAITING:
            state.look_at_waiting(entry)
        elif entry.phase is Phase.RUNNING and entry.changes_us == at_us:
            state.watch_index(entry)
