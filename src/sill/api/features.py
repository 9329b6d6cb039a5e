"""Routes of feature views: declare, training sets as Arrow streams, materialise, look up."""

import asyncio
from typing import TYPE_CHECKING

from starlette.responses import Response

from sill.api.routing import Call, Routes
from sill.core.errors import InvalidValue, TooLarge
from sill.core.values import Value
from sill.features.types import FeatureView, LookupRequest, LookupResult, MaterializeReport
from sill.stores.database import Page

if TYPE_CHECKING:
    import pyarrow as pa

ROUTES = Routes(tag="features")
ARROW = "application/vnd.apache.arrow.stream"
SNAPSHOT = "X-Sill-Snapshot"
SPINE_BYTES_MAX = 256 * 1024**2


class ViewsQuery(Value, frozen=True, kw_only=True):
    """Where the page starts and how long it is."""

    after: str = ""
    limit: int = 100


class TrainingQuery(Value, frozen=True, kw_only=True):
    """Which state of the view's table; 0 is the current one."""

    snapshot_id: int = 0


class SpineQuery(Value, frozen=True, kw_only=True):
    """The spine's time column, and which state of the view's table."""

    spine_time: str = ""
    snapshot_id: int = 0


@ROUTES.get("/projects/{project}/features", scope="features:read", returns=Page[FeatureView], query=ViewsQuery)
async def list_views(call: Call) -> Page[FeatureView]:
    """List feature views."""
    query = call.query
    return await call.services.features.views(call.actor, call.project, after=query.after, limit=query.limit)


@ROUTES.get("/projects/{project}/features/{name}", scope="features:read", returns=FeatureView)
async def get_view(call: Call) -> FeatureView:
    """Show a feature view."""
    return await call.services.features.view(call.actor, call.project, call.path["name"])


@ROUTES.put("/projects/{project}/features/{name}", scope="features:write", returns=FeatureView, body=FeatureView)
async def declare_view(call: Call) -> FeatureView:
    """Declare a feature view, or change it."""
    view: FeatureView = call.body
    if (view.project, view.name) != (call.project, call.path["name"]):
        raise InvalidValue(
            f"the body is about {view.project}/{view.name}, the path about {call.project}/{call.path['name']}.",
            fix="Give the same project and name in both.",
            field="name",
        )
    return await call.services.features.declare(call.actor, view)


@ROUTES.delete("/projects/{project}/features/{name}", scope="features:write", returns=None)
async def delete_view(call: Call) -> None:
    """Forget a feature view; its tables stay."""
    await call.services.features.delete(call.actor, call.project, call.path["name"])


@ROUTES.get(
    "/projects/{project}/features/{name}/training-set", scope="features:read", returns=Response, query=TrainingQuery
)
async def get_training_set(call: Call) -> Response:
    """Download the newest features of each entity as an Arrow stream."""
    table, snapshot_id = await call.services.features.training_set(
        call.actor, call.project, call.path["name"], snapshot_id=call.query.snapshot_id
    )
    return await _stream(table, snapshot_id)


@ROUTES.post(
    "/projects/{project}/features/{name}/training-set",
    scope="features:read",
    returns=Response,
    query=SpineQuery,
    is_raw=True,
)
async def join_training_set(call: Call) -> Response:
    """Send a spine as an Arrow stream; its rows come back with the features known at their times."""
    spine = await _read_spine(call)
    table, snapshot_id = await call.services.features.training_set(
        call.actor,
        call.project,
        call.path["name"],
        spine=spine,
        spine_time=call.query.spine_time,
        snapshot_id=call.query.snapshot_id,
    )
    return await _stream(table, snapshot_id)


@ROUTES.post("/projects/{project}/features/{name}/materialize", scope="features:write", returns=MaterializeReport)
async def materialize_view(call: Call) -> MaterializeReport:
    """Put the newest features of each entity into the online store."""
    return await call.services.features.materialize(call.actor, call.project, call.path["name"])


@ROUTES.post(
    "/projects/{project}/features/{name}/lookup", scope="features:read", returns=LookupResult, body=LookupRequest
)
async def look_up(call: Call) -> LookupResult:
    """Look up the newest features of entities."""
    return await call.services.features.lookup(call.actor, call.project, call.path["name"], call.body)


async def _read_spine(call: Call) -> "pa.Table":
    body = bytearray()
    async for chunk in call.request.stream():
        body += chunk
        if len(body) > SPINE_BYTES_MAX:
            raise TooLarge(f"the spine is larger than {SPINE_BYTES_MAX:,} bytes.", fix="Send fewer rows at a time.")
    return await asyncio.to_thread(_decode, bytes(body))


def _decode(body: bytes) -> "pa.Table":
    import pyarrow as pa

    try:
        with pa.ipc.open_stream(body) as reader:
            table = reader.read_all()
        table.validate(full=True)
    except (pa.ArrowException, OSError, ValueError) as wrong:
        raise InvalidValue("the body is not an Arrow stream.", fix=f"Send {ARROW}.", field="spine") from wrong
    return table


async def _stream(table: "pa.Table", snapshot_id: int) -> Response:
    marked = table.replace_schema_metadata({"sill.snapshot": str(snapshot_id)})
    content = await asyncio.to_thread(_encode, marked)
    return Response(content, media_type=ARROW, headers={SNAPSHOT: str(snapshot_id)})


def _encode(table: "pa.Table") -> bytes:
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    encoded: bytes = sink.getvalue().to_pybytes()
    return encoded
