"""Carries out what `elastic` plans: starts, grows, shrinks and, for a promised deadline, stops elastic gangs.

A gang that is resized checkpoints and goes on elsewhere or with other workers; that costs it its `restart_s`. Shrinking comes
first, so that what it frees can be given. Devices that the first blocked gang of fixed size waits for are not given away.

Where processes cannot change their number (`Policy.resizes_by_restart`), a gang that runs is stopped instead: it keeps its
place until it is gone, then waits, and goes on with as many workers as are best by then, planned for as one that runs.
"""

from collections.abc import Container

from sill.scheduler.elastic import Plan, Wish, plan
from sill.scheduler.entries import Entry, Phase
from sill.scheduler.folding import stop
from sill.scheduler.locality import NODE
from sill.scheduler.placement import Place, place
from sill.scheduler.state import State
from sill.scheduler.types import Action, Preempt, Resize, Start


def resize(state: State, fresh: Container[str] = ()) -> tuple[list[Action], bool]:
    """Bring all elastic gangs to the sizes that are best now; true if what a promise needs is yet to become free.

    Args:
        fresh: ids of gangs that were started in this same decision, and so run nowhere yet.
    """
    entries = [entry for entry in state.elastic.values() if entry.phase in (Phase.RUNNING, Phase.WAITING)]
    if not entries:
        return [], False
    made = plan([_wish(state, entry) for entry in entries], _room(state, entries))
    wanted = {entry: made.workers[entry.job.id] for entry in entries if entry.job.id in made.workers}
    shrinking = [entry for entry, workers in wanted.items() if 0 < workers < entry.workers]
    growing = [entry for entry, workers in wanted.items() if workers > entry.workers]
    actions: list[Action] = []
    for entry, workers in wanted.items():
        if not workers and entry.phase is Phase.RUNNING:
            stop(state, entry.job.id, "")
            actions.append(
                Preempt(entry.job.id, entry.attempt, "", "others were promised deadlines that need its devices")
            )
    is_short = bool(actions)
    for entry in entries:
        if entry.phase is Phase.RUNNING:
            entry.going_on = 0
    for entry in [*shrinking, *sorted(growing, key=lambda each: (-wanted[each], each.number))]:
        if entry.phase is Phase.WAITING:
            done: Action | None = _start(state, entry, made)
        else:
            is_stopped = state.policy.resizes_by_restart and entry.job.id not in fresh
            done = _change(state, entry, made, is_stopped=is_stopped)
        if done is None:
            is_short = is_short or entry.job.id in made.promised
            continue
        entry.is_promised = entry.is_promised or entry.job.id in made.promised
        actions.append(done)
    return actions, is_short


def _wish(state: State, entry: Entry) -> Wish:
    job, now_us = entry.job, state.now_us
    held = entry.workers or entry.going_on
    return Wish(
        job,
        entry.sizes,
        (entry.accelerator,) if held else entry.need.types,
        held=held,
        left_s=state.predictor.left_s(job, entry.work_us(now_us) / 1e6),
        starting_s=entry.starting_s(now_us) if entry.workers else 0.0,
        until_s=(job.deadline_us - now_us) / 1e6 if job.deadline_us else None,
        is_promised=entry.is_promised,
    )


def _room(state: State, entries: list[Entry]) -> dict[str, int]:
    """Thousandths of devices by type that elastic gangs hold or could have."""
    room = {
        name: sum(
            sum(machine.devices.get(name, ())) for machine in state.ledger.machines if machine.bit & state.ledger.up
        )
        for name in state.ledger.devices
    }
    for entry in entries:
        if entry.phase is Phase.RUNNING:
            room[entry.accelerator] = room.get(entry.accelerator, 0) + entry.need.milli * entry.workers
    heads = [line.head for line in state.lines if line.need.is_blocked and line.head.job.id not in state.elastic]
    if heads:
        first = min(heads, key=lambda each: each.rank)
        for name in first.need.types[:1]:
            room[name] = max(room.get(name, 0) - first.need.devices, 0)
    return room


def _start(state: State, entry: Entry, made: Plan) -> Start | None:
    """Start a gang that waits with as many workers as planned, or none."""
    job_id = entry.job.id
    workers, accelerator = made.workers[job_id], made.types[job_id]
    if not _is_payable(state, entry, accelerator, workers):
        return None
    found = _find(state, entry, accelerator, workers, is_urgent=True)
    if found is None:
        return None
    why = "it goes on" if entry.going_on else "its deadline is promised"
    slots = state.begin(entry, found)
    return Start(job_id, entry.attempt, slots, accelerator, f"{why}, with {workers} workers now")


def _change(state: State, entry: Entry, made: Plan, *, is_stopped: bool) -> Resize | Preempt | None:
    """Give a running gang the planned number of workers, where there is a place for them, or stop it to that end."""
    workers, before = made.workers[entry.job.id], entry.workers
    if workers > before and not _is_payable(state, entry, entry.accelerator, workers - before):
        return None
    held = state.lift(entry)
    found = _find(state, entry, entry.accelerator, workers, is_urgent=entry.is_promised)
    slots = state.put_back(entry, None if is_stopped else found, held)
    if found is None:
        return None
    if is_stopped:
        stop(state, entry.job.id, "")
        entry.going_on = workers
        return Preempt(entry.job.id, entry.attempt, "", f"goes on with {workers} workers instead of {before}")
    reason = "others need its devices" if workers < before else "devices are free, or its deadline needs them"
    return Resize(entry.job.id, entry.attempt, slots, reason)


def _is_payable(state: State, entry: Entry, accelerator: str, workers: int) -> bool:
    return state.tree.over(entry.leaf, state.resources.of_workers(entry.need, accelerator, workers)) is None


def _find(state: State, entry: Entry, accelerator: str, workers: int, *, is_urgent: bool) -> Place | None:
    """A place for so many workers, on one node if one can hold them; apart only if it is urgent or cannot be otherwise."""
    avoid = state.kept_by_others(entry)
    near = state.sized_need(entry, workers, NODE)
    if state.locality.holds(NODE, near):
        found = place(state.ledger, near, (accelerator,), avoid, state.fit)
        if found is not None or not is_urgent:
            return found
    return place(state.ledger, state.sized_need(entry, workers, entry.job.level), (accelerator,), avoid, state.fit)
