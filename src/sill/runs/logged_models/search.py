"""Searching logged models: which fields there are, and how a filter and an order become SQL."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, case, exists, or_, select

from sill.core.errors import InvalidValue
from sill.core.names import shorten
from sill.runs.experiments.search import parse_offset
from sill.runs.logged_models import store
from sill.runs.logged_models.store import metrics, models
from sill.runs.logged_models.types import DatasetFilter, LoggedModel, LoggedModelStatus, ModelOrder
from sill.runs.tracking.conditions import Part, text_part, time_part
from sill.runs.tracking.filters import ORDERS_MAX, TEXTS, Clause, Entity, Fields, Key, parse_filter
from sill.runs.types import Lifecycle
from sill.stores.database import Page

DATASETS_MAX = 100
_TIMES = {
    **dict.fromkeys(("creation_time", "creation_timestamp"), "created_us"),
    **dict.fromkeys(("last_updated_time", "last_updated_timestamp"), "updated_us"),
}
_TEXTS = {
    **{name: name for name in ("name", "model_id", "model_type", "status")},
    "source_run_id": "run_id",
}
FIELDS = Fields(
    (
        Entity(
            "attribute",
            frozenset({"attribute", "attributes"}),
            {name: Key(name, is_number=True) for name in _TIMES}
            | {name: Key(name, takes_list=True) for name in _TEXTS},
        ),
        Entity("metric", frozenset({"metric", "metrics"}), is_number=True),
        Entity("param", frozenset({"param", "params"}), operators=TEXTS),
        Entity("tag", frozenset({"tag", "tags"}), operators=TEXTS),
    )
)
_MS = 1_000
_COLUMNS: dict[str, Any] = {
    **{key: models.c[column] for key, column in _TEXTS.items()},
    **{key: models.c[column] // _MS for key, column in _TIMES.items()},
}
_NUMBERS = {"=": "__eq__", "!=": "__ne__", "<": "__lt__", "<=": "__le__", ">": "__gt__", ">=": "__ge__"}


@dataclass(frozen=True)
class Wanted:
    """What is searched for, checked."""

    clauses: tuple[Clause, ...]
    datasets: tuple[DatasetFilter, ...]
    order_by: tuple[ModelOrder, ...]


def parse(filter: str, datasets: Sequence[DatasetFilter], order_by: Sequence[ModelOrder]) -> Wanted:
    """The search, if all of it can be understood.

    Raises:
        InvalidValue: filter, dataset or order is not of its form.
    """
    if len(datasets) > DATASETS_MAX or len(order_by) > ORDERS_MAX:
        raise InvalidValue(
            f"{len(datasets)} datasets and {len(order_by)} keys of the order were given; at most {DATASETS_MAX} and "
            f"{ORDERS_MAX} are allowed.",
            field="datasets",
        )
    if not all(one.name for one in datasets):
        raise InvalidValue("`dataset_name` in the `datasets` clause must be specified.", field="datasets")
    for order in order_by:
        prefix, dot, _ = order.field.partition(".")
        if dot and prefix != "metrics":
            raise InvalidValue(
                f"Invalid order by field name: {shorten(order.field)}. Only metrics are supported.", field="order_by"
            )
        if not dot and order.field not in _COLUMNS:
            raise InvalidValue(
                f"Invalid order by field name: {shorten(order.field)}. {sorted(_COLUMNS)} and metrics.KEY are allowed.",
                field="order_by",
            )
    clauses = tuple(_of_status(one) if one.key == "status" else one for one in parse_filter(filter, FIELDS))
    return Wanted(clauses, tuple(datasets), tuple(order_by))


def page(
    connection: Connection, project: str, experiment_ids: Sequence[str], wanted: Wanted, limit: int, after: str
) -> Page[LoggedModel]:
    """Models that match, from a page token on: the newest first unless ordered otherwise. Those without a value last.

    Raises:
        InvalidValue: the page token is none of ours.
    """
    m, is_sqlite = models, connection.dialect.name == "sqlite"
    query = select(m).where(
        m.c.project == project,
        m.c.experiment_id.in_(experiment_ids),
        m.c.lifecycle == Lifecycle.ACTIVE.value,
        *(_condition(project, clause, wanted.datasets, is_sqlite) for clause in wanted.clauses),
    )
    if wanted.datasets and not any(clause.entity == "metric" for clause in wanted.clauses):
        query = query.where(exists().where(_measured(project), _on(wanted.datasets)))
    for order in wanted.order_by:
        query = query.order_by(*_terms(project, order, wanted.datasets))
    offset = parse_offset(after)
    query = query.order_by(m.c.created_us.desc(), m.c.model_id.asc()).offset(offset).limit(limit + 1)
    rows = connection.execute(query).all()
    items = tuple(store.read(connection, project, rows[:limit]))
    return Page(items=items, next=str(offset + limit) if len(rows) > limit else "")


def _condition(project: str, clause: Clause, datasets: tuple[DatasetFilter, ...], is_sqlite: bool) -> Any:
    if clause.entity == "metric":
        value = _last_value(project, clause.key, datasets)
        return getattr(value, _NUMBERS[clause.operator])(clause.value)
    if clause.entity == "attribute" and clause.key in _TIMES:
        column = f"logged_models.{_TIMES[clause.key]}"
        return time_part(column, clause.operator, clause.value).as_clause()  # type: ignore[arg-type]  # the grammar saw to it
    if clause.entity == "attribute":
        column = f"logged_models.{_TEXTS[clause.key]}"
        return text_part(column, clause.operator, clause.value, is_sqlite=is_sqlite).as_clause()
    table = "logged_model_params" if clause.entity == "param" else "logged_model_tags"
    met = text_part("t.value", clause.operator, clause.value, is_sqlite=is_sqlite)
    text = f"SELECT 1 FROM {table} t WHERE t.project = ? AND t.model_id = logged_models.model_id AND t.key = ?"  # noqa: S608  # our own names
    return Part(f"EXISTS ({text} AND {met.sql})", (project, clause.key, *met.values)).as_clause()


def _terms(project: str, order: ModelOrder, datasets: tuple[DatasetFilter, ...]) -> tuple[Any, ...]:
    if "." not in order.field:
        column = _COLUMNS[order.field]
    else:
        named = DatasetFilter(name=order.dataset_name, digest=order.dataset_digest)
        on = (named,) if order.dataset_name else datasets
        column = _last_value(project, order.field.partition(".")[2], on)
    return case((column.is_(None), 1), else_=0).asc(), column.asc() if order.is_ascending else column.desc()


def _last_value(project: str, key: str, datasets: tuple[DatasetFilter, ...]) -> Any:
    """The value of a metric at the highest step, then time, then value, measured on one of the datasets if any is named."""
    last = (metrics.c.step.desc(), metrics.c.timestamp_ms.desc(), metrics.c.value.desc())
    query = select(metrics.c.value).where(_measured(project), metrics.c.key == key)
    if datasets:
        query = query.where(_on(datasets))
    return query.order_by(*last).limit(1).correlate(models).scalar_subquery()


def _measured(project: str) -> ColumnElement[bool]:
    return and_(metrics.c.project == project, metrics.c.model_id == models.c.model_id)


def _on(datasets: tuple[DatasetFilter, ...]) -> ColumnElement[bool]:
    return or_(
        *(
            and_(
                metrics.c.dataset_name == one.name,
                *([metrics.c.dataset_digest == one.digest] if one.digest else []),
            )
            for one in datasets
        )
    )


def _of_status(clause: Clause) -> Clause:
    """Clients write the status in capitals."""
    if clause.operator not in ("=", "!=", "IN", "NOT IN"):
        raise InvalidValue(f"Invalid comparison operator for status: {clause.operator}", field="filter")
    given = clause.value if isinstance(clause.value, tuple) else (str(clause.value),)
    known = {status.value for status in LoggedModelStatus}
    if not known >= {one.lower() for one in given}:
        raise InvalidValue(f"Unknown model status in filter: {shorten(str(clause.value))!r}", field="filter")
    lower = tuple(one.lower() for one in given)
    return Clause(clause.entity, clause.key, clause.operator, lower if isinstance(clause.value, tuple) else lower[0])
