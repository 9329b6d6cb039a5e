"""Routes of uploads, previews of sources, and declared ingestions."""

from sill.api.routing import Call, Routes
from sill.core.errors import InvalidValue
from sill.core.values import Value
from sill.sources.types import IngestionSpec, Preview, Source, Upload
from sill.stores.database import Page

ROUTES = Routes(tag="data")


class UploadQuery(Value, frozen=True, kw_only=True):
    """What the file is called."""

    name: str = ""


class PreviewQuery(Value, frozen=True, kw_only=True):
    """How many rows to show."""

    rows: int = 20


class PageQuery(Value, frozen=True, kw_only=True):
    """Where the page starts and how long it is."""

    after: str = ""
    limit: int = 100


@ROUTES.post(
    "/projects/{project}/uploads", scope="data:write", returns=Upload, query=UploadQuery, is_raw=True, status=201
)
async def upload_file(call: Call) -> Upload:
    """Upload a file; its `url` is then a source."""
    return await call.services.sources.upload(call.actor, call.project, call.query.name, call.request.stream())


@ROUTES.post("/projects/{project}/sources/preview", scope="data:read", returns=Preview, body=Source, query=PreviewQuery)
async def preview_source(call: Call) -> Preview:
    """Read a source without keeping it: first rows, column types, what was unified."""
    return await call.services.sources.preview(call.actor, call.project, call.body, call.query.rows)


@ROUTES.get("/projects/{project}/ingestions", scope="data:read", returns=Page[IngestionSpec], query=PageQuery)
async def list_ingestions(call: Call) -> Page[IngestionSpec]:
    """List declared ingestions."""
    query = call.query
    return await call.services.sources.ingestions(call.actor, call.project, after=query.after, limit=query.limit)


@ROUTES.get("/projects/{project}/ingestions/{name}", scope="data:read", returns=IngestionSpec)
async def get_ingestion(call: Call) -> IngestionSpec:
    """Show a declared ingestion."""
    return await call.services.sources.ingestion(call.actor, call.project, call.path["name"])


@ROUTES.put("/projects/{project}/ingestions/{name}", scope="data:write", returns=IngestionSpec, body=IngestionSpec)
async def declare_ingestion(call: Call) -> IngestionSpec:
    """Declare an ingestion, or change it."""
    spec: IngestionSpec = call.body
    if (spec.project, spec.name) != (call.project, call.path["name"]):
        raise InvalidValue(
            f"the body is about {spec.project}/{spec.name}, the path about {call.project}/{call.path['name']}.",
            fix="Give the same project and name in both.",
            field="name",
        )
    return await call.services.sources.declare(call.actor, spec)


@ROUTES.delete("/projects/{project}/ingestions/{name}", scope="data:write", returns=None)
async def delete_ingestion(call: Call) -> None:
    """Forget an ingestion; its table stays."""
    await call.services.sources.delete_ingestion(call.actor, call.project, call.path["name"])
