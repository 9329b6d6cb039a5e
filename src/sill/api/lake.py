"""Routes of tables: declared, filled, read, queried, taken back, tidied."""

import asyncio
from typing import TYPE_CHECKING, Any, Literal

from starlette.requests import ClientDisconnect
from starlette.responses import Response

from sill.api.routing import Call, Routes
from sill.core.errors import InvalidValue, TooLarge, UnsupportedType
from sill.core.names import shorten
from sill.core.values import Value
from sill.lake.types import (
    Freed,
    RollbackRequest,
    SnapshotInfo,
    SqlQuery,
    SqlResult,
    Table,
    TableSpec,
    Upkeep,
    UpkeepReport,
    WriteReport,
)
from sill.safety import strict_json

if TYPE_CHECKING:
    import pyarrow as pa

ROUTES = Routes(tag="tables")

ROWS_BYTES_MAX = 256 * 1024 * 1024
"""Largest body of rows, whatever the upload limit."""
ARROW = "application/vnd.apache.arrow.stream"
NDJSON = "application/x-ndjson"
JSON = "application/json"

Wanted = Literal["", "json", "arrow"]


class WriteQuery(Value, frozen=True, kw_only=True):
    """How rows are written."""

    mode: Literal["append", "overwrite"] = "append"
    source: str = ""


class ReadQuery(Value, frozen=True, kw_only=True):
    """Which rows are read: `columns` with commas between, `where` as JSON, `format` instead of an Accept header."""

    snapshot: int = 0
    columns: str = ""
    where: str = ""
    limit: int = 1_000
    format: Wanted = ""


class FormatQuery(Value, frozen=True, kw_only=True):
    """How rows are sent: `format` instead of an Accept header."""

    format: Wanted = ""


@ROUTES.get("/projects/{project}/tables", scope="data:read", returns=tuple[Table, ...])
async def list_tables(call: Call) -> tuple[Table, ...]:
    """All tables of a project."""
    return await call.services.lake.tables(call.actor, call.project)


@ROUTES.put("/projects/{project}/tables/{name}", scope="data:write", body=TableSpec, returns=Table)
async def declare_table(call: Call) -> Table:
    """Declare a table, or change its rules."""
    return await call.services.lake.declare(call.actor, call.named(call.body), call.key)


@ROUTES.get("/projects/{project}/tables/{name}", scope="data:read", returns=Table)
async def get_table(call: Call) -> Table:
    """One table as it stands."""
    return await call.services.lake.table(call.actor, call.project, call.path["name"])


@ROUTES.delete("/projects/{project}/tables/{name}", scope="data:write", returns=Freed)
async def delete_table(call: Call) -> Freed:
    """Delete a table and its files; says what was freed."""
    return await call.services.lake.delete(call.actor, call.project, call.path["name"])


@ROUTES.post(
    "/projects/{project}/tables/{name}/rows", scope="data:write", returns=WriteReport, query=WriteQuery, is_raw=True
)
async def append_rows(call: Call) -> WriteReport:
    """Write rows: an Arrow stream, JSON (a list of objects), or one JSON object a line."""
    media = call.request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media not in (ARROW, NDJSON, JSON):
        raise UnsupportedType(
            f"content type {shorten(media)!r} is not taken here; {ARROW}, {JSON} and {NDJSON} are.",
            fix="Upload files such as CSV, and ingest the upload.",
        )
    body = await _body(call)
    data = await asyncio.to_thread(_rows, media, body)
    return await call.services.lake.append(
        call.actor,
        call.project,
        call.path["name"],
        data,
        key=call.key,
        mode=call.query.mode,
        source=call.query.source,
    )


@ROUTES.get("/projects/{project}/tables/{name}/rows", scope="data:read", returns=SqlResult, query=ReadQuery)
async def read_rows(call: Call) -> Any:
    """Read rows, as JSON or as an Arrow stream, now or at a snapshot."""
    asked: ReadQuery = call.query
    limit = _limit(call, asked)
    table = await call.services.lake.scan(
        call.actor,
        call.project,
        call.path["name"],
        snapshot_id=asked.snapshot,
        columns=tuple(name for name in asked.columns.split(",") if name),
        where=_where(asked.where),
        limit=limit + 1 if limit else 0,
    )
    is_truncated = bool(limit) and table.num_rows > limit
    return await _answer(call, table.slice(0, limit) if limit else table, asked.format, is_truncated)


