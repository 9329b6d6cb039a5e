"""What the board reads of the database: all there is at the beginning, and then what the log says has changed."""

from sqlalchemy import Connection

from sill.core.values import Value
from sill.queues.service import declared
from sill.queues.types import Declared
from sill.runs import rules, store
from sill.runs.store import RUNS
from sill.runs.types import Run
from sill.stores.database.chain import read_head
from sill.stores.log import events_after

CHANGES = ("run.submitted", "run.started", "run.retried")
ENDS = ("run.finished", "run.failed", "run.cancelled")
"""A run that ended stays so: nothing more has to be read of it."""
DECLARATIONS = ("queue.set", "queue.deleted", "booking.made", "booking.cancelled")
EVENTS_AT_ONCE = 1_000
LEARNED_MAX = 500
"""Run times of so many runs that ended before are learned at the start."""


class News(Value, frozen=True):
    """What was committed up to `seq`: runs as they are now, those that are over (and whether they finished), declarations
    if they changed, and whether there is more."""

    seq: int
    changed: list[Run]
    over: dict[str, bool]
    declared: Declared | None
    is_more: bool


def beginning(connection: Connection) -> tuple[News, list[Run]]:
    """All runs that wait or run, the oldest first, and some that ended well."""
    head = read_head(connection)[0]
    active = sorted(store.active(connection), key=lambda run: (run.created_us, run.id))
    return News(head, active, {}, declared(connection), False), store.ended_well(connection, LEARNED_MAX)


def since(connection: Connection, seq: int, knows: dict[str, int]) -> News:
    """What was committed behind `seq`.

    Args:
        knows: the running attempt of each run that is known to run; what only says so again is not read.
    """
    head = read_head(connection)[0]
    if head <= seq:
        return News(seq, [], {}, None, False)
    found = events_after(connection, seq, "", (*CHANGES, *ENDS, *DECLARATIONS), EVENTS_AT_ONCE, up_to=head)
    named: dict[str, str] = {}
    over: dict[str, bool] = {}
    for event in found:
        if event.kind in ENDS:
            over[event.subject] = event.kind == "run.finished"
            named.pop(event.subject, None)
        elif event.kind in CHANGES and event.data.get("kind") in rules.KINDS:
            is_known = event.kind == "run.started" and knows.get(event.subject, -1) == event.data.get("attempt")
            if not is_known and event.subject not in over:
                named[event.subject] = event.project
    read = RUNS.find_many(connection, [(project, run_id) for run_id, project in named.items()])
    changed = [run for run_id, project in named.items() if (run := read.get((project, run_id))) is not None]
    over |= {run_id: False for run_id, project in named.items() if (project, run_id) not in read}
    is_declared = any(event.kind in DECLARATIONS for event in found)
    is_more = len(found) == EVENTS_AT_ONCE
    return News(
        found[-1].seq if is_more else head, changed, over, declared(connection) if is_declared else None, is_more
    )
