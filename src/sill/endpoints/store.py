"""Endpoints in the database, and the number that says whether the serving plan changed."""

from sqlalchemy import Connection, or_, select

from sill.endpoints.types import Endpoint
from sill.stores.database import Documents
from sill.stores.database.schema import events

ENDPOINTS: Documents[Endpoint] = Documents("endpoints", Endpoint, columns=("model",))

PLAN_KINDS = ("endpoint.", "revision.", "token.", "project.deleted", "model.version_deleted")
"""Events that may change the serving plan; a kind that ends in `.` stands for all its verbs."""


def plan_revision(connection: Connection, since: int) -> int:
    """The place in the log of the newest event that may have changed the plan; `since` if there is none behind it.

    An event commits together with its change, so this number moves exactly when the plan can have moved, whichever
    stage made the change.
    """
    exact = [kind for kind in PLAN_KINDS if not kind.endswith(".")]
    prefixes = [events.c.kind.startswith(kind, autoescape=True) for kind in PLAN_KINDS if kind.endswith(".")]
    query = (
        select(events.c.seq)
        .where(events.c.seq > since, or_(events.c.kind.in_(exact), *prefixes))
        .order_by(events.c.seq.desc())
        .limit(1)
    )
    found = connection.execute(query).scalar()
    return since if found is None else int(found)
