"""Tables of evaluation datasets and their records, and the queries on them."""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    Index,
    Table,
    Text,
    and_,
    delete,
    exists,
    func,
    insert,
    select,
    update,
)

from sill.core.errors import NotFound
from sill.core.names import shorten
from sill.runs.evaluation.types import EvaluationDataset, EvaluationRecord
from sill.runs.tracking.compare import compare
from sill.runs.tracking.filters import Clause, Entity, Fields, Key, Order, parse_filter, parse_order
from sill.stores.database import Tx, metadata
from sill.stores.database.schema import key_type
from sill.stores.database.sql import in_groups

_TIMES = {name: Key(name, is_number=True) for name in ("created_time", "last_update_time")}
_TEXTS = {name: Key(name, takes_list=name == "name") for name in ("name", "dataset_id", "digest")}
_BY = {name: Key(name) for name in ("created_by", "last_updated_by")}
FIELDS = Fields(
    (
        Entity(
            "attribute",
            frozenset({"attribute", "attributes", "attr", "dataset", "datasets"}),
            {**_TIMES, **_TEXTS, **_BY},
        ),
        Entity("tag", frozenset({"tag", "tags"}), is_ordered=False),
    )
)

datasets = Table(
    "evaluation_datasets",
    metadata,
    Column("project", key_type(100), primary_key=True),
    Column("id", key_type(50), primary_key=True),
    Column("name", Text, nullable=False),
    Column("digest", key_type(64), nullable=False),
    Column("schema", Text),
    Column("records", BigInteger, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("updated_ms", BigInteger, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("updated_by", Text, nullable=False),
    Column("revision", BigInteger, nullable=False),
)
tags = Table(
    "evaluation_dataset_tags",
    metadata,
    Column("project", key_type(100), primary_key=True),
    Column("dataset_id", key_type(50), primary_key=True),
    Column("key", key_type(250), primary_key=True),
    Column("value", Text, nullable=False),
)
uses = Table(
    "evaluation_dataset_experiments",
    metadata,
    Column("project", key_type(100), primary_key=True),
    Column("dataset_id", key_type(50), primary_key=True),
    Column("experiment_id", key_type(20), primary_key=True),
    Index("evaluation_dataset_experiments_by", "project", "experiment_id"),
)
records = Table(
    "evaluation_records",
    metadata,
    Column("project", key_type(100), primary_key=True),
    Column("dataset_id", key_type(50), primary_key=True),
    Column("inputs_digest", key_type(64), primary_key=True),
    Column("id", key_type(50), nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    Column("content", Text, nullable=False),
    Index("evaluation_records_order", "project", "dataset_id", "created_ms", "id"),
)
_COLUMNS: dict[str, Any] = {
    "name": datasets.c.name,
    "dataset_id": datasets.c.id,
    "digest": datasets.c.digest,
    "created_time": datasets.c.created_ms,
    "last_update_time": datasets.c.updated_ms,
    "created_by": datasets.c.created_by,
    "last_updated_by": datasets.c.updated_by,
}
_OWN = (
    "id",
    "project",
    "name",
    "digest",
    "records",
    "created_ms",
    "updated_ms",
    "created_by",
    "updated_by",
    "revision",
)


def get(connection: Connection, project: str, dataset_id: str) -> EvaluationDataset:
    """The dataset.

    Raises:
        NotFound: absent, or another tenant's.
    """
    t = datasets
    rows = list(connection.execute(select(t).where(t.c.project == project, t.c.id == dataset_id)))
    if not rows:
        raise NotFound(
            f"Evaluation dataset with id {shorten(dataset_id)!r} not found in project {project!r}.",
            fix="Search the evaluation datasets of the project.",
            field="dataset_id",
        )
    return _read(connection, project, rows)[0]


def find(
    connection: Connection,
    project: str,
    experiment_ids: Sequence[str],
    text: str,
    order_by: Sequence[str],
    limit: int,
    offset: int,
) -> tuple[list[EvaluationDataset], bool]:
    """Datasets that a filter matches, from `offset` on, and whether more follow. Newest first unless ordered otherwise.

    Raises:
        InvalidValue: the filter or the order is not in the grammar.
    """
    t = datasets
    query = select(t).where(t.c.project == project, *(_condition(clause) for clause in parse_filter(text, FIELDS)))
    if experiment_ids:
        here = and_(uses.c.project == project, uses.c.dataset_id == t.c.id)
        query = query.where(exists().where(here, uses.c.experiment_id.in_(experiment_ids)))
    orders = parse_order(order_by, FIELDS) or (Order("attribute", "created_time", is_ascending=False),)
    for order in orders:
        column = _COLUMNS[order.key]
        query = query.order_by(column.asc() if order.is_ascending else column.desc())
    rows = list(connection.execute(query.order_by(t.c.id.desc()).limit(limit + 1).offset(offset)))
    return _read(connection, project, rows[:limit]), len(rows) > limit


def create(tx: Tx, dataset: EvaluationDataset) -> EvaluationDataset:
    """Keep a new dataset."""
    tx.execute(insert(datasets).values(**_row(dataset)))
    set_tags(tx, dataset, dataset.tags)
    use(tx, dataset, dataset.experiment_ids)
    return get(tx.connection, dataset.project, dataset.id)


def replace(tx: Tx, dataset: EvaluationDataset) -> EvaluationDataset:
    """Keep a changed dataset, one revision further; tags and experiments are kept by themselves."""
    t = datasets
    fresh = msgspec.structs.replace(dataset, revision=dataset.revision + 1)
    tx.execute(update(t).where(t.c.project == fresh.project, t.c.id == fresh.id).values(**_row(fresh)))
    return get(tx.connection, fresh.project, fresh.id)


def set_tags(tx: Tx, dataset: EvaluationDataset, given: dict[str, str]) -> None:
    """Keep tags, new or changed."""
    for key, value in given.items():
        delete_tag(tx, dataset, key)
        tx.execute(insert(tags).values(project=dataset.project, dataset_id=dataset.id, key=key, value=value))


def delete_tag(tx: Tx, dataset: EvaluationDataset, key: str) -> None:
    """Remove a tag, if it is there."""
    t = tags
    tx.execute(delete(t).where(t.c.project == dataset.project, t.c.dataset_id == dataset.id, t.c.key == key))


def use(tx: Tx, dataset: EvaluationDataset, experiment_ids: Sequence[str]) -> None:
    """Keep that experiments use the dataset."""
    leave(tx, dataset, experiment_ids)
    for experiment_id in dict.fromkeys(experiment_ids):
        tx.execute(insert(uses).values(project=dataset.project, dataset_id=dataset.id, experiment_id=experiment_id))


def leave(tx: Tx, dataset: EvaluationDataset, experiment_ids: Sequence[str]) -> None:
    """Keep that experiments do not use the dataset."""
    t = uses
    here = (t.c.project == dataset.project) & (t.c.dataset_id == dataset.id)
    tx.execute(delete(t).where(here, t.c.experiment_id.in_(experiment_ids)))


def forget(tx: Tx, dataset: EvaluationDataset) -> None:
    """Remove a dataset with all its records."""
    for table in (tags, uses, records):
        tx.execute(delete(table).where(table.c.project == dataset.project, table.c.dataset_id == dataset.id))
    tx.execute(delete(datasets).where(datasets.c.project == dataset.project, datasets.c.id == dataset.id))


def forget_experiment(tx: Tx, project: str, experiment_id: str) -> set[str]:
    """Remove that an experiment which is gone uses datasets; the datasets stay. No blobs were held."""
    tx.execute(delete(uses).where(uses.c.project == project, uses.c.experiment_id == experiment_id))
    return set()


def digest(inputs: dict[str, Any]) -> str:
    """What makes two records the same: the digest of their inputs, whatever the order of keys."""
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()


def known_records(
    connection: Connection, dataset: EvaluationDataset, digests: Sequence[str]
) -> dict[str, EvaluationRecord]:
    """The records with those inputs, by their digest."""
    t = records
    here = (t.c.project == dataset.project) & (t.c.dataset_id == dataset.id)
    found = {}
    for some in in_groups(digests):
        for row in connection.execute(select(t).where(here, t.c.inputs_digest.in_(some))):
            found[row.inputs_digest] = msgspec.json.decode(row.content, type=EvaluationRecord)
    return found


def put_record(tx: Tx, dataset: EvaluationDataset, record: EvaluationRecord, *, is_new: bool) -> None:
    """Keep a record, new or changed."""
    t = records
    inputs_digest = digest(record.inputs)
    content = msgspec.json.encode(record).decode()
    here = (t.c.project == dataset.project) & (t.c.dataset_id == dataset.id) & (t.c.inputs_digest == inputs_digest)
    if not is_new:
        tx.execute(update(t).where(here).values(content=content))
        return
    place = {"project": dataset.project, "dataset_id": dataset.id, "inputs_digest": inputs_digest, "id": record.id}
    tx.execute(insert(t).values(**place, created_ms=record.created_ms, content=content))


def read_records(
    connection: Connection, project: str, dataset_id: str, limit: int, offset: int
) -> tuple[list[EvaluationRecord], bool]:
    """Records in the order they came, from `offset` on, and whether more follow."""
    t = records
    query = select(t.c.content).where(t.c.project == project, t.c.dataset_id == dataset_id)
    rows = list(connection.execute(query.order_by(t.c.created_ms, t.c.id).limit(limit + 1).offset(offset)).scalars())
    return [msgspec.json.decode(content, type=EvaluationRecord) for content in rows[:limit]], len(rows) > limit


def delete_records(tx: Tx, dataset: EvaluationDataset, ids: Sequence[str]) -> int:
    """Remove records; how many there were."""
    t = records
    here = (t.c.project == dataset.project) & (t.c.dataset_id == dataset.id)
    return sum(tx.execute(delete(t).where(here, t.c.id.in_(some))).rowcount for some in in_groups(ids))


def count_records(connection: Connection, dataset: EvaluationDataset) -> int:
    """How many records there are."""
    t = records
    here = (t.c.project == dataset.project) & (t.c.dataset_id == dataset.id)
    return connection.execute(select(func.count()).select_from(t).where(here)).scalar_one()


def _condition(clause: Clause) -> ColumnElement[bool]:
    if clause.entity == "attribute":
        return compare(_COLUMNS[clause.key], clause)
    t = tags
    here = and_(t.c.project == datasets.c.project, t.c.dataset_id == datasets.c.id, t.c.key == clause.key)
    return exists().where(here, compare(t.c.value, clause))


def _row(dataset: EvaluationDataset) -> dict[str, Any]:
    schema = None if dataset.schema is None else msgspec.json.encode(dataset.schema).decode()
    return {**{name: getattr(dataset, name) for name in _OWN}, "schema": schema}


def _read(connection: Connection, project: str, rows: list[Any]) -> list[EvaluationDataset]:
    ids = [row.id for row in rows]
    tagged: dict[str, dict[str, str]] = {dataset_id: {} for dataset_id in ids}
    used: dict[str, list[str]] = {dataset_id: [] for dataset_id in ids}
    for some in in_groups(ids):
        for tag in connection.execute(select(tags).where(tags.c.project == project, tags.c.dataset_id.in_(some))):
            tagged[tag.dataset_id][tag.key] = tag.value
        for use_ in connection.execute(select(uses).where(uses.c.project == project, uses.c.dataset_id.in_(some))):
            used[use_.dataset_id].append(use_.experiment_id)
    return [
        EvaluationDataset(
            **{name: getattr(row, name) for name in _OWN},
            schema=None if row.schema is None else msgspec.json.decode(row.schema),
            tags=tagged[row.id],
            experiment_ids=tuple(sorted(used[row.id], key=int)),
        )
        for row in rows
    ]
