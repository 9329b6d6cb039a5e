"""Registered models and their versions in the database."""

from typing import Any

import msgspec
from sqlalchemy import Connection, Table, delete, func, select

from sill.core.errors import InvalidValue
from sill.core.values import Value
from sill.models.types import ModelVersion, RegisteredModel, VersionState
from sill.stores.database import Documents, Page, Tx
from sill.stores.database.documents import PAGE_MAX

MODELS: Documents[RegisteredModel] = Documents("models", RegisteredModel)
VERSIONS: Documents[ModelVersion] = Documents(
    "model_versions", ModelVersion, key="id", columns=("model", "version", "state"), noun="model version"
)


class SweptBlob(Value, frozen=True, kw_only=True):
    """A blob that went with a deleted version: between `at_us` and `done_us` nobody could count on it.

    `done_us` is 0 while it is being removed.
    """

    digest: str
    at_us: int
    done_us: int = 0
    project: str = ""
    revision: int = 0


SWEPT: Documents[SweptBlob] = Documents("model_swept_blobs", SweptBlob, key="digest", noun="deleted blob")
SWEPT.table.info["refers_to_blobs"] = False  # a note on what was removed keeps nothing
SWEPT_KEPT_US = 3_600 * 1_000_000
SWEEP_US_MAX = 60 * 1_000_000
"""A removal that is not done after this long was cut off by a crash; the note of it holds nobody up any more."""


def version_id(model: str, version: int) -> str:
    """The key of a version."""
    return f"{model}/{version}"


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


def uses_blob(connection: Connection, digest: str) -> bool:
    """True if any version of any project has the blob among its files, or as its manifest."""
    doc: Any = VERSIONS.table.c.doc
    return (
        connection.execute(select(doc).where(doc.contains(f'"{digest}"', autoescape=True)).limit(1)).first() is not None
    )


def mark_swept(tx: Tx, digests: tuple[str, ...], *, is_done: bool) -> None:
    """Note blobs that are about to be removed, or were; forget notes that are old."""
    t: Table = SWEPT.table
    tx.execute(delete(t).where(t.c.updated_us < tx.now_us - SWEPT_KEPT_US))
    for digest in digests:
        SWEPT.put(tx, SweptBlob(digest=digest, at_us=tx.now_us, done_us=tx.now_us if is_done else 0))


def swept_since(connection: Connection, digests: tuple[str, ...], since_us: int) -> str:
    """One of the digests that is being removed, or was removed since; or nothing."""
    for digest in digests:
        found = SWEPT.find(connection, "", digest)
        if found is not None and (found.done_us or found.at_us + SWEEP_US_MAX) >= since_us:
            return digest
    return ""
