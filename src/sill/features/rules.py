"""What a feature view may be, and which rows of a table it is made from. Pure."""

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from sill.core.errors import InvalidValue
from sill.core.names import check_column, check_name
from sill.features.types import FeatureView

if TYPE_CHECKING:
    import pyarrow as pa

ENTITY_COLUMNS_MAX = 8
TTL_S_MAX = 100 * 366 * 86_400
SQL_LENGTH_MAX = 100_000
_WORD = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


def check_view(view: FeatureView) -> FeatureView:
    """The view itself, if it can be declared.

    Raises:
        InvalidValue: a bad name, no or too many entity columns, one of them twice, a TTL out of range or without time.
    """
    check_name(view.project, "project")
    check_name(view.name)
    check_name(view.table, "table")
    for name in view.entity:
        check_column(name, "entity")
    if not 1 <= len(view.entity) <= ENTITY_COLUMNS_MAX or len(set(view.entity)) != len(view.entity):
        raise InvalidValue(
            f"entity ({', '.join(view.entity)}) has {len(view.entity)} columns; 1 to {ENTITY_COLUMNS_MAX} different ones "
            "are allowed.",
            field="entity",
        )
    if view.time:
        check_column(view.time, "time")
        if view.time in view.entity:
            raise InvalidValue(f"time {view.time!r} is an entity column too.", field="time")
    if not 0 <= view.ttl_s <= TTL_S_MAX or (view.ttl_s and not view.time):
        raise InvalidValue(
            f"ttl_s {view.ttl_s} is not allowed{'' if view.time else ' without a time column'}; 0 to {TTL_S_MAX} are.",
            field="ttl_s",
        )
    if len(view.sql) > SQL_LENGTH_MAX:
        raise InvalidValue(
            f"sql has {len(view.sql):,} characters; at most {SQL_LENGTH_MAX:,} are allowed.", field="sql"
        )
    return view


def named_tables(view: FeatureView, tables: Iterable[str]) -> tuple[str, ...]:
    """The view's table, and those of the project that its SQL may read (any that it has the name of)."""
    words = {word.lower() for word in _WORD.findall(view.sql)} if view.sql else set()
    parts = words | {part for word in words for part in word.split(".")}
    return tuple(dict.fromkeys([view.table, *sorted(name for name in tables if name.lower() in parts)]))


def check_columns(view: FeatureView, rows: "pa.Table") -> "pa.Table":
    """Entity, time and feature columns of the rows a view yields; the lake's own columns (`_source`, …) are no features.

    Raises:
        InvalidValue: an entity or time column is not there, or there is no feature.
    """
    needed = [*view.entity, *([view.time] if view.time else [])]
    for name in needed:
        if name not in rows.column_names:
            raise InvalidValue(
                f"view {view.name!r} yields no column {name!r}; it yields {', '.join(rows.column_names[:30]) or 'none'}.",
                fix="Select it in `sql`, or correct `entity` and `time`.",
                field="sql" if view.sql else "entity",
            )
    features = [name for name in rows.column_names if name not in needed and not name.startswith("_")]
    if not features:
        raise InvalidValue(f"view {view.name!r} yields no feature beside entity and time.", field="sql")
    if len(set(rows.column_names)) != len(rows.column_names):
        raise InvalidValue(f"view {view.name!r} yields a column twice.", fix="Name them apart in `sql`.", field="sql")
    return rows.select([*needed, *features])
