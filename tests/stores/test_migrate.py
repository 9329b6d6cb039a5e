"""The migrations make the tables that the stages declare, on both databases, and only when there is work."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import inspect

from sill.core.clock import SystemClock
from sill.core.errors import Refused
from sill.stores import migrate
from sill.stores.database import Database, open_database


@pytest.fixture
def fresh(database_url: str) -> Iterator[Database]:
    opened = open_database(database_url, SystemClock())
    yield opened
    opened.close()


def differences(database: Database) -> list[Any]:
    """What the database lacks or has beyond the declared tables; the tests' own tables left out."""
    migrate.declare_every_table()
    with database.engine.begin() as connection:
        found = migrate.differences(connection)
    return [difference for difference in found if "test_" not in str(difference)]


def test_a_fresh_database_gets_every_declared_table(fresh: Database) -> None:
    migrate.ensure_schema(fresh)

    assert differences(fresh) == []


def test_asking_again_changes_nothing(fresh: Database) -> None:
    migrate.ensure_schema(fresh)
    migrate.ensure_schema(fresh)
    with fresh.engine.begin() as connection:
        assert migrate.current_revision(connection) == migrate.newest_revision()


def test_several_processes_may_ask_at_once(database_url: str) -> None:
    databases = [open_database(database_url, SystemClock()) for _ in range(3)]
    errors: list[BaseException] = []

    def ask(database: Database) -> None:
        try:
            migrate.ensure_schema(database)
        except BaseException as failed:
            errors.append(failed)

    threads = [threading.Thread(target=ask, args=(database,)) for database in databases]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert errors == []
    assert differences(databases[0]) == []
    for database in databases:
        database.close()


def test_a_database_of_a_newer_sill_is_refused_and_left_alone(fresh: Database) -> None:
    migrate.ensure_schema(fresh)
    fresh.write_sync(lambda tx: tx.connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'"))

    with pytest.raises(Refused, match="9999"):
        migrate.ensure_schema(fresh)


def test_going_back_leaves_nothing(fresh: Database) -> None:
    from alembic import command

    migrate.ensure_schema(fresh)
    with fresh.engine.begin() as connection:
        command.downgrade(migrate._config(connection), "base")
        assert inspect(connection).get_table_names() == ["alembic_version"]


def test_revisions_form_one_line_and_their_files_are_named_after_them() -> None:
    from alembic.script import ScriptDirectory

    script = ScriptDirectory(str(migrate.FOLDER))
    assert script.get_heads() == [migrate.newest_revision()]
    for revision in script.walk_revisions():
        assert revision.module.__name__.startswith(f"v{revision.revision}_")


def test_a_database_that_is_up_to_date_is_opened_without_alembic(sqlite_url: str) -> None:
    code = f"""
import sys
from sill.core.clock import SystemClock
from sill.stores.database import open_database
from sill.stores.migrate import ensure_schema
database = open_database({sqlite_url!r}, SystemClock())
ensure_schema(database)
database.close()
print("alembic" in sys.modules)
"""
    answers = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    ]
    assert answers == ["True\n", "False\n"]
