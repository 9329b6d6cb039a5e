"""A journal played again: the state it leads to, with each decision made anew and compared with the one that was written."""

from collections.abc import Iterable

from sill.core.errors import Conflict
from sill.scheduler.decide import choose
from sill.scheduler.folding import happen
from sill.scheduler.state import State
from sill.scheduler.types import Cluster, Policy, Queue, Step


def replay(cluster: Cluster, policy: Policy, queues: Iterable[Queue], journal: Iterable[Step]) -> State:
    """The state after a journal; what it remembers beside jobs and nodes (when to look again, what was tried in vain) too.

    Raises:
        Conflict: a decision differs from the journal's, which another policy or another version of it has written.
    """
    state = State(cluster, policy, queues)
    for number, step in enumerate(journal):
        happen(state, step.event, step.now_us)
        if step.is_decided and (actions := tuple(choose(state))) != step.actions:
            raise Conflict(
                f"step {number} of the journal decided on {len(step.actions)} actions, policy {policy.name!r} now on "
                f"{len(actions)} or others.",
                fix="Replay it with the policy and the version of Sill that wrote it.",
            )
    return state
