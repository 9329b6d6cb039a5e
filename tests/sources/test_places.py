"""Web addresses, object stores and databases, each a real server on this machine."""

import http.server
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from sill.core.actors import Actor
from sill.core.errors import Forbidden, InvalidValue, NotFound, TooLarge, Unavailable
from sill.sources.limits import ReadLimits
from sill.sources.objects import to_pattern
from sill.sources.service import Sources
from sill.sources.types import Source

ROOT = Actor(id="root", scopes=frozenset({"*"}))
Make = Callable[..., Sources]


class Files(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        is_there = self.path.startswith("/data.csv")
        self.send_response(200 if is_there else 404)
        self.end_headers()
        self.wfile.write(b"a,b\n1,2\n" if is_there else b"")

    def log_message(self, *_: Any) -> None:
        return


@pytest.fixture(scope="module")
def web() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Files)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def read(sources: Sources, url: str, **given: Any) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = sources.read(ROOT, "churn", Source(url=url, **given)).to_pylist()
    return rows


def test_a_web_address_is_read_and_shown_without_its_query(make_sources: Make, web: str, secrets: Any) -> None:
    secrets.values["churn/token"] = "hunter2"
    sources = make_sources(outbound_allow=web)
    rows = read(sources, f"http://{web}/data.csv?key={{secret}}", secret="token")
    assert rows == [{"a": 1, "b": 2, "_source": f"http://{web}/data.csv", "_source_row": 1}]


def test_a_private_address_is_not_called(make_sources: Make, web: str) -> None:
    with pytest.raises(Forbidden):
        read(make_sources(), f"http://{web}/data.csv")


@pytest.mark.parametrize("pad", range(0, 60, 7))
def test_a_failure_never_shows_the_secret(make_sources: Make, web: str, secrets: Any, pad: int) -> None:
    secrets.values["churn/token"] = "hunter2/&?geheim"
    with pytest.raises(Unavailable) as caught:
        read(make_sources(outbound_allow=web), f"http://{web}/{'x' * pad}?key={{secret}}", secret="token")
    assert "404" in str(caught.value)
    assert "hunt" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.fixture
def bucket(s3_endpoint: str, s3_url: str) -> str:
    name = s3_url.split("/")[2]
    for key, body in {"in/a.csv": "id,x\n1,2\n", "in/deep/b.csv": "id,x\n2,3\n", "in/c.txt": "no table"}.items():
        httpx.put(f"{s3_endpoint}/{name}/{key}", content=body.encode()).raise_for_status()
    return name


@pytest.fixture
def objects(make_sources: Make, s3_endpoint: str) -> Sources:
    environ = {"AWS_ENDPOINT_URL": s3_endpoint, "AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"}
    return make_sources(environ, outbound_allow=s3_endpoint.removeprefix("http://"))


@pytest.mark.parametrize(
    ("pattern", "ids"), [("in/a.csv", [1]), ("in/*.csv", [1]), ("in/**/*.csv", [1, 2]), ("in/deep/", [2])]
)
def test_keys_prefixes_and_globs_are_read(objects: Sources, bucket: str, pattern: str, ids: list[int]) -> None:
    rows = read(objects, f"s3://{bucket}/{pattern}")
    assert [row["id"] for row in rows] == ids
    assert rows[0]["_source"].startswith(f"s3://{bucket}/in/")


def test_credentials_come_from_a_secret(make_sources: Make, bucket: str, s3_endpoint: str, secrets: Any) -> None:
    secrets.values["churn/crm"] = "key:private"
    sources = make_sources({"AWS_ENDPOINT_URL": s3_endpoint}, outbound_allow=s3_endpoint.removeprefix("http://"))
    assert len(read(sources, f"s3://{bucket}/in/a.csv", secret="crm")) == 1
    secrets.values["churn/crm"] = "nonsense"
    with pytest.raises(InvalidValue, match="a secret for s3:// is"):
        read(sources, f"s3://{bucket}/in/a.csv", secret="crm")


def test_an_endpoint_on_this_machine_needs_leave(make_sources: Make, bucket: str, s3_endpoint: str) -> None:
    with pytest.raises(Forbidden):
        read(make_sources({"AWS_ENDPOINT_URL": s3_endpoint}), f"s3://{bucket}/in/a.csv")


@pytest.mark.parametrize("key", ["in/none.csv", "none/", "in/*.parquet"])
def test_nothing_there_is_not_found(objects: Sources, bucket: str, key: str) -> None:
    with pytest.raises(NotFound):
        read(objects, f"s3://{bucket}/{key}")


def test_the_platforms_own_bucket_is_no_source(make_sources: Make, bucket: str) -> None:
    with pytest.raises(Forbidden, match="platform's own data"):
        read(make_sources(blob_url=f"s3://{bucket}/blobs"), f"s3://{bucket}/in/a.csv")


