"""Registered models and their versions in the database."""

import msgspec
from sqlalchemy import Connection, Table, func, select

from sill.core.errors import InvalidValue
from sill.models import entries
from sill.models.types import ModelVersion, RegisteredModel, VersionState
from sill.stores.database import Documents, Page, Tx
from sill.stores.database.documents import PAGE_MAX

MODELS: Documents[RegisteredModel] = Documents("models", RegisteredModel)
VERSIONS: Documents[ModelVersion] = Documents(
    "model_versions", ModelVersion, key="id", columns=("model", "version", "state"), noun="model version"
)


def version_id(model: str, version: int) -> str:
    """The key of a version."""
    return f"{model}/{version}"


def keep_model(tx: Tx, model: RegisteredModel) -> RegisteredModel:
    """Keep a model, new or changed, and what it is found by."""
    entries.note_model(tx, model)
    return MODELS.put(tx, model)


def create_version(tx: Tx, version: ModelVersion, *, is_prompt: bool = False) -> ModelVersion:
    """Keep a new version, and what it is found by."""
    entries.note_version(tx, version, is_prompt=is_prompt)
    return VERSIONS.create(tx, version)


def replace_version(tx: Tx, version: ModelVersion, *, is_prompt: bool = False) -> ModelVersion:
    """Keep a changed version, and what it is found by.

    Raises:
        Conflict: somebody else changed it in between.
    """
    entries.note_version(tx, version, is_prompt=is_prompt)
    return VERSIONS.replace(tx, version)


def drop_version(tx: Tx, version: ModelVersion) -> None:
    """Remove a version, and what it was found by."""
    entries.forget(tx, version.project, version.model, version.version)
    VERSIONS.delete(tx, version.project, version.id)


def drop_model(tx: Tx, model: RegisteredModel) -> None:
    """Remove a model without versions, and what it was found by."""
    entries.forget(tx, model.project, model.name)
    MODELS.delete(tx, model.project, model.name)


def champion_of(connection: Connection, model: RegisteredModel, alias: str) -> ModelVersion | None:
    """The version that the alias names, if it may serve."""
    number = model.aliases.get(alias, 0)
    found = VERSIONS.find(connection, model.project, version_id(model.name, number)) if number else None
    return found if found is not None and found.may_serve else None


def versions_page(connection: Connection, project: str, model: str, after: str, limit: int) -> Page[ModelVersion]:
    """Versions of a model, newest first; `after` is the version number the page before ended with."""
    if not 1 <= limit <= PAGE_MAX:
        raise InvalidValue(f"limit {limit} is not within 1 to {PAGE_MAX}.", field="limit")
    if after and not (after.isascii() and after.isdigit() and len(after) < 16):
        raise InvalidValue(f"after {after[:40]!r} is not a version number.", field="after")
    t: Table = VERSIONS.table
    query = select(t.c.doc).where(t.c.project == project, t.c.model == model).order_by(t.c.version.desc())
    if after:
        query = query.where(t.c.version < int(after))
    rows = connection.execute(query.limit(limit + 1)).all()
    items = tuple(msgspec.json.decode(row.doc, type=ModelVersion) for row in rows[:limit])
    return Page(items=items, next=str(items[-1].version) if len(rows) > limit else "")


def newest_accepted(connection: Connection, project: str, model: str) -> int:
    """The newest version that may serve, 0 if there is none."""
    t: Table = VERSIONS.table
    accepted = (t.c.project == project, t.c.model == model, t.c.state == VersionState.ACCEPTED.value)
    return connection.execute(select(func.max(t.c.version)).where(*accepted)).scalar() or 0
