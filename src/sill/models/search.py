"""Finds models and versions by MLflow's filters and orders. Prompts are found only by those who ask for prompts."""

from collections.abc import Iterable
from typing import Any, TypeVar

import msgspec
from sqlalchemy import ColumnElement, Connection, Table, TextClause, exists, func, select

from sill.core.errors import InvalidValue
from sill.models.entries import MODEL, entries, tags
from sill.models.store import MODELS, VERSIONS
from sill.models.types import PROMPT_TAG, ModelSummary, ModelVersion, RegisteredModel
from sill.runs.tracking.conditions import number_part, text_part
from sill.runs.tracking.filters import TEXTS, Clause, Entity, Fields, Key, Order, parse_filter, parse_order
from sill.stores.database import Page

T = TypeVar("T")

MODELS_MAX = 1_000
VERSIONS_MAX = 200_000
OFFSET_DIGITS_MAX = 12
READ_AT_ONCE = 500
"""Documents read with one statement; databases bound the number of its parameters."""

_ATTRIBUTE = frozenset({"attribute", "attributes", "attr"})
_TAGS = Entity("tag", frozenset({"tag", "tags"}), operators=TEXTS, is_ordered=False)
_CHANGED = Key("last_updated_timestamp", is_number=True, is_filtered=False)
_CREATED = Key("creation_timestamp", is_number=True, is_filtered=False)
_NAME = Key("name")
MODEL_FIELDS = Fields(
    (
        Entity(
            "attribute",
            _ATTRIBUTE,
            {"name": _NAME, "creation_timestamp": _CREATED, "last_updated_timestamp": _CHANGED, "timestamp": _CHANGED},
        ),
        _TAGS,
    )
)
VERSION_FIELDS = Fields(
    (
        Entity(
            "attribute",
            _ATTRIBUTE,
            {
                "name": _NAME,
                "version_number": Key("version_number", is_number=True),
                "run_id": Key("run_id", takes_list=True, is_ordered=False),
                "source_path": Key("source_path", is_ordered=False),
                "creation_timestamp": _CREATED,
                "last_updated_timestamp": _CHANGED,
            },
        ),
        _TAGS,
    )
)
_COLUMNS = {
    "name": entries.c.model,
    "version_number": entries.c.version,
    "run_id": entries.c.run_id,
    "source_path": entries.c.source,
    "creation_timestamp": entries.c.created_us,
    "last_updated_timestamp": entries.c.changed_us,
}
_NEWEST_FIRST = ("last_updated_timestamp DESC", "name ASC", "version_number DESC")


def find_models(
    connection: Connection, project: str, filter: str, order_by: Iterable[str], limit: int, after: str
) -> Page[ModelSummary]:
    """Models that meet the filter; by name unless an order is given.

    Raises:
        InvalidValue: filter, order, limit or place are not in the grammar.
    """
    clauses, orders = parse_filter(filter, MODEL_FIELDS), parse_order(order_by, MODEL_FIELDS)
    _check_limit(limit, MODELS_MAX)
    where = [entries.c.version == MODEL, *_conditions(connection, project, clauses)]
    keys, following = _keys(connection, where, (*orders, Order("attribute", "name")), limit, after)
    models = _read(connection, MODELS.table, project, [name for name, _ in keys], RegisteredModel)
    latest = latest_of(connection, project, [name for name, _ in keys])
    return Page(items=tuple(ModelSummary(model=one, latest=latest.get(one.name, ())) for one in models), next=following)


def find_versions(
    connection: Connection, project: str, filter: str, order_by: Iterable[str], limit: int, after: str
) -> Page[ModelVersion]:
    """Versions that meet the filter; those that changed last come first unless an order is given. Errors as `find_models`."""
    clauses = parse_filter(filter, VERSION_FIELDS)
    orders = parse_order(tuple(order_by) or _NEWEST_FIRST, VERSION_FIELDS)
    _check_limit(limit, VERSIONS_MAX)
    where = [entries.c.version != MODEL, *_conditions(connection, project, clauses)]
    usual = (Order("attribute", "name"), Order("attribute", "version_number", is_ascending=False))
    keys, following = _keys(connection, where, (*orders, *usual), limit, after)
    found = _read(connection, VERSIONS.table, project, [f"{name}/{number}" for name, number in keys], ModelVersion)
    return Page(items=tuple(found), next=following)


