"""Tables over HTTP, through the SDK: rows go in as Arrow or JSON and come out as Arrow or JSON."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import httpx
import pyarrow as pa
import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse

from sill.api import lake as api
from sill.api.dispatch import bind
from sill.core.actors import PLATFORM, Actor
from sill.core.clock import ManualClock
from sill.core.errors import InvalidValue, NotFound, Refused, SillError
from sill.core.settings import Settings
from sill.lake.service import Lake
from sill.lake.types import Between, QualityGate, TableSpec
from sill.lake.wire import to_arrow_stream
from sill.safety.limits import MemoryBudget
from sill.sdk.client import Client
from sill.sdk.lake import Tables

ROWS = "/api/v1/projects/p/tables/t/rows"


class Everybody:
    """Governance for whom every token is the platform's."""

    async def authenticate(self, _secret: str) -> Actor:
        return PLATFORM

    async def denied(self, *_what: str) -> None:
        """Nobody is."""

    async def check_project(self, _name: str) -> None:
        """Every project is there."""


class InProcess(httpx.BaseTransport):
    """Sends to an app in this process, without a socket."""

    def __init__(self, app: Starlette, portal: BlockingPortal) -> None:
        self._transport = httpx.ASGITransport(app)
        self._portal = portal

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        return self._portal.call(self._answer, request)

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        answer = await self._transport.handle_async_request(request)
        return httpx.Response(answer.status_code, headers=answer.headers, content=await answer.aread())


@pytest.fixture
def http(lake: Lake, settings: Settings, clock: ManualClock) -> Iterator[httpx.Client]:
    services: Any = SimpleNamespace(
        lake=lake, settings=settings, clock=clock, governance=Everybody(), body_memory=MemoryBudget(10**9)
    )

    async def tell(_request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, SillError)
        return JSONResponse(error.to_dict(), status_code=error.status)

    app = Starlette(routes=[bind(route, services) for route in api.ROUTES.routes], exception_handlers={SillError: tell})
    with (
        start_blocking_portal("asyncio") as portal,
        httpx.Client(
            transport=InProcess(app, portal), base_url="http://sill", headers={"Authorization": "Bearer x"}
        ) as client,
    ):
        yield client


@pytest.fixture
def tables(http: httpx.Client) -> Tables:
    return Tables(Client(url="http://sill", token="x", project="p", http=http))


def test_a_tables_life_through_the_sdk(tables: Tables) -> None:
    tables.declare(TableSpec(project="p", name="t", rules=(Between(column="age", high=120),)))
    first = tables.append("t", [{"age": 40}, {"age": 400, "name": "x"}], source="crm")
    tables.append("t", pa.table({"age": [7]}))

    assert (first.rows_written, first.rows_quarantined) == (1, 1)
    assert sorted(tables.rows("t", columns=("age",)).column("age").to_pylist()) == [7, 40]
    assert tables.rows("t", where={"_source": "crm"}).num_rows == 1
    assert tables.rows("t", snapshot=first.snapshot_id).num_rows == 1
    assert tables.quarantine("t").column("age").to_pylist() == ["400"]
    assert tables.sql("select sum(age) as n from t").to_pylist() == [{"n": 47}]
    assert [one.is_current for one in tables.snapshots("t")] == [False, True]
    assert tables.roll_back("t", first.snapshot_id).rows == 1
    assert tables.maintain("t", keep_s=0).files_after == 1
    assert [table.name for table in tables.list()] == ["t"]
    assert tables.delete("t").bytes_freed > 0
    with pytest.raises(NotFound):
        tables.get("t")


def test_a_key_writes_once(tables: Tables) -> None:
    assert tables.append("t", [{"a": 1}], key="k") == tables.append("t", [{"a": 1}], key="k")
    assert tables.get("t").rows == 1


def test_errors_come_back_as_their_class(tables: Tables) -> None:
    rules = (Between(column="a", high=1, action="refuse"),)
    tables.declare(TableSpec(project="p", name="t", rules=rules, gate=QualityGate(rows_min=1)))

    with pytest.raises(Refused, match="a is not at most 1 in 1 rows"):
        tables.append("t", [{"a": 2}])
    with pytest.raises(Refused, match="one SELECT is allowed"):
        tables.sql("drop table t")
    with pytest.raises(InvalidValue, match="limit 0"):
        tables.sql("select 1", limit=0)


@pytest.mark.parametrize(
    ("media", "body"),
    [
        ("application/json", b'[{"a": 1}, {"a": 2, "b": "x"}]'),
        ("application/x-ndjson", b'{"a": 1}\n{"a": 2, "b": "x"}\n'),
        ("application/vnd.apache.arrow.stream", to_arrow_stream(pa.table({"a": [1, 2], "b": [None, "x"]}))),
    ],
)
def test_rows_are_taken_in_three_forms_and_given_as_json(http: httpx.Client, media: str, body: bytes) -> None:
    written = http.post(ROWS, content=body, headers={"Content-Type": media})
    read = http.get(ROWS, params={"columns": "a,b", "limit": 1})

    assert written.json()["rows_written"] == 2
    assert (read.json()["rows"], read.json()["truncated"]) == ([[1, None]], True)


@pytest.mark.parametrize(
    ("media", "body", "status"),
    [
        ("text/csv", b"a,b\n1,2\n", 415),
        ("", b"x", 415),
        ("application/json", b"{}", 400),
        ("application/json", b"[1]", 400),
        ("application/json", b"[{}]", 400),
        ("application/json", b"[]", 400),
        ("application/json", b"[" * 100_000, 400),
        ("application/json", b'[{"a": 1, "a": 2}]', 400),
        ("application/json", b'[{"a": NaN}]', 400),
        ("application/json", b'[{"a b": 1}]', 400),
        ("application/x-ndjson", b'{"a": 1}\n[]\n', 400),
        ("application/vnd.apache.arrow.stream", b"ARROW1\x00\x00", 400),
        ("application/vnd.apache.arrow.stream", b"", 400),
    ],
)
def test_bodies_that_hold_no_rows_are_refused(http: httpx.Client, media: str, body: bytes, status: int) -> None:
    answer = http.post(ROWS, content=body, headers={"Content-Type": media})

    assert answer.status_code == status
    assert http.get("/api/v1/projects/p/tables").json() in ([], None)


@pytest.mark.parametrize(
    "query",
    [
        {"limit": 0},
        {"limit": -1},
        {"limit": 10**9},
        {"where": "x"},
        {"where": "[]"},
        {"columns": "z"},
        {"snapshot": "a"},
        {"z": 1},
    ],
)
def test_wrong_questions_are_told(http: httpx.Client, query: str) -> None:
    http.post(ROWS, json=[{"a": 1}])

    assert http.get(f"{ROWS}?{query}").status_code in (400, 404)
