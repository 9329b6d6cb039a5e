"""Meter records: one row for each metered use, and their sums."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import BigInteger, Column, Connection, Float, Index, Table, Text, func, select

from sill.costs.types import Cost, MeterRecord, Usage
from sill.stores.database import Tx, metadata
from sill.stores.database.schema import key_type
from sill.stores.database.sql import insert_rows

SUBJECTS_MAX = 1_000
"""How many subjects a report names; the total counts all."""
_NUMBERS = (
    *("wall_s", "cpu_s", "memory_gib_s", "accelerator_s"),
    *("usd", "energy_wh", "carbon_g", "predictions", "width_wh"),
)

records = Table(
    "meter_records",
    metadata,
    Column("id", key_type(100), primary_key=True),
    Column("project", key_type(100), nullable=False),
    Column("kind", key_type(100), nullable=False),
    Column("subject", key_type(300), nullable=False),
    Column("at_us", BigInteger, nullable=False),
    Column("wall_s", Float, nullable=False),
    Column("cpu_s", Float, nullable=False),
    Column("memory_gib_s", Float, nullable=False),
    Column("accelerator_s", Float, nullable=False),
    Column("memory_bytes_max", BigInteger, nullable=False),
    Column("usd", Float, nullable=False),
    Column("energy_wh", Float, nullable=False),
    Column("width_wh", Float, nullable=False),
    Column("carbon_g", Float, nullable=False),
    Column("energy_source", Text, nullable=False),
    Column("carbon_source", Text, nullable=False),
    Column("predictions", BigInteger, nullable=False),
    Index("meter_records_project_at", "project", "at_us"),
    Index("meter_records_subject", "project", "subject"),
)
"""Numbers are columns, so that the database adds them up. `width_wh` is energy times uncertainty: it adds up too."""


def add_records(tx: Tx, every: Sequence[MeterRecord]) -> None:
    """Keep records."""
    rows = [_row(record) for record in every]
    if rows:
        insert_rows(tx.connection, records, tuple(rows[0]), [tuple(row.values()) for row in rows])


def _row(record: MeterRecord) -> dict[str, Any]:
    """By column; the same columns in the same order for each record."""
    cost, usage = record.cost, record.cost.usage
    return {
        "id": record.id,
        "project": record.project,
        "kind": record.kind,
        "subject": record.subject,
        "at_us": record.at_us,
        "wall_s": usage.wall_s,
        "cpu_s": usage.cpu_s,
        "memory_gib_s": usage.memory_gib_s,
        "accelerator_s": usage.accelerator_s,
        "memory_bytes_max": usage.memory_bytes_max,
        "usd": cost.usd,
        "energy_wh": cost.energy_wh,
        "width_wh": cost.energy_wh * cost.uncertainty,
        "carbon_g": cost.carbon_g,
        "energy_source": cost.energy_source,
        "carbon_source": cost.carbon_source,
        "predictions": record.predictions,
    }


def sums(connection: Connection, project: str, since_us: int, until_us: int) -> list[tuple[str, Cost, int]]:
    """For each subject, energy and carbon source: subject, cost, predictions; the dearest first."""
    totals = [func.sum(records.c[name]).label(name) for name in _NUMBERS]
    peak = func.max(records.c.memory_bytes_max).label("memory_bytes_max")
    by = (records.c.subject, records.c.energy_source, records.c.carbon_source)
    query = select(*by, *totals, peak).where(records.c.at_us >= since_us, records.c.at_us < until_us).group_by(*by)
    if project:
        query = query.where(records.c.project == project)
    found = []
    for row in connection.execute(query.order_by(func.sum(records.c.usd).desc(), records.c.subject)):
        cost = Cost(
            usage=Usage(
                wall_s=row.wall_s,
                cpu_s=row.cpu_s,
                memory_gib_s=row.memory_gib_s,
                accelerator_s=row.accelerator_s,
                memory_bytes_max=row.memory_bytes_max,
            ),
            usd=row.usd,
            energy_wh=row.energy_wh,
            carbon_g=row.carbon_g,
            energy_source=row.energy_source,
            carbon_source=row.carbon_source,
            uncertainty=row.width_wh / row.energy_wh if row.energy_wh else 0.0,
        )
        found.append((row.subject, cost, int(row.predictions)))
    return found


def by_project(connection: Connection, since_us: int) -> dict[str, tuple[float, float, float]]:
    """What each project has come to since then: US dollars, watt-hours, grams of carbon dioxide equivalent."""
    sums_of = (func.sum(records.c[name]) for name in ("usd", "energy_wh", "carbon_g"))
    query = select(records.c.project, *sums_of).where(records.c.at_us >= since_us).group_by(records.c.project)
    return {project: (usd, wh, grams) for project, usd, wh, grams in connection.execute(query)}
