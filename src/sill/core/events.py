"""The event: one change, committed together with what it changed, never altered after."""

from typing import Any

import msgspec


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One change, as it stands in the log.

    Attributes:
        kind: `noun.verb_in_past`, such as `run.finished`.
        project: the tenant; empty for the platform's own events.
        subject: the id or name of the thing that changed.
        actor: who did it (`Actor.id`).
        data: facts about the change; plain JSON, no secret, no payload.
        seq: place in the log, without gaps; 0 until committed.
        at_us: microseconds since 1970 UTC; 0 until committed.
    """

    kind: str
    project: str
    subject: str
    actor: str
    data: dict[str, Any] = {}
    seq: int = 0
    at_us: int = 0
