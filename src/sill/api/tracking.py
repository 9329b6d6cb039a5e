"""Routes of what runs log: batches, series, artifacts."""

import re
from urllib.parse import quote

from starlette.responses import Response, StreamingResponse

from sill.api.routing import Call, Routes
from sill.core.values import Value
from sill.runs.tracking.rules import STEP_MAX
from sill.runs.types import Artifact, Batch, Logged, Metric, RunData
from sill.stores.database import Page

ROUTES = Routes(tag="tracking")
_UNPRINTED = re.compile(r"[^A-Za-z0-9._-]")


class HistoryQuery(Value, frozen=True, kw_only=True):
    """Which series, behind which step."""

    key: str
    after_step: int = -STEP_MAX - 1
    limit: int = 1_000


class ArtifactsQuery(Value, frozen=True, kw_only=True):
    """Which folder, and where the page starts."""

    under: str = ""
    after: str = ""
    limit: int = 1_000


@ROUTES.post("/projects/{project}/runs/{run_id}/log", scope="runs:write", returns=Logged, body=Batch)
async def log_batch(call: Call) -> Logged:
    """Log metrics, params and tags together."""
    return await call.services.tracking.log(
        call.actor, call.project, call.path["run_id"], call.body, key=call.key if call.body.metrics else ""
    )


@ROUTES.get("/projects/{project}/runs/{run_id}/data", scope="runs:read", returns=RunData)
async def get_run_data(call: Call) -> RunData:
    """Show last metrics, params and tags of a run."""
    return await call.services.tracking.data(call.actor, call.project, call.path["run_id"])


@ROUTES.get(
    "/projects/{project}/runs/{run_id}/metrics", scope="runs:read", returns=tuple[Metric, ...], query=HistoryQuery
)
async def get_history(call: Call) -> tuple[Metric, ...]:
    """Show the points of one metric."""
    query: HistoryQuery = call.query
    return await call.services.tracking.history(
        call.actor, call.project, call.path["run_id"], query.key, query.after_step, query.limit
    )


@ROUTES.get(
    "/projects/{project}/runs/{run_id}/artifacts", scope="runs:read", returns=Page[Artifact], query=ArtifactsQuery
)
async def list_artifacts(call: Call) -> Page[Artifact]:
    """List a run's artifacts."""
    query: ArtifactsQuery = call.query
    return await call.services.tracking.artifacts(
        call.actor, call.project, call.path["run_id"], under=query.under, after=query.after, limit=query.limit
    )


@ROUTES.put(
    "/projects/{project}/runs/{run_id}/artifacts/{path:path}", scope="runs:write", returns=Artifact, is_raw=True
)
async def put_artifact(call: Call) -> Artifact:
    """Keep a file with a run."""
    return await call.services.tracking.put_artifact(
        call.actor, call.project, call.path["run_id"], call.path["path"], call.request.stream()
    )


@ROUTES.get("/projects/{project}/runs/{run_id}/artifacts/{path:path}", scope="runs:read", returns=Response)
async def get_artifact(call: Call) -> Response:
    """Download a run's artifact."""
    artifact, chunks = await call.services.tracking.open_artifact(
        call.actor, call.project, call.path["run_id"], call.path["path"]
    )
    return StreamingResponse(
        chunks, media_type="application/octet-stream", headers=download_headers(artifact.path, artifact.size_bytes)
    )


def download_headers(path: str, size_bytes: int) -> dict[str, str]:
    """A tenant's bytes are saved, never shown or run: attachment, sandbox, no guessing of types (RFC 6266, 8187)."""
    name = path.rpartition("/")[2]
    plain = _UNPRINTED.sub("_", name)
    return {
        "Content-Length": str(size_bytes),
        "Content-Disposition": f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}",
        "Content-Security-Policy": "sandbox; default-src 'none'",
        "X-Content-Type-Options": "nosniff",
    }
