"""Brings the tables to the newest revision. Looking costs one SELECT; alembic is loaded only when there is work.

python -m sill.stores.migrate revision NAME     writes the next revision from the tables the stages declare
python -m sill.stores.migrate check             says what the newest revision and the declared tables differ in
"""

import importlib
import pkgutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, column, inspect, select, table, text
from sqlalchemy.exc import DBAPIError

import sill
from sill.core.clock import SystemClock
from sill.core.errors import Refused, Unavailable
from sill.core.names import shorten
from sill.stores.database import Database, metadata, open_database

FOLDER = Path(__file__).parent / "migrations"
STAGES = (
    *(
        "stores",
        "governance",
        "costs",
        "scheduler",
        "queues",
        "sources",
        "lake",
        "features",
        "runs",
        "models",
        "endpoints",
    ),
    *("traffic", "monitors", "triggers", "projects", "protocols"),
)
"""Folders that may declare tables."""
_VERSION = table("alembic_version", column("version_num"))
_LOCK = 7456


def newest_revision() -> str:
    """The number of the newest revision, from the names of the files; empty when there is none."""
    return max((path.name[1:5] for path in (FOLDER / "versions").glob("v[0-9][0-9][0-9][0-9]_*.py")), default="")


def ensure_schema(database: Database) -> None:
    """Bring the tables to the newest revision; a fresh database gets them all. Several processes may ask at once.

    Raises:
        Refused: the database was written by a newer Sill.
        Unavailable: it cannot be reached, or is none.
    """
    try:
        _ensure(database)
    except DBAPIError as broken:
        reason = " ".join(str(broken.orig).split())
        raise Unavailable(
            f"the database cannot be used: {shorten(reason, 300)}.",
            fix="Is its server up, and SILL_DATABASE_URL right? A damaged one is replaced by `sill restore`.",
        ) from broken


def _ensure(database: Database) -> None:
    with database.engine.begin() as connection:
        if database.is_postgres:
            connection.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))
        current, newest = current_revision(connection), newest_revision()
        if current > newest:
            raise Refused(
                f"the database is at revision {current}, this Sill knows revisions up to {newest}.",
                fix="Install the Sill that wrote it, or a newer one.",
            )
        if current != newest:
            upgrade(connection)


def step_back(database: Database, revision: str) -> None:
    """Bring a database without rows to an older revision, so that what was written by that one can be put in."""
    with database.engine.begin() as connection:
        if current_revision(connection) > revision:
            from alembic import command

            command.downgrade(_config(connection), revision)


def current_revision(connection: Connection) -> str:
    """The revision the database is at; empty for a fresh one."""
    if not inspect(connection).has_table("alembic_version"):
        return ""
    return str(connection.execute(select(_VERSION.c.version_num)).scalar_one_or_none() or "")


def upgrade(connection: Connection) -> None:
    """Run every revision that the database lacks, in the transaction of the connection: all of them or none."""
    from alembic import command

    command.upgrade(_config(connection), "head")


def differences(connection: Connection) -> list[Any]:
    """What the tables in the database and the declared ones differ in, as alembic says it."""
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    return list(compare_metadata(MigrationContext.configure(connection, opts={"compare_type": True}), metadata))


def declare_every_table() -> None:
    """Import every module of every stage, so that `metadata` holds every table."""
    for stage in STAGES:
        package = importlib.import_module(f"sill.{stage}")
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not found.name.startswith("sill.stores.migrat") and not found.name.endswith("__main__"):
                importlib.import_module(found.name)


def write_revision(name: str) -> Path:
    """Write the next revision: what the declared tables have and the newest revision lacks.

    Raises:
        Refused: there is nothing to change.
    """
    from alembic import command

    declare_every_table()
    with tempfile.TemporaryDirectory() as folder:
        database = open_database(f"sqlite:///{folder}/empty.db", SystemClock())
        try:
            ensure_schema(database)
            with database.engine.begin() as connection:
                if not differences(connection):
                    raise Refused("the declared tables are those of the newest revision.", fix="Nothing is to do.")
                number = f"{int(newest_revision() or 0) + 1:04d}"
                written: Any = command.revision(_config(connection), message=name, autogenerate=True, rev_id=number)
        finally:
            database.close()
    return Path(written.path)


def main(arguments: list[str]) -> int:
    """The two commands at the top of this file."""
    match arguments:
        case ["revision", name]:
            print(f"wrote {write_revision(name).relative_to(Path(sill.__file__).parent.parent)}")
            return 0
        case ["check"]:
            return _check()
        case _:
            print(__doc__, file=sys.stderr)
            return 2


def _check() -> int:
    declare_every_table()
    with tempfile.TemporaryDirectory() as folder:
        database = open_database(f"sqlite:///{folder}/empty.db", SystemClock())
        try:
            ensure_schema(database)
            with database.engine.begin() as connection:
                found = differences(connection)
        finally:
            database.close()
    for difference in found:
        print(difference)
    return 1 if found else 0


def _config(connection: Connection) -> Any:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    config.set_main_option("file_template", "v%%(rev)s_%%(slug)s")
    config.attributes["connection"] = connection
    return config


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
