"""Search of runs: from clauses and orders to statements that indexes serve, a page at a time.

A search goes one of two ways. If a clause (or the experiments) leaves few runs, their ids are read from that clause's
index first and only these runs are looked at. Otherwise the index of the first key of the order is walked, each run is
tested as it comes, and the walk ends with the page. Runs without a value for that key come after all others: the walk
has phases, such as numbers, NaN, none. A page begins behind the last run of the page before (its place in the order is
the token), so that late pages cost no more than early ones.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import msgspec
from sqlalchemy import Connection, Index

from sill.runs.store import RUNS
from sill.runs.tracking.conditions import Part, joined, literal_start, number_part, text_part
from sill.runs.tracking.fields import (
    ATTRIBUTE,
    DATASET,
    METRIC,
    PARAM,
    TIMES,
    attribute,
    attribute_part,
    dataset_part,
)
from sill.runs.tracking.filters import Clause, Order
from sill.runs.tracking.tokens import Mark, from_token, to_token
from sill.runs.types import Lifecycle, Run
from sill.stores.database import Page
from sill.stores.database.sql import in_groups, run_sql

FEW = 1_000
"""So many runs are sorted rather than walked to."""
_LISTED = ("project", "experiment_id", "lifecycle")
_ENDED = Index("runs_ended", *(RUNS.table.c[name] for name in (*_LISTED, "ended_us", "key")))
_NAMED = Index("runs_named", *(RUNS.table.c[name] for name in (*_LISTED, "name", "key")))


@dataclass(frozen=True)
class Query:
    """What is looked for. `experiment_ids` None means all of the project."""

    project: str
    experiment_ids: tuple[str, ...] | None
    lifecycles: tuple[Lifecycle, ...]
    clauses: tuple[Clause, ...]
    orders: tuple[Order, ...]

    @cached_property
    def digest(self) -> str:
        """Says whether a token belongs to this query."""
        import hashlib

        parts = [self.project, self.experiment_ids, self.lifecycles, self.clauses, self.orders]
        return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()[:16]


@dataclass(frozen=True)
class _Key:
    """One expression results are ordered by."""

    sql: str
    is_ascending: bool = True


@dataclass(frozen=True)
class _Phase:
    """A part of the results whose first key is of one kind: it has a value, is NaN, or is missing."""

    driver: str
    """The table that is walked, before the runs; empty: the runs themselves."""
    conditions: tuple[Part, ...]
    keys: tuple[_Key, ...]


def search(connection: Connection, query: Query, after: str, limit: int) -> Page[Run]:
    """Runs that meet all clauses, in order, at most `limit`.

    Raises:
        InvalidValue: the token is not one of this query.
    """
    if query.experiment_ids == ():
        return Page(items=())
    search_ = _Search(query, connection.dialect.name == "sqlite")
    mark = from_token(after, query.digest) if after else None
    few = search_.few(connection)
    phases = search_.phases()
    found: list[Any] = []
    at = mark.phase if mark else 0
    while at < len(phases) and len(found) <= limit and few != []:
        behind = mark if mark is not None and mark.phase == at else None
        part = search_.statement(phases[at], few, behind, limit + 1 - len(found))
        found += [(at, *row) for row in run_sql(connection, *part)]
        at += 1
    items = _fetch(connection, query.project, [row[-1] for row in found[:limit]])
    if len(found) <= limit:
        return Page(items=items)
    phase, *values = found[limit - 1]
    return Page(items=items, next=to_token(Mark(phase, tuple(values)), query.digest))


def _fetch(connection: Connection, project: str, ids: Sequence[str]) -> tuple[Run, ...]:
    """The runs of these ids. Their documents are read last, so that no search has to sort them."""
    docs: dict[str, str] = {}
    for some in in_groups(ids):
        query = f"SELECT r.key, r.doc FROM runs r WHERE r.project = ? AND r.key IN ({', '.join('?' * len(some))})"  # noqa: S608
        docs |= {row[0]: row[1] for row in run_sql(connection, query, (project, *some))}
    return tuple([msgspec.json.decode(docs[run_id], type=Run) for run_id in ids])


class _Search:
    """The statements of one query."""

    def __init__(self, query: Query, is_sqlite: bool) -> None:
        self._query = query
        self._is_sqlite = is_sqlite

    def few(self, connection: Connection) -> list[str] | None:
        """Ids of the runs that can be meant at all, if they are few; None if they are many."""
        ids: set[str] | None = None
        for part in self._selective():
            rows = run_sql(connection, f"{part.sql} LIMIT {FEW + 1}", part.values)
            if len(rows) <= FEW:
                found = {row[0] for row in rows}
                ids = found if ids is None else ids & found
                if len(ids) < FEW // 10:
                    break
        return None if ids is None else sorted(ids)

    def phases(self) -> list[_Phase]:
        """The phases in the order of their results."""
        orders = self._query.orders
        rest = [key for at, order in enumerate(orders[1:], 1) for key in self._sorted(order, at)]
        if not any(order.entity == ATTRIBUTE and order.key == "start_time" for order in orders):
            rest.append(_Key("r.started_us", False))
        rest.append(_Key("r.key"))
        if not orders:
            return [_Phase("", (), tuple(rest))]
        return [_Phase(driver, conditions, (*keys, *rest)) for driver, conditions, keys in self._first(orders[0])]

    def statement(self, phase: _Phase, few: list[str] | None, behind: Mark | None, limit: int) -> Part:
        """The statement for a phase: the values of its keys, of which the last is the run's id."""
        is_walk = few is None and bool(phase.driver)
        start = _start(phase.driver, few, self._is_sqlite)
        parts = [Part("r.project = ?", (self._query.project,)), *self._scope(), *phase.conditions]
        if few is not None:
            parts.append(
                Part("r.key = k.value" if self._is_sqlite else "r.key = ANY(?)", () if self._is_sqlite else (few,))
            )
        parts += [self._clause(clause, phase, "o0.run_id" if is_walk else "r.key") for clause in self._query.clauses]
        if behind is not None:
            parts.append(_behind(phase.keys, behind.values))
        joins = [
            self._join(order, at) for at, order in enumerate(self._query.orders) if at and order.entity != ATTRIBUTE
        ]
        where = joined(parts)
        columns = ", ".join(key.sql for key in phase.keys)
        order = ", ".join(f"{key.sql} {'ASC' if key.is_ascending else 'DESC'}" for key in phase.keys)
        return Part(
            f"SELECT {columns} FROM {start.sql} {' '.join(join.sql for join in joins)} "  # noqa: S608  # our own names
            f"WHERE {where.sql} ORDER BY {order} LIMIT {limit}",
            (*start.values, *(value for join in joins for value in join.values), *where.values),
        )

    def _scope(self) -> Iterator[Part]:
        ids, lifecycles = self._query.experiment_ids, self._query.lifecycles
        if ids is not None:
            yield Part(f"r.experiment_id IN ({', '.join('?' * len(ids))})", ids)
        words = tuple(one.value for one in lifecycles)
        yield Part(f"r.lifecycle IN ({', '.join('?' * len(words))})", words)

    def _selective(self) -> Iterator[Part]:
        """Statements for the ids that single clauses leave, of those an index answers; the experiments' last."""
        for clause in self._query.clauses:
            if clause.entity == METRIC and clause.operator != "!=":
                where = number_part("value", clause.operator, clause.value)  # type: ignore[arg-type]
                yield self._ids("run_last_metrics", clause.key, where)
            elif clause.entity not in (METRIC, ATTRIBUTE, DATASET) and _has_start(clause):
                where = text_part("value", clause.operator, clause.value, is_sqlite=self._is_sqlite, head="head")
                yield self._ids(_texts(clause.entity), clause.key, where)
            elif clause.entity == ATTRIBUTE and clause.key == "run_id" and clause.operator in ("=", "IN"):
                yield self._runs(attribute_part(clause, self._is_sqlite))
            elif clause.entity == ATTRIBUTE and clause.key == "run_name" and clause.operator == "=":
                yield self._runs(joined([*self._scope(), attribute_part(clause, self._is_sqlite)]))
        if self._query.orders and self._query.experiment_ids is not None:
            yield self._runs(joined(list(self._scope())))

    def _runs(self, where: Part) -> Part:
        sql = f"SELECT r.key FROM runs r WHERE r.project = ? AND {where.sql}"  # noqa: S608
        return Part(sql, (self._query.project, *where.values))

    def _ids(self, table: str, key: str, where: Part) -> Part:
        sql = f"SELECT run_id FROM {table} WHERE project = ? AND key = ? AND {where.sql}"  # noqa: S608
        return Part(sql, (self._query.project, key, *where.values))

    def _clause(self, clause: Clause, phase: _Phase, run_id: str) -> Part:
        """The clause on the run whose id this expression is: before the run itself is looked up, where that can be."""
        if clause.entity == ATTRIBUTE:
            return attribute_part(clause, self._is_sqlite)
        if clause.entity == DATASET:
            return dataset_part(clause, self._is_sqlite)
        orders = self._query.orders
        if phase.driver and (clause.entity, clause.key) == (orders[0].entity, orders[0].key):
            # What is walked is what the clause is about: a range of its index.
            return Part("1 = 0") if clause.operator == "IS NULL" else self._met(clause, "o0")
        negated = "NOT " if clause.operator == "IS NULL" else ""
        where = self._met(clause, "c")
        table = "run_last_metrics" if clause.entity == METRIC else _texts(clause.entity)
        sql = f"{negated}EXISTS (SELECT 1 FROM {table} c WHERE c.project = ? AND c.run_id = {run_id}"  # noqa: S608
        return Part(f"{sql} AND c.key = ? AND {where.sql})", (self._query.project, clause.key, *where.values))

    def _met(self, clause: Clause, table: str) -> Part:
        """The clause on the value of a row that is there."""
        if clause.value is None:
            return Part("1 = 1")
        if clause.entity == METRIC:
            return number_part(f"{table}.value", clause.operator, clause.value)  # type: ignore[arg-type]
        head = f"{table}.head"
        return text_part(f"{table}.value", clause.operator, clause.value, is_sqlite=self._is_sqlite, head=head)

    def _first(self, order: Order) -> Iterator[tuple[str, tuple[Part, ...], tuple[_Key, ...]]]:
        """Driver, conditions and keys of each phase of the first key."""
        up = order.is_ascending
        if order.entity == ATTRIBUTE:
            column = attribute(order.key, self._is_sqlite)
            if order.key not in TIMES:
                yield "", (), (_Key(column, up),)
                return
            yield "", (Part(f"{column} > 0"),), (_Key(column, up),)
            yield "", (Part(f"{column} = 0"),), ()
            return
        is_metric = order.entity == METRIC
        table = "run_last_metrics" if is_metric else _texts(order.entity)
        mine = Part("o0.project = ? AND o0.key = ? AND o0.run_id = r.key", (self._query.project, order.key))
        if is_metric:
            yield f"{table} o0", (mine, Part("o0.value IS NOT NULL")), (_Key("o0.value", up),)
            yield f"{table} o0", (mine, Part("o0.value IS NULL")), ()
        else:
            yield f"{table} o0", (mine,), (_Key("o0.head", up), _Key("o0.value", up))
        none = f"NOT EXISTS (SELECT 1 FROM {table} n WHERE n.project = r.project AND n.run_id = r.key AND n.key = ?)"  # noqa: S608
        yield "", (Part(none, (order.key,)),), ()

    def _sorted(self, order: Order, at: int) -> Iterator[_Key]:
        """The keys of an order that is not the first: whether there is a value, then the value."""
        if order.entity == ATTRIBUTE:
            column = attribute(order.key, self._is_sqlite)
            if order.key in TIMES:
                yield _Key(f"(CASE WHEN {column} > 0 THEN 0 ELSE 1 END)")
            yield _Key(column, order.is_ascending)
            return
        is_nan = f"WHEN o{at}.value IS NULL THEN 1 " if order.entity == METRIC else ""
        yield _Key(f"(CASE WHEN o{at}.run_id IS NULL THEN 2 {is_nan}ELSE 0 END)")
        yield _Key(f"o{at}.value", order.is_ascending)

    def _join(self, order: Order, at: int) -> Part:
        table = "run_last_metrics" if order.entity == METRIC else _texts(order.entity)
        on = f"o{at}.project = r.project AND o{at}.run_id = r.key AND o{at}.key = ?"
        return Part(f"LEFT JOIN {table} o{at} ON {on}", (order.key,))


