"""Tables of logged models: their records, params, tags, and the last point of each metric measured of them."""

import hashlib
import math
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Double,
    Index,
    Row,
    Table,
    Text,
    delete,
    func,
    insert,
    select,
    update,
)

from sill.core.errors import NotFound, Refused
from sill.core.names import shorten
from sill.runs.logged_models import rules
from sill.runs.logged_models.types import LoggedModel, LoggedModelStatus, ModelMetric
from sill.runs.types import Lifecycle, Metric
from sill.stores.database import Tx, metadata
from sill.stores.database.schema import key_type

models = Table(
    "logged_models",
    metadata,
    Column("project", key_type(100), primary_key=True),
    Column("model_id", key_type(rules.MODEL_ID_LENGTH_MAX), primary_key=True),
    Column("experiment_id", key_type(20), nullable=False),
    Column("name", key_type(rules.NAME_LENGTH_MAX), nullable=False),
    Column("run_id", key_type(rules.RUN_ID_LENGTH_MAX), nullable=False),
    Column("model_type", key_type(rules.TYPE_LENGTH_MAX), nullable=False),
    Column("status", key_type(20), nullable=False),
    Column("status_message", Text, nullable=False),
    Column("artifact_uri", Text, nullable=False),
    Column("lifecycle", key_type(20), nullable=False),
    Column("created_us", BigInteger, nullable=False),
    Column("updated_us", BigInteger, nullable=False),
    Column("deleted_us", BigInteger, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Index("logged_models_listed", "project", "experiment_id", "lifecycle", "created_us"),
    Index("logged_models_run", "project", "run_id"),
)


def _texts(name: str) -> Table:
    return Table(
        name,
        metadata,
        Column("project", key_type(100), primary_key=True),
        Column("model_id", key_type(rules.MODEL_ID_LENGTH_MAX), primary_key=True),
        Column("key", key_type(250), primary_key=True),
        Column("value", Text, nullable=False),
    )


params = _texts("logged_model_params")
tags = _texts("logged_model_tags")
metrics = Table(
    "logged_model_metrics",
    metadata,
    Column("project", key_type(100), primary_key=True),
    Column("model_id", key_type(rules.MODEL_ID_LENGTH_MAX), primary_key=True),
    Column("series", key_type(64), primary_key=True),
    Column("key", key_type(250), nullable=False),
    Column("run_id", key_type(rules.RUN_ID_LENGTH_MAX), nullable=False),
    Column("dataset_name", key_type(rules.DATASET_NAME_LENGTH_MAX), nullable=False),
    Column("dataset_digest", key_type(250), nullable=False),
    Column("step", BigInteger, nullable=False),
    Column("timestamp_ms", BigInteger, nullable=False),
    Column("value", Double),
    Index("logged_model_metrics_run", "project", "run_id"),
)
"""The last point of each series: key, run and dataset, of which `series` is the digest. `value` NULL means NaN."""
TABLES = (models, params, tags, metrics)


def find(connection: Connection, project: str, model_id: str) -> LoggedModel | None:
    """The model of that id, deleted or not, or None."""
    row = connection.execute(select(models).where(*_of(models, project, model_id))).first()
    return None if row is None else read(connection, project, [row])[0]


def get(connection: Connection, project: str, model_id: str) -> LoggedModel:
    """The model of that id, deleted or not.

    Raises:
        NotFound: there is none.
    """
    found = find(connection, project, rules.check_model_id(model_id))
    if found is None:
        raise no_model(model_id)
    return found


def no_model(model_id: str) -> NotFound:
    """The error for an id that no logged model has."""
    return NotFound(f"Logged model with ID {shorten(model_id)!r} not found.", fix="Search the project's logged models.")


def read(connection: Connection, project: str, rows: Sequence[Row[Any]]) -> list[LoggedModel]:
    """The models that the rows stand for, with params, tags and metrics."""
    ids = [row.model_id for row in rows]
    kept = {table: _texts_of(connection, table, project, ids) for table in (params, tags)}
    measured: dict[str, list[ModelMetric]] = {}
    m = metrics
    query = select(m).where(m.c.project == project, m.c.model_id.in_(ids))
    for row in connection.execute(query.order_by(m.c.key, m.c.timestamp_ms, m.c.step, m.c.series)):
        fields = {name: getattr(row, name) for name in ModelMetric.__struct_fields__ if name != "value"}
        value = math.nan if row.value is None else row.value
        measured.setdefault(row.model_id, []).append(ModelMetric(value=value, **fields))
    return [
        LoggedModel(
            id=row.model_id,
            project=project,
            experiment_id=row.experiment_id,
            name=row.name,
            run_id=row.run_id,
            model_type=row.model_type,
            status=LoggedModelStatus(row.status),
            status_message=row.status_message,
            artifact_uri=row.artifact_uri,
            params=kept[params].get(row.model_id, {}),
            tags=kept[tags].get(row.model_id, {}),
            metrics=tuple(measured.get(row.model_id, ())),
            lifecycle=Lifecycle(row.lifecycle),
            created_us=row.created_us,
            updated_us=row.updated_us,
            deleted_us=row.deleted_us,
            revision=row.revision,
        )
        for row in rows
    ]


def create(tx: Tx, model: LoggedModel) -> LoggedModel:
    """Keep a new model with its params and tags."""
    columns = ("project", "experiment_id", "name", "run_id", "model_type", "status_message", "artifact_uri")
    row = {name: getattr(model, name) for name in columns}
    times = {"created_us": tx.now_us, "updated_us": tx.now_us, "deleted_us": 0, "revision": 1}
    states = {"status": model.status.value, "lifecycle": model.lifecycle.value}
    tx.execute(insert(models).values(model_id=model.id, **row, **times, **states))
    keep_texts(tx, params, model, model.params)
    keep_texts(tx, tags, model, model.tags)
    return get(tx.connection, model.project, model.id)


def change(tx: Tx, model: LoggedModel, **fields: Any) -> LoggedModel:
    """Keep changed fields, one revision further."""
    values = {**fields, "updated_us": tx.now_us, "revision": model.revision + 1}
    tx.execute(update(models).where(*_of(models, model.project, model.id)).values(**values))
    return get(tx.connection, model.project, model.id)


def keep_texts(tx: Tx, table: Table, model: LoggedModel, texts: dict[str, str]) -> None:
    """Keep params or tags, new or changed.

    Raises:
        Refused: the model has too many.
    """
    if not texts:
        return
    here = _of(table, model.project, model.id)
    tx.execute(delete(table).where(*here, table.c.key.in_(texts)))
    count = tx.execute(select(func.count()).select_from(table).where(*here)).scalar_one()
    if count + len(texts) > rules.TEXTS_PER_MODEL_MAX:
        raise Refused(f"logged model {model.id} has {count} of these; at most {rules.TEXTS_PER_MODEL_MAX} are kept.")
    rows = [{"project": model.project, "model_id": model.id, "key": key, "value": text} for key, text in texts.items()]
    tx.execute(insert(table), rows)


def delete_tag(tx: Tx, model: LoggedModel, key: str) -> None:
    """Remove a tag.

    Raises:
        NotFound: there is none of that key.
    """
    if tx.execute(delete(tags).where(*_of(tags, model.project, model.id), tags.c.key == key)).rowcount == 0:
        raise NotFound(
            f"No tag with key {shorten(key)!r} found for model with ID {model.id!r}.", fix="Look at the model's tags."
        )


def keep_metrics(tx: Tx, project: str, run_id: str, points: Iterable[Metric]) -> None:
    """Keep the last point of each series that was measured of a model: highest step, then time, then value.

    Points without a `model_id` are none of ours. Call it with what was logged, times filled in.
    """
    newest: dict[tuple[str, str], Metric] = {}
    for point in points:
        if point.model_id:
            place = (point.model_id, _series(run_id, point))
            newest[place] = max(newest.get(place, point), point, key=_order)
    for (model_id, series), point in newest.items():
        here = [*_of(metrics, project, model_id), metrics.c.series == series]
        row = tx.execute(select(metrics.c.step, metrics.c.timestamp_ms, metrics.c.value).where(*here)).first()
        value = None if math.isnan(point.value) else point.value
        fields = {"step": point.step, "timestamp_ms": point.timestamp_ms, "value": value}
        if row is None:
            names = {"key": point.key, "dataset_name": point.dataset_name, "dataset_digest": point.dataset_digest}
            place_of = {"project": project, "model_id": model_id, "series": series, "run_id": run_id}
            tx.execute(insert(metrics).values(**place_of, **names, **fields))
        elif _order(point) > (row.step, row.timestamp_ms, -math.inf if row.value is None else row.value):
            tx.execute(update(metrics).where(*here).values(**fields))


def forget(tx: Tx, project: str, model_id: str) -> None:
    """Remove a model and all that is kept of it."""
    for table in TABLES:
        tx.execute(delete(table).where(*_of(table, project, model_id)))


def forget_run(tx: Tx, project: str, run_id: str) -> None:
    """Remove what a run that is gone measured of models. A model goes on saying which run made it."""
    tx.execute(delete(metrics).where(metrics.c.project == project, metrics.c.run_id == run_id))


def ids_of(connection: Connection, project: str, experiment_id: str) -> list[str]:
    """Ids of all models of an experiment, deleted ones too."""
    query = select(models.c.model_id).where(models.c.project == project, models.c.experiment_id == experiment_id)
    return list(connection.execute(query).scalars())


def deleted_before(connection: Connection, project: str, before_us: int) -> list[str]:
    """Models of a project that were deleted before a time."""
    query = select(models.c.model_id).where(
        models.c.project == project, models.c.lifecycle == Lifecycle.DELETED.value, models.c.deleted_us < before_us
    )
    return list(connection.execute(query).scalars())


def _texts_of(connection: Connection, table: Table, project: str, ids: Sequence[str]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    query = select(table).where(table.c.project == project, table.c.model_id.in_(ids)).order_by(table.c.key)
    for row in connection.execute(query):
        found.setdefault(row.model_id, {})[row.key] = row.value
    return found


def _series(run_id: str, point: Metric) -> str:
    text = "\0".join((point.key, run_id, point.dataset_name, point.dataset_digest))
    return hashlib.sha256(text.encode()).hexdigest()


def _order(point: Metric) -> tuple[int, int, float]:
    return point.step, point.timestamp_ms, -math.inf if math.isnan(point.value) else point.value


def _of(table: Table, project: str, model_id: str) -> list[Any]:
    return [table.c.project == project, table.c.model_id == model_id]