def test_objects_are_counted_and_weighed(make_sources: Make, bucket: str, s3_endpoint: str) -> None:
    environ = {"AWS_ENDPOINT_URL": s3_endpoint, "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
    for limits, named in (
        (ReadLimits(parts_max=1), "parts_max"),
        (ReadLimits(source_bytes_max=10), "source_bytes_max"),
    ):
        sources = make_sources(environ, limits, outbound_allow=s3_endpoint.removeprefix("http://"))
        with pytest.raises(TooLarge, match=named):
            read(sources, f"s3://{bucket}/in/**/*.csv")


@pytest.mark.parametrize(
    ("glob", "key", "fits"),
    [
        ("a/*.csv", "a/b.csv", True),
        ("a/*.csv", "a/b/c.csv", False),
        ("a/**/c.csv", "a/c.csv", True),
        ("a/**", "a/b/c", True),
        ("a?[bc]", "axb", True),
        ("a?[!bc]", "axb", False),
        ("a.c", "abc", False),
    ],
)
def test_globs_mean_what_shells_mean(glob: str, key: str, fits: bool) -> None:
    assert bool(to_pattern(glob).fullmatch(key)) == fits


@contextmanager
def tcp_door(path: str) -> Iterator[int]:
    """A port of this machine that leads to a Unix socket: the test server listens on nothing else."""
    listener = socket.create_server(("127.0.0.1", 0))

    def pump(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65_536):
                target.sendall(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    def both(client: socket.socket) -> None:
        with client, socket.socket(socket.AF_UNIX) as server:
            server.connect(path)
            back = threading.Thread(target=pump, args=(server, client), daemon=True)
            back.start()
            pump(client, server)
            back.join(5)

    def accept() -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                threading.Thread(target=both, args=(client,), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield int(listener.getsockname()[1])
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(5)
        listener.close()


@pytest.fixture
def database(postgres_url: str) -> Iterator[tuple[str, int]]:
    """(address, port) of a PostgreSQL database with a table `people`."""
    import psycopg

    with psycopg.connect(postgres_url) as connection:
        connection.execute("create table people (id int, name text, born timestamptz, pay numeric(10, 2), zip text)")
        connection.execute("insert into people values (1, 'Ada', '2024-01-01T01:00:00+01', 10.50, '01')")
        connection.execute("insert into people select n, null, null, null, null from generate_series(2, 30000) n")
    parts = urlsplit(postgres_url)
    folder = parse_qs(parts.query)["host"][0]
    with tcp_door(f"{folder}/.s.PGSQL.5432") as port:
        yield f"postgresql://{parts.username}:{{secret}}@127.0.0.1:{port}{parts.path}?sslmode=disable", port


@pytest.fixture
def ask(make_sources: Make, database: tuple[str, int], secrets: Any) -> Callable[..., list[dict[str, Any]]]:
    secrets.values["churn/pg"] = "hunter2"

    def run(query: str, **settings: Any) -> list[dict[str, Any]]:
        sources = make_sources(outbound_allow=f"127.0.0.1:{database[1]}", **settings)
        return read(sources, database[0], query=query, secret="pg")

    return run


Ask = Callable[..., list[dict[str, Any]]]


def test_a_query_is_read_with_its_types(ask: Ask, database: tuple[str, int]) -> None:
    rows = ask("select * from people order by id;")
    assert len(rows) == 30_000
    assert {name: value for name, value in rows[0].items() if name != "_source"} == {
        "id": 1,
        "name": "Ada",
        "born": datetime(2024, 1, 1, tzinfo=UTC),
        "pay": 10.5,
        "zip": "01",
        "_source_row": 1,
    }
    assert rows[0]["_source"].startswith(f"postgresql://127.0.0.1:{database[1]}/")


@pytest.mark.parametrize(
    "query",
    [
        "select 1; drop table people",
        "with gone as (delete from people returning *) select * from gone",
        "select nextval('s')",
        "select * into copy from people",
        "select lo_create(0)",
        "select set_config('transaction_read_only', 'off', false), lo_create(0)",
        "select * from nowhere",
        "select 1 for update of people",
    ],
)
def test_nothing_is_changed_by_a_query(ask: Ask, query: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        ask(query)
    assert "hunter2" not in str(caught.value)
    assert len(ask("select id from people")) == 30_000


def test_a_slow_query_is_stopped(ask: Ask) -> None:
    with pytest.raises(Unavailable, match=r"longer than 0\.3 s"):
        ask("select pg_sleep(20)", limits=ReadLimits(seconds_max=0.3))


def test_a_database_on_this_machine_needs_leave(make_sources: Make, database: tuple[str, int], secrets: Any) -> None:
    secrets.values["churn/pg"] = "hunter2"
    with pytest.raises(Forbidden):
        read(make_sources(), database[0], query="select 1", secret="pg")
