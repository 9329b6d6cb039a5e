"""How one clause of a filter compares a column, as an expression of SQLAlchemy: for searches put together from those.

What a clause means is `filters.holds`; LIKE is told to each database as `conditions` has it.
"""

import math
from typing import Any

from sqlalchemy import Boolean, ColumnElement, Text, bindparam
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from sill.runs.tracking.conditions import INTEGER_MAX, glob_pattern
from sill.runs.tracking.filters import Clause

_PLAIN = {"=": "__eq__", "!=": "__ne__", "<": "__lt__", "<=": "__le__", ">": "__gt__", ">=": "__ge__"}
_LISTS = {"IN": "in_", "NOT IN": "not_in"}


class Like(FunctionElement[bool]):
    """A text that is like a pattern; the case of letters counts."""

    type = Boolean()
    inherit_cache = True
    name = "is_like"


class Alike(Like):
    """The same where the case of A to Z does not count."""

    inherit_cache = True
    name = "is_alike"


def compare(column: Any, clause: Clause) -> ColumnElement[bool]:
    """What the clause asks of the column."""
    value: Any = clause.value
    if isinstance(value, int) and abs(value) > INTEGER_MAX:
        value = math.copysign(math.inf, value)  # no column of ours holds more, and no driver takes it
    method = _PLAIN.get(clause.operator) or _LISTS.get(clause.operator)
    if method is not None:
        found: ColumnElement[bool] = getattr(column, method)(value)
        return found
    if clause.operator in ("LIKE", "ILIKE"):
        kind = Like if clause.operator == "LIKE" else Alike
        return kind(column, bindparam(None, value, Text), bindparam(None, glob_pattern(value), Text))
    missing: ColumnElement[bool] = column.is_(None) if clause.operator == "IS NULL" else column.is_not(None)
    return missing


@compiles(Like)
def _like_on_sqlite(element: Like, compiler: Any, **options: Any) -> str:
    column, _, pattern = element.clauses
    return f"({compiler.process(column, **options)} GLOB {compiler.process(pattern, **options)})"


@compiles(Alike)
def _alike_on_sqlite(element: Alike, compiler: Any, **options: Any) -> str:
    column, pattern, _ = element.clauses
    return f"({compiler.process(column, **options)} LIKE {compiler.process(pattern, **options)})"


@compiles(Like, "postgresql")
def _like_on_postgres(element: Like, compiler: Any, **options: Any) -> str:
    return _postgres(element, compiler, "LIKE", options)


@compiles(Alike, "postgresql")
def _alike_on_postgres(element: Alike, compiler: Any, **options: Any) -> str:
    return _postgres(element, compiler, "ILIKE", options)


def _postgres(element: Like, compiler: Any, operator: str, options: dict[str, Any]) -> str:
    column, pattern, _ = element.clauses
    text = compiler.process(column, **options)
    return f"({text} COLLATE \"C\" {operator} {compiler.process(pattern, **options)} ESCAPE '')"
