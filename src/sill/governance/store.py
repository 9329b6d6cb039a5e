"""Tables of projects, tokens and secrets."""

import msgspec
from sqlalchemy import BigInteger, Column, Connection, Table, Text, delete, func, insert, select, update

from sill.governance.types import Project, Token
from sill.stores.database import Documents, Tx, metadata
from sill.stores.database.schema import events, key_type

PROJECTS = Documents("projects", Project, key="project")
TOKENS = Documents("tokens", Token, key="id", columns=("digest", "name", "expires_us"))
"""Tokens belong to no project: their own `project` is empty, `projects` says where they are good."""

secrets = Table(
    "secrets",
    metadata,
    Column("project", key_type(100), primary_key=True),
    Column("name", key_type(100), primary_key=True),
    Column("sealed", Text, nullable=False),
    Column("updated_us", BigInteger, nullable=False),
)
"""`sealed` is base64 of what `safety.secrets.SecretBox` made."""

THINGS = ("tables", "runs", "models", "endpoints")
"""Tables of what holds data or works: these are deleted one by one, by whoever keeps them, which frees their bytes."""
_STAYS = (events.name, PROJECTS.table.name, TOKENS.table.name)


def find_token(connection: Connection, digest: str) -> Token | None:
    """The token with the digest."""
    found = TOKENS.every(connection, "", digest=digest)
    return found[0] if found else None


def live_tokens(connection: Connection, now_us: int) -> list[Token]:
    """Tokens that are neither revoked nor expired."""
    t = TOKENS.table
    rows = connection.execute(select(t.c.doc).where((t.c.expires_us == 0) | (t.c.expires_us > now_us)))
    found = [msgspec.json.decode(row.doc, type=Token) for row in rows]
    return [token for token in found if not token.revoked_us]


def things_of(connection: Connection, project: str) -> dict[str, int]:
    """How many things of what kind the project has."""
    counted: dict[str, int] = {}
    for name in THINGS:
        table = metadata.tables.get(name)
        if table is not None:
            counted[name] = connection.execute(select(func.count()).where(table.c.project == project)).scalar_one()
    return {name: number for name, number in counted.items() if number}


def remove_leftovers(tx: Tx, project: str) -> None:
    """Remove what a project without things may still have, in any stage: declarations, lineage, secrets, counts."""
    for table in metadata.sorted_tables:
        if "project" in table.c and table.name not in _STAYS:
            tx.execute(delete(table).where(table.c.project == project))


def put_secret(tx: Tx, project: str, name: str, sealed: str) -> None:
    """Keep a sealed secret, whether it is new or not."""
    here = (secrets.c.project == project) & (secrets.c.name == name)
    changed = tx.execute(update(secrets).where(here).values(sealed=sealed, updated_us=tx.now_us))
    if changed.rowcount == 0:
        tx.execute(insert(secrets).values(project=project, name=name, sealed=sealed, updated_us=tx.now_us))


def find_secret(connection: Connection, project: str, name: str) -> str | None:
    """The sealed secret, or None."""
    query = select(secrets.c.sealed).where(secrets.c.project == project, secrets.c.name == name)
    found: str | None = connection.execute(query).scalar_one_or_none()
    return found


def secret_names(connection: Connection, project: str) -> tuple[str, ...]:
    """Names of the project's secrets, sorted."""
    query = select(secrets.c.name).where(secrets.c.project == project).order_by(secrets.c.name)
    return tuple(connection.execute(query).scalars())


def delete_secret(tx: Tx, project: str, name: str) -> bool:
    """Remove a secret; False if there was none."""
    return tx.execute(delete(secrets).where(secrets.c.project == project, secrets.c.name == name)).rowcount > 0


def forget_tokens(tx: Tx, before_us: int) -> int:
    """Remove tokens that expired before a time; returns how many."""
    t = TOKENS.table
    return tx.execute(delete(t).where(t.c.expires_us > 0, t.c.expires_us < before_us)).rowcount
