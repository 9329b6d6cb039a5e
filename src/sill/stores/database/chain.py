"""The hash chain of the log: each event's hash covers its fields and the hash of the event before it."""

import hashlib

import msgspec
from sqlalchemy import Connection, select

from sill.core.events import Event
from sill.stores.database.schema import events
from sill.stores.database.sql import insert_rows

GENESIS_HASH = "0" * 64
_COLUMNS = ("seq", "at_us", "project", "kind", "subject", "actor", "data", "hash")


def event_hash(before: str, change: Event) -> str:
    """SHA-256 over the hash of the event before and all fields of this one."""
    return row_hash(before, change, msgspec.json.encode(change.data, order="deterministic").decode())


def row_hash(before: str, change: Event, data: str) -> str:
    """The same with the data in the form it is stored in, so that what is verified is what is stored."""
    fields = [change.seq, change.at_us, change.project, change.kind, change.subject, change.actor, data]
    return hashlib.sha256(before.encode() + msgspec.json.encode(fields)).hexdigest()


def read_head(connection: Connection) -> tuple[int, str]:
    """Number and hash of the last event; 0 and the genesis hash when there is none."""
    row = connection.execute(select(events.c.seq, events.c.hash).order_by(events.c.seq.desc()).limit(1)).first()
    return (row.seq, row.hash) if row else (0, GENESIS_HASH)


def append(connection: Connection, emitted: list[Event], head: tuple[int, str], now_us: int) -> tuple[int, str]:
    """Write the events behind the head; returns the new head."""
    seq, chain = head
    rows = []
    for event in emitted:
        seq += 1
        change = msgspec.structs.replace(event, seq=seq, at_us=now_us)
        data = msgspec.json.encode(change.data, order="deterministic").decode()
        chain = row_hash(chain, change, data)
        rows.append((seq, now_us, change.project, change.kind, change.subject, change.actor, data, chain))
    insert_rows(connection, events, _COLUMNS, rows)
    return seq, chain
