"""Where models and versions are looked for: one row for each, with the fields and tags that filters and orders name.

The rows are written by `store.keep_model` and its siblings, beside the documents and in the same transaction.
"""

from typing import Any

from sqlalchemy import BigInteger, Column, Connection, Index, Table, Text, delete, insert, select, update

from sill.models.types import PROMPT_TAG, ModelVersion, RegisteredModel
from sill.stores.database import Tx, metadata
from sill.stores.database.schema import key_type

MODEL = 0
"""The version number of the row that stands for the model itself."""

entries = Table(
    "model_entries",
    metadata,
    Column("project", key_type(100), primary_key=True),
    Column("model", key_type(256), primary_key=True),
    Column("version", BigInteger, primary_key=True, autoincrement=False),
    Column("run_id", key_type(256), nullable=False),
    Column("source", Text, nullable=False),
    Column("stage", key_type(20), nullable=False),
    Column("is_prompt", BigInteger, nullable=False),
    Column("created_us", BigInteger, nullable=False),
    Column("changed_us", BigInteger, nullable=False),
    Index("model_entries_changed", "project", "changed_us"),
    Index("model_entries_run", "project", "run_id"),
)
tags = Table(
    "model_tags",
    metadata,
    Column("project", key_type(100), primary_key=True),
    Column("model", key_type(256), primary_key=True),
    Column("version", BigInteger, primary_key=True, autoincrement=False),
    Column("key", key_type(250), primary_key=True),
    Column("value", Text, nullable=False),
    Index("model_tags_by_key", "project", "key"),
)


def note_model(tx: Tx, model: RegisteredModel) -> None:
    """Keep the row of a model; its versions are prompts exactly if it is one."""
    is_prompt = int(model.is_prompt)
    _put(
        tx,
        model.project,
        model.name,
        MODEL,
        model.tags,
        run_id="",
        source="",
        stage="",
        is_prompt=is_prompt,
        created_us=model.created_us,
        changed_us=model.changed_us or model.created_us,
    )
    t = entries
    of_model = (t.c.project == model.project, t.c.model == model.name, t.c.version != MODEL)
    tx.execute(update(t).where(*of_model, t.c.is_prompt != is_prompt).values(is_prompt=is_prompt))


def note_version(tx: Tx, version: ModelVersion, *, is_prompt: bool) -> None:
    """Keep the row of a version."""
    _put(
        tx,
        version.project,
        version.model,
        version.version,
        version.tags,
        run_id=version.spec.run_id,
        source=version.source,
        stage=version.stage.value,
        is_prompt=int(is_prompt or version.tags.get(PROMPT_TAG, "").lower() == "true"),
        created_us=version.created_us,
        changed_us=version.changed_us or version.created_us,
    )


def forget(tx: Tx, project: str, model: str, version: int | None = None) -> None:
    """Remove the row of a version, or those of a model with all its versions."""
    for table in (entries, tags):
        where = [table.c.project == project, table.c.model == model]
        tx.execute(delete(table).where(*where, *([] if version is None else [table.c.version == version])))


def numbers(connection: Connection, project: str, model: str) -> list[int]:
    """The versions of a model, oldest first."""
    t = entries
    query = select(t.c.version).where(t.c.project == project, t.c.model == model, t.c.version != MODEL)
    return [row.version for row in connection.execute(query.order_by(t.c.version))]


def _put(tx: Tx, project: str, model: str, version: int, tagged: dict[str, str], **values: Any) -> None:
    t = entries
    where = (t.c.project == project, t.c.model == model, t.c.version == version)
    if tx.execute(update(t).where(*where).values(**values)).rowcount == 0:
        tx.execute(insert(t).values(project=project, model=model, version=version, **values))
    tx.execute(delete(tags).where(tags.c.project == project, tags.c.model == model, tags.c.version == version))
    if tagged:
        key = {"project": project, "model": model, "version": version}
        tx.execute(insert(tags), [key | {"key": name, "value": value} for name, value in tagged.items()])
