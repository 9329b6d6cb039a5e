"""The tables every stage shares. Each stage declares its own beside its queries, on the same metadata."""

from sqlalchemy import BigInteger, Column, Index, MetaData, String, Table, Text
from sqlalchemy.types import TypeEngine

metadata = MetaData(
    naming_convention={  # migrations name what they change, the same on both databases
        "pk": "%(table_name)s_pkey",
        "fk": "%(table_name)s_%(column_0_name)s_fkey",
        "uq": "%(table_name)s_%(column_0_name)s_key",
        "ix": "%(table_name)s_%(column_0_name)s",
        "ck": "%(table_name)s_%(constraint_name)s_check",
    }
)


def key_type(length: int) -> TypeEngine[str]:
    """Text that is sorted and compared by its bytes on every database, whatever language the server speaks."""
    return String(length).with_variant(String(length, collation="C"), "postgresql")


events = Table(
    "events",
    metadata,
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("at_us", BigInteger, nullable=False),
    Column("project", String(100), nullable=False),
    Column("kind", String(100), nullable=False),
    Column("subject", String(300), nullable=False),
    Column("actor", String(100), nullable=False),
    Column("data", Text, nullable=False),
    Column("hash", String(64), nullable=False),
    Index("events_project_seq", "project", "seq"),
    Index("events_subject_seq", "subject", "seq"),
)
"""The one durable log. `hash` chains each row to the one before it."""

idempotency = Table(
    "idempotency",
    metadata,
    Column("key", String(300), primary_key=True),
    Column("digest", String(64), nullable=False),
    Column("result", Text, nullable=False),
    Column("at_us", BigInteger, nullable=False),
)
"""What a write with an idempotency key answered, so that a repeat answers the same."""

cursors = Table(
    "cursors",
    metadata,
    Column("reader", String(100), primary_key=True),
    Column("seq", BigInteger, nullable=False),
)
"""How far each durable reader of the log has come."""
