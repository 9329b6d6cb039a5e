"""Clauses in SQL, the same on SQLite and PostgreSQL: text with `?`, and the values that belong there. Nothing else is put in.

What a clause means is `filters.holds`; tests compare the two.
"""

import math
import re
from typing import Any, NamedTuple

from sqlalchemy import TextClause, bindparam, text

from sill.runs.tracking.tables import HEAD_LENGTH

INTEGER_MAX = 2**63 - 1
_GLOB = {"%": "*", "_": "?", "*": "[*]", "?": "[?]", "[": "[[]"}
_LAST_CHARACTER = "\U0010ffff"


class Part(NamedTuple):
    """A piece of SQL with `?` for each of its values."""

    sql: str
    values: tuple[Any, ...] = ()

    def as_clause(self) -> TextClause:
        """The piece for a statement of SQLAlchemy."""
        names = iter(range(len(self.values)))
        named = re.sub(r"\?", lambda _: f":part{next(names)}", self.sql)
        return text(named).bindparams(
            *(bindparam(f"part{at}", value, unique=True) for at, value in enumerate(self.values))
        )


def joined(parts: list[Part]) -> Part:
    """All of them must hold."""
    return Part(" AND ".join(part.sql for part in parts) or "1 = 1", tuple(v for part in parts for v in part.values))


def text_part(column: str, operator: str, value: Any, *, is_sqlite: bool, head: str = "") -> Part:
    """A text compared.

    Args:
        head: the column that holds the beginning of the text and has an index, if there is one.
    """
    if operator in ("IN", "NOT IN"):
        return Part(f"{column} {operator} ({', '.join('?' * len(value))})", tuple(value))
    if operator == "=" and head:
        short = Part(f"{head} = ?", (value[:HEAD_LENGTH],))
        return short if len(value) < HEAD_LENGTH else joined([short, Part(f"{column} = ?", (value,))])
    if operator in ("=", "!="):
        return Part(f"{column} {operator} ?", (value,))
    like = _like(column, operator, value, is_sqlite)
    begin = literal_start(value)[:HEAD_LENGTH]
    if not head or not begin or operator != "LIKE":
        return like
    return joined([Part(f"{head} >= ? AND {head} < ?", (begin, begin + _LAST_CHARACTER)), like])


def number_part(column: str, operator: str, value: float) -> Part:
    """A number compared; NULL stands for NaN, which meets `!=` only."""
    if operator == "!=":
        return Part(f"({column} IS NULL OR {column} != ?)", (float(value),))
    return Part(f"{column} {operator} ?", (float(value),))


def time_part(column: str, operator: str, value: float) -> Part:
    """A time in microseconds (0: there is none) compared with milliseconds, as whole milliseconds are."""
    if math.isinf(value):
        is_met = operator == "!=" or ((operator[0] == "<") == (value > 0) and operator != "=")
        return Part(f"{column} > 0" if is_met else "1 = 0")
    if operator in ("=", "!="):
        whole = int(value) if value == int(value) else None
        if whole is None or abs(whole) > INTEGER_MAX // 1_000:
            return Part(f"{column} > 0" if operator == "!=" else "1 = 0")
        negated = "NOT " if operator == "!=" else ""
        return Part(f"({column} > 0 AND {column} {negated}BETWEEN ? AND ?)", (whole * 1_000, whole * 1_000 + 999))
    # ms > v holds from the next whole millisecond on, ms >= v from v rounded up on; the other two are their opposites.
    bound = math.floor(value) + 1 if operator in (">", "<=") else math.ceil(value)
    limit = max(-INTEGER_MAX, min(INTEGER_MAX, bound * 1_000))
    return Part(f"({column} > 0 AND {column} {'>=' if operator in ('>', '>=') else '<'} ?)", (limit,))


def glob_pattern(pattern: str) -> str:
    """LIKE's pattern in the words of SQLite's GLOB, which looks at the case of letters."""
    return "".join(_GLOB.get(letter, letter) for letter in pattern)


def literal_start(pattern: str) -> str:
    """What every text begins with that is like the pattern."""
    return re.split("[%_]", pattern, maxsplit=1)[0]


def _like(column: str, operator: str, pattern: str, is_sqlite: bool) -> Part:
    if not is_sqlite:
        # C: the case of A to Z only. No escape: a backslash is a letter, as on SQLite.
        return Part(f"{column} COLLATE \"C\" {operator} ? ESCAPE ''", (pattern,))
    if operator == "ILIKE":
        return Part(f"{column} LIKE ?", (pattern,))
    return Part(f"{column} GLOB ?", (glob_pattern(pattern),))
