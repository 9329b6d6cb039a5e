"""Searching traces: which fields there are, and how each clause and order becomes SQL with bound values."""

import json
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Select, and_, case, exists, func, not_, null, or_, select

from sill.core.errors import InvalidValue
from sill.core.names import shorten
from sill.runs.tracing import rules, store
from sill.runs.tracing.json_text import json_member
from sill.runs.tracing.store import assessments, links, spans, texts, traces
from sill.runs.tracing.types import AssessmentKind, Trace
from sill.runs.tracking.compare import compare
from sill.runs.tracking.filters import (
    LISTS,
    NULLS,
    TEXTS,
    Clause,
    Entity,
    Fields,
    Key,
    Order,
    parse_filter,
    parse_order,
)

EXPERIMENTS_MAX = 1_000
LIMIT_MAX = 500
SPAN_KEYS = ("name", "type", "status", "content")
_TIMES = {
    alias: Key(name, is_number=True)
    for name in ("timestamp_ms", "execution_time_ms", "end_time_ms")
    for alias in (name, name.removesuffix("_ms"))
}
FIELDS = Fields(
    (
        Entity(
            "attribute",
            frozenset({"attribute", "attributes", "trace"}),
            {
                **_TIMES,
                "request_id": Key("request_id", takes_list=True),
                "trace_id": Key("request_id", takes_list=True),
                "client_request_id": Key("client_request_id", takes_list=True, is_ordered=False),
                "status": Key("status", takes_list=True),
                "name": Key("name", takes_list=True),
                "run_id": Key(rules.RUN_KEY, takes_list=True, entity="metadata"),
                "prompt": Key("prompt", is_ordered=False),
                "text": Key("content", is_ordered=False, entity="span"),
                "experiment_id": Key("experiment_id", is_filtered=False),
            },
        ),
        Entity("tag", frozenset({"tag", "tags"}), operators=TEXTS | NULLS),
        Entity("metadata", frozenset({"request_metadata", "metadata"}), operators=TEXTS | NULLS),
        Entity("span", frozenset({"span"}), operators=TEXTS | LISTS, is_ordered=False),
        Entity("feedback", frozenset({"feedback"}), takes_either=True, operators=TEXTS | NULLS, is_ordered=False),
        Entity("expectation", frozenset({"expectation"}), takes_either=True, operators=TEXTS | NULLS, is_ordered=False),
        Entity("issue", frozenset({"issue"}), {"id": Key("id", is_ordered=False)}, is_ordered=False),
    )
)
_END = traces.c.started_ms + func.coalesce(traces.c.duration_ms, 0)
_COLUMNS: dict[str, Any] = {
    "timestamp_ms": traces.c.started_ms,
    "execution_time_ms": traces.c.duration_ms,
    "end_time_ms": _END,
    "request_id": traces.c.id,
    "client_request_id": traces.c.client_request_id,
    "status": traces.c.state,
    "name": traces.c.name,
    "experiment_id": traces.c.experiment_id,
}


class Scope(NamedTuple):
    """Which traces are looked at before any filter."""

    project: str
    experiment_ids: Sequence[str]


def find(
    connection: Connection, scope: Scope, text: str, order_by: Sequence[str], limit: int, offset: int
) -> tuple[list[Trace], bool]:
    """Traces that a filter matches, from `offset` on, and whether more follow. Newest first unless ordered otherwise.

    Raises:
        InvalidValue: the filter or the order is not in the grammar.
    """
    query = matching(scope, text, select(traces.c.id))
    for term in _terms(scope, parse_order(order_by, FIELDS)):
        query = query.order_by(term)
    ids = list(connection.execute(query.limit(limit + 1).offset(offset)).scalars())
    found = store.load(connection, scope.project, ids[:limit])
    return [found[trace_id].trace for trace_id in ids[:limit] if trace_id in found], len(ids) > limit


def counts(connection: Connection, scope: Scope, first: str, second: str, base: str = "") -> tuple[int, int, int, int]:
    """How many traces the two filters match, both together, and how many there are, all on top of `base`."""
    is_first = and_(*conditions(scope, first))
    is_second = and_(*conditions(scope, second))

    def count(*given: ColumnElement[bool]) -> Any:
        return func.coalesce(func.sum(case((and_(*given), 1), else_=0)), 0)

    columns = (count(is_first), count(is_second), count(is_first, is_second), func.count())
    row = connection.execute(matching(scope, base, select(*columns).select_from(traces))).one()
    return int(row[0]), int(row[1]), int(row[2]), int(row[3])


def matching(scope: Scope, text: str, query: Select[Any]) -> Select[Any]:
    """The query, of those traces only that are in scope and meet the filter."""
    t = traces
    return query.where(
        t.c.project == scope.project, t.c.experiment_id.in_(scope.experiment_ids), *conditions(scope, text)
    )


def conditions(scope: Scope, text: str) -> list[ColumnElement[bool]]:
    """What the filter asks of a row of `traces`. Clauses on spans must hold of one and the same span.

    Raises:
        InvalidValue: the filter is not in the grammar, or names something that is not there.
    """
    clauses = parse_filter(text, FIELDS)
    of_spans = [_span_clause(clause) for clause in clauses if clause.entity == "span"]
    found = [_condition(scope, clause) for clause in clauses if clause.entity != "span"]
    if of_spans:
        found.append(exists().where(spans.c.project == scope.project, spans.c.trace_id == traces.c.id, *of_spans))
    return found


