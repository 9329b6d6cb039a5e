"""A second state that goes on from the first without touching it: for forecasts and what-ifs.

What was learned of run times is shared, not copied: whoever runs a fork forward lets nothing end "with success".
"""

from copy import copy

from sill.scheduler.entries import Entry, Phase, Reservation
from sill.scheduler.state import State
from sill.scheduler.types import Cluster, Policy, Site


def fork(state: State, policy: Policy | None = None) -> State:
    """The same nodes, queues and jobs, where they stand; under another policy if one is given."""
    ledger = state.ledger
    other = State(cluster_of(state), policy or state.policy, [node.spec for node in state.tree.by_name.values()])
    other.now_us, other.ends = state.now_us, state.ends
    other.predictor = state.predictor
    if policy is None:
        other.order = copy(state.order)
    for machine in ledger.machines:
        if not machine.bit & ledger.up:
            other.ledger.leave(other.ledger.by_name[machine.spec.name])
    for entry in state.entries.values():
        _add(other, entry)
    for kept in state.reservations.values():
        _keep(state, other, kept)
    if policy is None:
        other.fit = state.fit  # last: jobs that are added here would teach it twice
    return other


def cluster_of(state: State) -> Cluster:
    """The machines a state knows, those that left too."""
    ledger = state.ledger
    return Cluster(
        nodes=tuple(machine.spec for machine in ledger.machines),
        types=tuple(state.types.values()),
        sites=tuple(Site(name=name, place=place) for name, place in ledger.places.items()),
        levels=ledger.levels,
    )


def _add(other: State, entry: Entry) -> None:
    """The job, as far as it has come."""
    copy = other.admit(entry.job)
    copy.attempt, copy.attained_us, copy.front = entry.attempt, entry.attained_us, entry.front
    copy.lost_at, copy.going_on = entry.lost_at, entry.going_on
    copy.preemptions, copy.for_job, copy.is_withdrawn = entry.preemptions, entry.for_job, entry.is_withdrawn
    if entry.phase in (Phase.RUNNING, Phase.STOPPING):
        other.restore(copy, entry.accelerator, entry.placed)
        copy.attempt, copy.started_us, copy.saved_us = entry.attempt, entry.started_us, entry.saved_us
        copy.pays_start, copy.is_promised = entry.pays_start, entry.is_promised
        if other.policy.preempts:
            other.watch_index(copy)
    elif entry.phase is Phase.AWAY:
        other.defer(copy, entry.away_us)
    else:
        other.return_to_line(copy, entry.waiting_us)


def _keep(state: State, other: State, kept: Reservation) -> None:
    index = {at: other.ledger.by_name[state.ledger.machines[at].spec.name] for at, _ in kept.spread}
    spread = [(index[at], workers) for at, workers in kept.spread]
    copy = Reservation(other.entries[kept.entry.job.id], kept.accelerator, spread, kept.start_us, kept.made_us)
    copy.slack = {index[at]: left for at, left in kept.slack.items()}
    other.keep(copy)
