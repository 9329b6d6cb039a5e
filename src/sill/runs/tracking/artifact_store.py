"""Queries on artifacts: which bytes lie at which path of a run, a logged model, a trace, or the project itself."""

from typing import Any

from sqlalchemy import Connection, and_, delete, func, insert, or_, select

from sill.runs.tracking.tables import artifacts
from sill.runs.types import Artifact, ArtifactEntry
from sill.stores.database import Tx

ROWS_AT_ONCE = 500
t = artifacts
"""Its column `run_id` holds the owner: the id of a run, a logged model or a trace, or nothing for the project's own."""


def keep(tx: Tx, project: str, owner: str, artifact: Artifact) -> str:
    """Keep where an artifact's bytes lie; returns the digest of what lay at the path before, if anything."""
    before = find(tx.connection, project, owner, artifact.path)
    tx.execute(delete(t).where(*_of(project, owner), t.c.path == artifact.path))
    values = {"path": artifact.path, "digest": artifact.digest, "size_bytes": artifact.size_bytes}
    tx.execute(insert(t).values(project=project, run_id=owner, at_us=tx.now_us, **values))
    return before.digest if before is not None and before.digest != artifact.digest else ""


def find(connection: Connection, project: str, owner: str, path: str) -> Artifact | None:
    """One artifact, or None."""
    row = connection.execute(_columns().where(*_of(project, owner), t.c.path == path)).first()
    return None if row is None else _read(row)


def listed(
    connection: Connection, project: str, owner: str, *, under: str = "", after: str = "", limit: int = 1_000
) -> list[Artifact]:
    """Artifacts behind the path `after`, in the order of paths; `under` a folder only."""
    query = _columns().where(*_of(project, owner), t.c.path > after, *_below(under))
    return [_read(row) for row in connection.execute(query.order_by(t.c.path).limit(limit))]


def children(connection: Connection, project: str, owner: str, folder: str, limit: int) -> list[ArtifactEntry]:
    """Files and folders that lie right in a folder, in the order of names. A folder of many files is jumped over."""
    start = len(folder) + 1 if folder else 0
    found: list[ArtifactEntry] = []
    query = _columns().where(*_of(project, owner), *_below(folder)).order_by(t.c.path).limit(ROWS_AT_ONCE)
    more: list[Any] = []
    while len(found) < limit:
        rows = connection.execute(query.where(*more)).all()
        for row in rows:
            name, slash, _ = row.path[start:].partition("/")
            path = row.path[:start] + name
            if not found or found[-1].path != path:
                found.append(ArtifactEntry(path=path, is_folder=bool(slash), size_bytes=0 if slash else row.size_bytes))
        if len(rows) < ROWS_AT_ONCE:
            break
        # "0" follows "/": it is where the folder's files end.
        more = [t.c.path >= f"{path}0"] if slash else [t.c.path > rows[-1].path]
    return found[:limit]


def in_the_way(connection: Connection, project: str, owner: str, path: str) -> str:
    """A file where the path needs a folder, or a folder where it needs a file; or nothing."""
    parts = path.split("/")
    above = ["/".join(parts[:count]) for count in range(1, len(parts))]
    query = select(t.c.path).where(*_of(project, owner), or_(t.c.path.in_(above), *_below(path)))
    found = connection.execute(query.limit(1)).scalar()
    return str(found or "")


def count(connection: Connection, project: str, owner: str) -> int:
    """How many artifacts an owner has."""
    return connection.execute(select(func.count()).select_from(t).where(*_of(project, owner))).scalar_one()


def forget(tx: Tx, project: str, owner: str, path: str = "") -> set[str]:
    """Remove the file at a path and all below it, or all of an owner's; the digests of their bytes."""
    where = [*_of(project, owner), *([or_(t.c.path == path, *_below(path))] if path else [])]
    digests = set(tx.execute(select(t.c.digest).where(*where)).scalars())
    tx.execute(delete(t).where(*where))
    return digests


def _columns() -> Any:
    return select(t.c.path, t.c.digest, t.c.size_bytes)


def _read(row: Any) -> Artifact:
    return Artifact(path=row.path, digest=row.digest, size_bytes=row.size_bytes)


def _of(project: str, owner: str) -> list[Any]:
    return [t.c.project == project, t.c.run_id == owner]


def _below(folder: str) -> list[Any]:
    """Paths below a folder, as a range of the primary key; everything is below the empty one."""
    return [and_(t.c.path >= f"{folder}/", t.c.path < f"{folder}0")] if folder else []
