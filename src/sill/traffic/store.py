"""The recent requests, indexed for labels and explanations, and the running sums for each revision and phase."""

from collections.abc import Iterable
from typing import Any

import msgspec
from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Index,
    Integer,
    String,
    Table,
    Text,
    delete,
    func,
    insert,
    select,
    update,
)

from sill.stores.database import Documents, Tx, metadata
from sill.traffic.types import RequestRow, RevisionStats

ROWS_KEPT_MAX = 100_000
"""Newest rows of an endpoint that can still be labelled and explained from the index; the lake has all."""
ROWS_READ_MAX = 10_000
ID_LENGTH_MAX = 200
IDS_A_QUERY = 500

STATS: Documents[RevisionStats] = Documents(
    "revision_stats", RevisionStats, key="id", columns=("endpoint",), noun="statistics of revision"
)

recent = Table(
    "recent_requests",
    metadata,
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("project", String(100), nullable=False),
    Column("endpoint", String(100), nullable=False),
    Column("request_id", String(ID_LENGTH_MAX), nullable=False),
    Column("is_shadow", Integer, nullable=False),
    Column("phase", String(40), nullable=False),
    Column("label", String(300), nullable=True),
    Column("doc", Text, nullable=False),
    Index("recent_requests_id", "project", "request_id"),
    Index("recent_requests_endpoint", "project", "endpoint", "seq"),
)
"""One row for each row of a batch, in the order they were recorded. `label` is null until it is known."""


class Labelled(msgspec.Struct, frozen=True):
    """A kept request, and the label it has or had not."""

    seq: int
    phase: str
    label: str | None
    row: RequestRow


def add(tx: Tx, rows: Iterable[tuple[RequestRow, str]]) -> None:
    """Keep rows with their phase, behind all that were kept before."""
    seq = tx.execute(select(func.max(recent.c.seq))).scalar() or 0
    values = [
        {
            "seq": seq + place,
            "project": row.project,
            "endpoint": row.endpoint,
            "request_id": row.request_id,
            "is_shadow": int(row.is_shadow),
            "phase": phase,
            "label": None,
            "doc": msgspec.json.encode(row).decode(),
        }
        for place, (row, phase) in enumerate(rows, start=1)
    ]
    if values:
        tx.execute(insert(recent), values)


def trim(tx: Tx, project: str, endpoint: str) -> None:
    """Let go of an endpoint's rows beyond `ROWS_KEPT_MAX`. The newest always stays, so that `seq` only rises."""
    mine = (recent.c.project == project, recent.c.endpoint == endpoint)
    last = select(recent.c.seq).where(*mine).order_by(recent.c.seq.desc()).offset(ROWS_KEPT_MAX).limit(1)
    seq = tx.execute(last).scalar()
    if seq is not None:
        tx.execute(delete(recent).where(*mine, recent.c.seq <= seq))


def live_after(connection: Connection, project: str, endpoint: str, seq: int, limit: int) -> list[Labelled]:
    """Kept rows of live answers behind `seq`, in order."""
    query = select(recent).where(
        recent.c.project == project, recent.c.endpoint == endpoint, recent.c.seq > seq, recent.c.is_shadow == 0
    )
    return _read(connection, query.order_by(recent.c.seq).limit(min(limit, ROWS_READ_MAX)))


def newest(connection: Connection, project: str, endpoint: str, limit: int) -> list[Labelled]:
    """The newest kept rows, newest first, shadows among them."""
    query = select(recent).where(recent.c.project == project, recent.c.endpoint == endpoint)
    return _read(connection, query.order_by(recent.c.seq.desc()).limit(min(limit, ROWS_READ_MAX)))


def by_ids(connection: Connection, project: str, ids: Iterable[str], endpoint: str = "") -> list[Labelled]:
    """Kept rows of these requests, oldest first; of all endpoints of the project if `endpoint` is empty."""
    found: list[Labelled] = []
    wanted = list(ids)
    for start in range(0, len(wanted), IDS_A_QUERY):
        query = select(recent).where(
            recent.c.project == project, recent.c.request_id.in_(wanted[start : start + IDS_A_QUERY])
        )
        if endpoint:
            query = query.where(recent.c.endpoint == endpoint)
        found += _read(connection, query.order_by(recent.c.seq))
    return found


def set_label(tx: Tx, seq: int, label: str) -> None:
    """Write down the truth about a kept row."""
    tx.execute(update(recent).where(recent.c.seq == seq).values(label=label[:300]))


def stats(connection: Connection, project: str, endpoint: str) -> tuple[RevisionStats, ...]:
    """All sums of an endpoint."""
    return tuple(STATS.every(connection, project, endpoint=endpoint))


def forget(tx: Tx, project: str, endpoint: str) -> None:
    """Let go of all that is kept about an endpoint."""
    tx.execute(delete(recent).where(recent.c.project == project, recent.c.endpoint == endpoint))
    for one in stats(tx.connection, project, endpoint):
        STATS.delete(tx, project, one.id)


def _read(connection: Connection, query: Any) -> list[Labelled]:
    return [
        Labelled(row.seq, row.phase, row.label, msgspec.json.decode(row.doc, type=RequestRow))
        for row in connection.execute(query)
    ]
