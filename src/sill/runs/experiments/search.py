"""Searching experiments: which fields there are, and how a filter and an order become SQL."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, select

from sill.core.errors import InvalidValue
from sill.core.names import shorten
from sill.runs.experiments import store
from sill.runs.experiments.store import experiments
from sill.runs.experiments.types import Experiment
from sill.runs.tracking.conditions import Part, text_part, time_part
from sill.runs.tracking.filters import NULLS, TEXTS, Clause, Entity, Fields, Key, parse_filter, parse_order
from sill.runs.types import View
from sill.stores.database import Page

OFFSET_MAX = 10_000_000
FIELDS = Fields(
    (
        Entity(
            "attribute",
            frozenset({"attribute", "attributes"}),
            {
                "name": Key("name"),
                "experiment_id": Key("experiment_id", takes_list=True),
                "creation_time": Key("creation_time", is_number=True),
                "last_update_time": Key("last_update_time", is_number=True),
            },
        ),
        Entity("tag", frozenset({"tag", "tags"}), operators=TEXTS | NULLS, is_ordered=False),
    )
)
_TIMES = {"creation_time": "created_us", "last_update_time": "updated_us"}
_ID_TEXT = "CAST(experiments.number AS TEXT)"
_MS = 1_000
_COLUMNS: dict[str, Any] = {
    "name": experiments.c.name,
    "experiment_id": experiments.c.number,
    **{key: experiments.c[column] // _MS for key, column in _TIMES.items()},
}


def page(
    connection: Connection, project: str, view: View, filter: str, order_by: Sequence[str], limit: int, after: str
) -> Page[Experiment]:
    """Experiments that match, from a page token on: the newest first unless ordered otherwise.

    Raises:
        InvalidValue: filter, order or page token is not of its form.
    """
    t = experiments
    is_sqlite = connection.dialect.name == "sqlite"
    conditions = [_condition(project, clause, is_sqlite).as_clause() for clause in parse_filter(filter, FIELDS)]
    orders = parse_order(order_by, FIELDS)
    terms = [_COLUMNS[one.key].asc() if one.is_ascending else _COLUMNS[one.key].desc() for one in orders]
    if not any(one.key == "creation_time" for one in orders):
        terms.append(t.c.created_us.desc())
    lifecycles = [one.value for one in view.lifecycles]
    query = select(t).where(t.c.project == project, t.c.lifecycle.in_(lifecycles), *conditions)
    offset = parse_offset(after)
    rows = connection.execute(query.order_by(*terms, t.c.number.asc()).offset(offset).limit(limit + 1)).all()
    items = tuple(store.read(connection, project, list(rows[:limit])))
    return Page(items=items, next=str(offset + limit) if len(rows) > limit else "")


def parse_offset(after: str) -> int:
    """How many a page token says were shown before; an empty one means none.

    Raises:
        InvalidValue: it is none of ours.
    """
    if not after:
        return 0
    if not after.isascii() or not after.isdigit() or len(after) > len(str(OFFSET_MAX)) or int(after) > OFFSET_MAX:
        raise InvalidValue(
            f"Invalid page token {shorten(after)!r}.", fix="Pass on the token of the page before.", field="after"
        )
    return int(after)


def _condition(project: str, clause: Clause, is_sqlite: bool) -> Part:
    if clause.entity == "attribute":
        return _attribute(clause, is_sqlite)
    tag = "SELECT 1 FROM experiment_tags t WHERE t.project = ? AND t.number = experiments.number AND t.key = ?"
    if clause.operator in NULLS:
        return Part(f"{'NOT ' if clause.operator == 'IS NULL' else ''}EXISTS ({tag})", (project, clause.key))
    met = text_part("t.value", clause.operator, clause.value, is_sqlite=is_sqlite)
    return Part(f"EXISTS ({tag} AND {met.sql})", (project, clause.key, *met.values))


def _attribute(clause: Clause, is_sqlite: bool) -> Part:
    if clause.key == "name":
        return text_part("experiments.name", clause.operator, clause.value, is_sqlite=is_sqlite)
    if clause.key == "experiment_id":
        return text_part(_ID_TEXT, clause.operator, clause.value, is_sqlite=is_sqlite)
    return time_part(f"experiments.{_TIMES[clause.key]}", clause.operator, clause.value)  # type: ignore[arg-type]  # the grammar saw to it
