"""Routes of the platform itself: health, the API's description, metrics, an overview, the doctor."""

import os

from starlette.responses import Response, StreamingResponse

from sill import __version__
from sill.api.backup import write_backup
from sill.api.doctor import examine
from sill.api.overview import look_over
from sill.api.routing import PUBLIC, Call, Routes
from sill.api.types import Finding, Health, Overview
from sill.runs.tracking.artifacts import pieces

ROUTES = Routes(tag="platform")
ROOT_ROUTES = Routes(tag="platform", prefix="")


@ROOT_ROUTES.get("/health", scope=PUBLIC, returns=Health)
async def get_health(call: Call) -> Health:
    """Whether the control plane is ready."""
    return Health(status="ready", version=__version__)


@ROOT_ROUTES.get("/metrics", scope="projects:read", returns=Response)
async def get_metrics(call: Call) -> Response:
    """Counters and gauges in the Prometheus text format."""
    text, content_type = call.services.metrics.exposition()
    return Response(text, media_type=content_type)


@ROUTES.get("/openapi.json", scope=PUBLIC, returns=Response)
async def get_openapi(call: Call) -> Response:
    """This API's OpenAPI document."""
    return Response(call.request.app.state.openapi(), media_type="application/json")


@ROUTES.get("/doctor", scope="audit:read", returns=tuple[Finding, ...])
async def get_doctor(call: Call) -> tuple[Finding, ...]:
    """What is well, what is not, and what to do about it."""
    return await examine(call.services, call.actor)


@ROUTES.get("/projects/{project}/overview", scope="projects:read", returns=Overview)
async def get_overview(call: Call) -> Overview:
    """The loop of a project at one look: counts, health, cost."""
    return await look_over(call.services, call.actor, call.project)


@ROUTES.get("/backup", scope="audit:admin", returns=Response)
async def get_backup(call: Call) -> Response:
    """Everything in one tar: rows, blobs, keys. It is as secret as the home itself."""
    path = await write_backup(call.services)
    file = path.open("rb")
    path.unlink()  # it holds the keys: nothing of it stays, also when whoever asked leaves in the middle
    headers = {
        "Content-Length": str(os.fstat(file.fileno()).st_size),
        "Content-Disposition": f'attachment; filename="{path.name}"',
    }
    return StreamingResponse(pieces(file), media_type="application/x-tar", headers=headers)
