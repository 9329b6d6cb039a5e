"""Tables of what runs read and made: datasets once for each experiment, and who read or made what."""

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import BigInteger, Column, Connection, Index, Table, Text, and_, delete, func, insert, select

from sill.core.errors import Refused
from sill.runs.logged_models import rules
from sill.runs.logged_models.types import (
    Dataset,
    DatasetInput,
    DatasetSummary,
    ModelOutput,
    RunInputs,
    RunLinks,
)
from sill.stores.database import Tx, metadata
from sill.stores.database.schema import key_type

SUMMARIES_MAX = 1_000
INPUT, OUTPUT = "input", "output"

datasets = Table(
    "run_datasets",
    metadata,
    Column("project", key_type(100), primary_key=True),
    Column("experiment_id", key_type(20), primary_key=True),
    Column("name", key_type(rules.DATASET_NAME_LENGTH_MAX), primary_key=True),
    Column("digest", key_type(rules.DATASET_DIGEST_LENGTH_MAX), primary_key=True),
    Column("source_type", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("schema", Text),
    Column("profile", Text),
)
inputs = Table(
    "run_inputs",
    metadata,
    Column("project", key_type(100), primary_key=True),
    Column("run_id", key_type(50), primary_key=True),
    Column("name", key_type(rules.DATASET_NAME_LENGTH_MAX), primary_key=True),
    Column("digest", key_type(rules.DATASET_DIGEST_LENGTH_MAX), primary_key=True),
    Column("experiment_id", key_type(20), nullable=False),
    Column("context", key_type(rules.INPUT_TAG_VALUE_LENGTH_MAX), nullable=False),
    Column("tags", Text, nullable=False),
    Column("at_us", BigInteger, nullable=False),
    Index("run_inputs_dataset", "project", "experiment_id", "name", "digest"),
)
"""`context` is the tag `mlflow.data.context`, empty if there is none; `tags` are all of them as JSON."""
run_models = Table(
    "run_models",
    metadata,
    Column("project", key_type(100), primary_key=True),
    Column("run_id", key_type(50), primary_key=True),
    Column("role", key_type(10), primary_key=True),
    Column("model_id", key_type(rules.MODEL_ID_LENGTH_MAX), primary_key=True),
    Column("step", BigInteger, primary_key=True, autoincrement=False),
    Column("at_us", BigInteger, nullable=False),
    Index("run_models_model", "project", "model_id"),
)
"""Logged models that runs read (`input`) or made (`output`)."""


def add_inputs(
    tx: Tx, project: str, run_id: str, experiment_id: str, given: Sequence[DatasetInput], model_ids: Sequence[str]
) -> None:
    """Keep what a run read; what is known already stays as it is.

    Raises:
        Refused: the run has too many.
    """
    first: dict[tuple[str, str], DatasetInput] = {}
    for each in given:
        first.setdefault((each.dataset.name, each.dataset.digest), each)
    known = {
        (row.name, row.digest)
        for row in tx.execute(select(inputs.c.name, inputs.c.digest).where(*_of(inputs, project, run_id)))
    }
    fresh = [each for key, each in first.items() if key not in known]
    if len(known) + len(fresh) > rules.DATASETS_PER_RUN_MAX:
        raise Refused(f"run {run_id} has {len(known)} datasets; at most {rules.DATASETS_PER_RUN_MAX} are kept.")
    for each in fresh:
        _keep_dataset(tx, project, experiment_id, each.dataset)
    rows = [
        {
            "project": project,
            "run_id": run_id,
            "name": each.dataset.name,
            "digest": each.dataset.digest,
            "experiment_id": experiment_id,
            "context": each.tags.get(rules.CONTEXT_TAG, ""),
            "tags": msgspec.json.encode(each.tags).decode(),
            "at_us": tx.now_us + place,  # they are read back in the order in which they were given
        }
        for place, each in enumerate(fresh)
    ]
    if rows:
        tx.execute(insert(inputs), rows)
    _add_models(tx, project, run_id, INPUT, [ModelOutput(model_id=model_id) for model_id in model_ids])


def add_outputs(tx: Tx, project: str, run_id: str, outputs: Sequence[ModelOutput]) -> None:
    """Keep which logged models a run made.

    Raises:
        Refused: the run has too many.
    """
    _add_models(tx, project, run_id, OUTPUT, outputs)


def links_of(connection: Connection, project: str, run_ids: Sequence[str]) -> dict[str, RunLinks]:
    """What each of the runs read and made; runs that did neither are left out. At most a page of runs at once."""
    found: dict[str, list[DatasetInput]] = {}
    i, d = inputs, datasets
    same = (
        i.c.project == d.c.project,
        i.c.experiment_id == d.c.experiment_id,
        i.c.name == d.c.name,
        i.c.digest == d.c.digest,
    )
    query = (
        select(i.c.run_id, i.c.tags, d.c.name, d.c.digest, d.c.source_type, d.c.source, d.c.schema, d.c.profile)
        .join_from(i, d, and_(*same))
        .where(i.c.project == project, i.c.run_id.in_(run_ids))
        .order_by(i.c.run_id, i.c.at_us, i.c.name, i.c.digest)
    )
    for row in connection.execute(query):
        dataset = Dataset(**{name: getattr(row, name) for name in Dataset.__struct_fields__})
        tags = msgspec.json.decode(row.tags, type=dict[str, str])
        found.setdefault(row.run_id, []).append(DatasetInput(dataset=dataset, tags=tags))
    models: dict[tuple[str, str], list[ModelOutput]] = {}
    m = run_models
    rows = select(m).where(m.c.project == project, m.c.run_id.in_(run_ids))
    for row in connection.execute(rows.order_by(m.c.run_id, m.c.at_us, m.c.step, m.c.model_id)):
        models.setdefault((row.run_id, row.role), []).append(ModelOutput(model_id=row.model_id, step=row.step))
    named = found.keys() | {run_id for run_id, _ in models}
    return {
        run_id: RunLinks(
            inputs=RunInputs(
                datasets=tuple(found.get(run_id, ())),
                models=tuple(each.model_id for each in models.get((run_id, INPUT), ())),
            ),
            outputs=tuple(models.get((run_id, OUTPUT), ())),
        )
        for run_id in named
    }


def summaries(connection: Connection, project: str, experiment_ids: Sequence[str]) -> tuple[DatasetSummary, ...]:
    """Datasets that runs of the experiments read, each once for each context; at most 1,000."""
    columns = (inputs.c.experiment_id, inputs.c.name, inputs.c.digest, inputs.c.context)
    query = select(*columns).where(inputs.c.project == project, inputs.c.experiment_id.in_(experiment_ids)).distinct()
    rows = connection.execute(query.order_by(*columns).limit(SUMMARIES_MAX))
    return tuple(DatasetSummary(**row) for row in rows.mappings())


def forget_run(tx: Tx, project: str, run_id: str) -> None:
    """Remove what a run read and made, and datasets that no run has read then."""
    i = inputs
    read = tx.execute(select(i.c.experiment_id, i.c.name, i.c.digest).where(*_of(i, project, run_id))).all()
    for table in (inputs, run_models):
        tx.execute(delete(table).where(*_of(table, project, run_id)))
    for row in read:
        here = [_same(t, project, row.experiment_id, row.name, row.digest) for t in (inputs, datasets)]
        if tx.execute(select(i.c.run_id).where(*here[0]).limit(1)).first() is None:
            tx.execute(delete(datasets).where(*here[1]))


def forget_model(tx: Tx, project: str, model_id: str) -> None:
    """Remove that runs read or made a logged model."""
    tx.execute(delete(run_models).where(run_models.c.project == project, run_models.c.model_id == model_id))


def _keep_dataset(tx: Tx, project: str, experiment_id: str, dataset: Dataset) -> None:
    here = _same(datasets, project, experiment_id, dataset.name, dataset.digest)
    if tx.execute(select(datasets.c.name).where(*here)).first() is None:
        row = msgspec.structs.asdict(dataset)
        tx.execute(insert(datasets).values(project=project, experiment_id=experiment_id, **row))


def _same(table: Table, project: str, experiment_id: str, name: str, digest: str) -> list[Any]:
    t = table.c
    return [t.project == project, t.experiment_id == experiment_id, t.name == name, t.digest == digest]


def _add_models(tx: Tx, project: str, run_id: str, role: str, given: Sequence[ModelOutput]) -> None:
    m = run_models
    here = [*_of(m, project, run_id), m.c.role == role]
    known = {(row.model_id, row.step) for row in tx.execute(select(m.c.model_id, m.c.step).where(*here))}
    fresh = [each for each in dict.fromkeys(given) if (each.model_id, each.step) not in known]
    count = tx.execute(select(func.count()).select_from(m).where(*_of(m, project, run_id))).scalar_one()
    if count + len(fresh) > rules.MODELS_PER_RUN_MAX:
        raise Refused(f"run {run_id} has {count} models; at most {rules.MODELS_PER_RUN_MAX} are kept.")
    rows = [
        {"project": project, "run_id": run_id, "role": role, "model_id": each.model_id, "step": each.step}
        for each in fresh
    ]
    if rows:
        tx.execute(insert(m).values(at_us=tx.now_us), rows)


def _of(table: Table, project: str, run_id: str) -> list[Any]:
    return [table.c.project == project, table.c.run_id == run_id]
