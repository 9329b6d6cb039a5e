"""Queues and bookings in the database."""

from sqlalchemy import Connection, func, select

from sill.queues.types import BookingSpec, Declared, QueueSpec
from sill.stores.database import Documents

QUEUES: Documents[QueueSpec] = Documents("queues", QueueSpec)
BOOKINGS: Documents[BookingSpec] = Documents("bookings", BookingSpec)


def declared(connection: Connection) -> Declared:
    """All that is declared."""
    return Declared(
        queues=tuple(QUEUES.every(connection)),
        bookings=tuple(BOOKINGS.every(connection)),
        version=version(connection),
    )


def version(connection: Connection) -> str:
    """A text that is another one after each change of a queue: what was decided on an older one is not to be begun."""
    t = QUEUES.table
    row = connection.execute(
        select(func.count(), func.coalesce(func.sum(t.c.revision), 0), func.coalesce(func.max(t.c.updated_us), 0))
    ).one()
    return ".".join(str(part) for part in row)