def latest_of(connection: Connection, project: str, names: list[str]) -> dict[str, tuple[ModelVersion, ...]]:
    """The newest version of each stage, by model."""
    t = entries
    found: dict[str, tuple[ModelVersion, ...]] = {}
    for some in _groups(names):
        newest = (
            select(t.c.model, func.max(t.c.version).label("version"))
            .where(t.c.project == project, t.c.model.in_(some), t.c.version != MODEL)
            .group_by(t.c.model, t.c.stage)
        )
        keys = sorted(f"{row.model}/{row.version}" for row in connection.execute(newest))
        for version in _read(connection, VERSIONS.table, project, keys, ModelVersion):
            found[version.model] = (*found.get(version.model, ()), version)
    return {name: tuple(sorted(many, key=lambda one: one.version)) for name, many in found.items()}


def _keys(
    connection: Connection, where: list[Any], orders: tuple[Order, ...], limit: int, after: str
) -> tuple[list[tuple[str, int]], str]:
    """(model, version) of one page, and where the next starts."""
    offset = _offset(after)
    by: dict[str, Any] = {}
    for order in orders:
        column = _COLUMNS[order.key]
        by.setdefault(order.key, column.asc() if order.is_ascending else column.desc())
    query = select(entries.c.model, entries.c.version).where(*where).order_by(*by.values())
    rows = connection.execute(query.limit(limit + 1).offset(offset)).all()
    return [(row.model, row.version) for row in rows[:limit]], str(offset + limit) if len(rows) > limit else ""


def _conditions(
    connection: Connection, project: str, clauses: tuple[Clause, ...]
) -> list[ColumnElement[bool] | TextClause]:
    wants_prompts = any(_asks_for_prompts(clause) for clause in clauses)
    found: list[ColumnElement[bool] | TextClause] = [entries.c.project == project]
    if not wants_prompts:
        found.append(entries.c.is_prompt == 0)
    for clause in clauses:
        if clause.entity == "attribute":
            found.append(compare(connection, _COLUMNS[clause.key], clause))
        elif wants_prompts or clause.key != PROMPT_TAG:
            found.append(_tagged(connection, clause))
    return found


def _asks_for_prompts(clause: Clause) -> bool:
    if clause.entity != "tag" or clause.key != PROMPT_TAG:
        return False
    return (clause.operator, str(clause.value).lower()) in (("=", "true"), ("!=", "false"))


def _tagged(connection: Connection, clause: Clause) -> ColumnElement[bool]:
    same = [tags.c[name] == entries.c[name] for name in ("project", "model", "version")]
    return exists().where(*same, tags.c.key == clause.key, compare(connection, tags.c.value, clause))


def compare(connection: Connection, column: Any, clause: Clause) -> TextClause:
    """The clause in SQL."""
    name = f"{column.table.name}.{column.name}"
    if column is entries.c.version:
        return number_part(name, clause.operator, float(str(clause.value))).as_clause()
    is_sqlite = connection.dialect.name == "sqlite"
    return text_part(name, clause.operator, clause.value, is_sqlite=is_sqlite).as_clause()


def _read(connection: Connection, table: Table, project: str, keys: list[str], kind: type[T]) -> list[T]:
    """The documents of these keys, in the order of the keys."""
    found: dict[str, T] = {}
    for some in _groups(keys):
        query = select(table.c.key, table.c.doc).where(table.c.project == project, table.c.key.in_(some))
        found.update({row.key: msgspec.json.decode(row.doc, type=kind) for row in connection.execute(query)})
    return [found[key] for key in keys if key in found]


def _groups(items: list[str]) -> Iterable[list[str]]:
    return (items[at : at + READ_AT_ONCE] for at in range(0, len(items), READ_AT_ONCE))


def _offset(after: str) -> int:
    if after and not (after.isascii() and after.isdigit() and len(after) <= OFFSET_DIGITS_MAX):
        raise InvalidValue(f"page token {after[:40]!r} is not one of ours.", fix="Begin again.", field="page_token")
    return int(after or 0)


def _check_limit(limit: int, most: int) -> None:
    if not 1 <= limit <= most:
        raise InvalidValue(
            f"Invalid value for max_results. It must be at least 1 and at most {most}, but got value {limit}.",
            field="max_results",
        )