def _start(driver: str, few: list[str] | None, is_sqlite: bool) -> Part:
    """What is looked at first. SQLite goes through a CROSS JOIN in the order it is written; PostgreSQL chooses itself."""
    if few is None:
        return Part(f"{driver} CROSS JOIN runs r" if driver else "runs r")
    tables = f"runs r CROSS JOIN {driver}" if driver else "runs r"
    return (
        Part(f"json_each(?) k CROSS JOIN {tables}", (msgspec.json.encode(few).decode(),)) if is_sqlite else Part(tables)
    )


def _behind(keys: Sequence[_Key], values: Sequence[Any]) -> Part:
    """What comes after these values in the order of the keys; a value that is NULL ties with itself."""
    sql, bound = "1 = 0", ()  # type: tuple[str, tuple[Any, ...]]
    for key, value in reversed(list(zip(keys, values, strict=True))):
        if value is None:
            continue
        sign = ">" if key.is_ascending else "<"
        sql, bound = f"({key.sql} {sign} ? OR ({key.sql} = ? AND {sql}))", (value, value, *bound)
    first = next(((key, value) for key, value in zip(keys, values, strict=True) if value is not None), None)
    if first is None:
        return Part(sql, bound)
    edge = f"{first[0].sql} {'>=' if first[0].is_ascending else '<='} ?"  # a range the index can begin at
    return Part(f"{edge} AND {sql}", (first[1], *bound))


def _texts(entity: str) -> str:
    return "run_params" if entity == PARAM else "run_tags"


def _has_start(clause: Clause) -> bool:
    """True if an index finds the texts that meet the clause."""
    return clause.operator == "=" or (clause.operator == "LIKE" and bool(literal_start(str(clause.value))))