@ROUTES.get("/projects/{project}/tables/{name}/quarantine", scope="data:read", returns=SqlResult, query=ReadQuery)
async def read_quarantine(call: Call) -> Any:
    """Rows the table would not take, each with its reason."""
    asked: ReadQuery = call.query
    limit = _limit(call, asked)
    table = await call.services.lake.quarantine(
        call.actor, call.project, call.path["name"], limit=limit + 1 if limit else 0
    )
    is_truncated = bool(limit) and table.num_rows > limit
    return await _answer(call, table.slice(0, limit) if limit else table, asked.format, is_truncated)


@ROUTES.get("/projects/{project}/tables/{name}/snapshots", scope="data:read", returns=tuple[SnapshotInfo, ...])
async def list_snapshots(call: Call) -> tuple[SnapshotInfo, ...]:
    """The states a table can be read at."""
    return await call.services.lake.snapshots(call.actor, call.project, call.path["name"])


@ROUTES.post("/projects/{project}/tables/{name}/rollback", scope="data:write", body=RollbackRequest, returns=Table)
async def roll_back(call: Call) -> Table:
    """Make an earlier snapshot the current one."""
    return await call.services.lake.rollback(
        call.actor, call.project, call.path["name"], call.body.snapshot_id, call.key
    )


@ROUTES.post("/projects/{project}/tables/{name}/maintain", scope="data:write", body=Upkeep, returns=UpkeepReport)
async def maintain_table(call: Call) -> UpkeepReport:
    """Join small files, forget old snapshots, and free what nothing needs."""
    return await call.services.lake.maintain(call.actor, call.project, call.path["name"], call.body)


@ROUTES.post("/projects/{project}/sql", scope="data:read", body=SqlQuery, returns=SqlResult, query=FormatQuery)
async def run_sql(call: Call) -> Any:
    """One SELECT over the project's tables, as JSON or as an Arrow stream."""
    from sill.lake.sql import TRUNCATED

    clock = call.services.clock
    started_s = clock.monotonic_s()
    table = await call.services.lake.sql(call.actor, call.project, call.body)
    is_truncated = TRUNCATED in (table.schema.metadata or {})
    return await _answer(call, table, call.query.format, is_truncated, clock.monotonic_s() - started_s)


async def _body(call: Call) -> bytes:
    limit = min(ROWS_BYTES_MAX, call.services.settings.upload_bytes_max)
    body = bytearray()
    try:
        async for chunk in call.request.stream():
            body += chunk
            if len(body) > limit:
                raise TooLarge(f"the body is larger than {limit} bytes.", fix="Send the rows in parts.", limit=limit)
    except ClientDisconnect as gone:
        raise InvalidValue("the body ended before it was whole.") from gone
    return bytes(body)


def _rows(media: str, body: bytes) -> "pa.Table":
    from sill.lake.wire import from_arrow_stream, from_rows

    if media == ARROW:
        return from_arrow_stream(body)
    if media == NDJSON:
        return from_rows([strict_json.decode_any(line) for line in body.split(b"\n") if line.strip()])
    rows = strict_json.decode_any(body)
    if not isinstance(rows, list):
        raise InvalidValue(f"the body is {shorten(repr(rows))}; a list of objects is allowed.", fix="Send [{…}, {…}].")
    return from_rows(rows)


def _where(text: str) -> dict[str, Any] | None:
    if not text:
        return None
    found = strict_json.decode_any(text.encode())
    if not isinstance(found, dict):
        raise InvalidValue(f"where is {shorten(text)}; an object of column: value is allowed.", field="where")
    return found


def _is_arrow(call: Call, wanted: Wanted) -> bool:
    return wanted == "arrow" or (not wanted and ARROW in call.request.headers.get("accept", ""))


def _limit(call: Call, asked: ReadQuery) -> int:
    """Rows asked for; 0 (all) is for Arrow only."""
    most = call.services.settings.sql_rows_max
    least = 0 if _is_arrow(call, asked.format) else 1
    if asked.limit < least or (least and asked.limit > most):
        raise InvalidValue(f"limit {asked.limit} is not within {least} to {most}.", field="limit")
    return asked.limit


async def _answer(call: Call, table: "pa.Table", wanted: Wanted, is_truncated: bool, seconds: float = 0.0) -> Any:
    from sill.lake import wire

    if _is_arrow(call, wanted):
        stream = await asyncio.to_thread(wire.to_arrow_stream, table)
        return Response(stream, media_type=ARROW, headers={"X-Sill-Truncated": str(is_truncated).lower()})
    rows = await asyncio.to_thread(wire.to_json_rows, table)
    return SqlResult(columns=wire.column_infos(table), rows=rows, truncated=is_truncated, seconds=seconds)