def _condition(scope: Scope, clause: Clause) -> ColumnElement[bool]:
    if clause.entity == "attribute" and clause.key == "prompt":
        return _prompt(scope, clause)
    if clause.entity == "attribute":
        return compare(_COLUMNS[clause.key], clause)
    if clause.entity in ("tag", "metadata"):
        return _of_text(scope, clause)
    return _of_assessment(scope, clause)


def _of_text(scope: Scope, clause: Clause) -> ColumnElement[bool]:
    t = texts
    here = and_(t.c.project == scope.project, t.c.trace_id == traces.c.id, t.c.kind == clause.entity)
    has_key = and_(here, t.c.key == clause.key)
    if clause.operator in NULLS:
        found = exists().where(has_key)
        return found if clause.operator == "IS NOT NULL" else not_(found)
    found = exists().where(has_key, compare(t.c.value, clause))
    if clause.entity == "metadata" and clause.key == rules.RUN_KEY and clause.operator in ("=", "IN"):
        return or_(found, _linked(scope, store.RUN, compare(links.c.target, clause)))
    return found


def _linked(scope: Scope, kind: str, is_target: ColumnElement[bool]) -> ColumnElement[bool]:
    t = links
    return exists().where(t.c.project == scope.project, t.c.kind == kind, t.c.trace_id == traces.c.id, is_target)


def _prompt(scope: Scope, clause: Clause) -> ColumnElement[bool]:
    if clause.operator != "=":
        raise InvalidValue(
            f"Invalid comparator '{clause.operator}' for prompts filter. Only '=' is supported with format: "
            'prompt = "name/version".',
            field="filter",
        )
    if str(clause.value).count("/") != 1:
        raise InvalidValue(
            f'Invalid prompts filter value {shorten(str(clause.value))!r}. Expected format: prompt = "name/version".',
            field="filter",
        )
    return _linked(scope, store.PROMPT, links.c.target == clause.value)


def _span_clause(clause: Clause) -> ColumnElement[bool]:
    """What a clause asks of a row of `trace_spans`."""
    key = clause.key
    if key == "content" and clause.operator not in ("LIKE", "ILIKE"):
        raise InvalidValue(f"span.content comparator '{clause.operator}' not one of ['ILIKE', 'LIKE'].", field="filter")
    if key in SPAN_KEYS:
        return compare(spans.c[key], clause)
    name = key.removeprefix("attributes.").strip("`")
    if not key.startswith("attributes.") or not name:
        raise InvalidValue(
            f"Invalid span attribute {shorten(key)!r}. Supported attributes: name, status, type, "
            "attributes.<attribute_name>.",
            field="filter",
        )
    return compare(json_member(spans.c.content, "attributes", name), clause)


def _of_assessment(scope: Scope, clause: Clause) -> ColumnElement[bool]:
    t = assessments
    kind = AssessmentKind(clause.entity)
    here = [t.c.project == scope.project, t.c.kind == kind.value]
    if kind is AssessmentKind.ISSUE:
        return exists().where(*here, t.c.trace_id == traces.c.id, compare(t.c.name, clause))
    here += [t.c.name == clause.key, t.c.is_valid == 1]
    if clause.operator in ("<", "<=", ">", ">="):
        here.append(compare(t.c.number, clause))
    elif clause.operator not in NULLS:
        here.append(_value(clause))
    direct = exists().where(*here, t.c.trace_id == traces.c.id)
    by_session = exists().where(*here, t.c.session.is_not(None), t.c.session == traces.c.session)
    found = or_(direct, by_session)
    return not_(found) if clause.operator == "IS NULL" else found


def _value(clause: Clause) -> ColumnElement[bool]:
    """Values are kept as JSON: 'yes' is equal to the text "yes", '5' and 'true' also to the number and the truth."""
    if clause.operator not in ("=", "!="):
        return compare(assessments.c.value, clause)
    texts_of = (str(clause.value), json.dumps(clause.value))
    if isinstance(clause.value, int | float):
        number = float(clause.value) if abs(clause.value) < 2**53 else math.inf
        texts_of = (json.dumps(number), *((str(int(number)),) if number.is_integer() else ()))
    listed = "IN" if clause.operator == "=" else "NOT IN"
    return compare(assessments.c.value, Clause(clause.entity, clause.key, listed, texts_of))


def _terms(scope: Scope, orders: Sequence[Order]) -> list[Any]:
    """What is ordered by: what is missing comes last; then newest first, then by id."""
    terms: list[Any] = []
    for order in orders:
        column = _COLUMNS[order.key] if order.entity == "attribute" else _text_column(scope, order)
        terms += [case((column.is_(null()), 1), else_=0), column.asc() if order.is_ascending else column.desc()]
    return [*terms, traces.c.started_ms.desc(), traces.c.id.asc()]


def _text_column(scope: Scope, order: Order) -> Any:
    t = texts
    query = select(t.c.value).where(t.c.project == scope.project, t.c.trace_id == traces.c.id)
    return query.where(t.c.kind == order.entity, t.c.key == order.key).scalar_subquery()
