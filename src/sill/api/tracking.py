"""Routes of what runs log: batches, series, artifacts."""

from functools import partial

from starlette.responses import Response

from sill.api.downloads import download
from sill.api.routing import Call, Routes
from sill.core.values import Value
from sill.runs.tracking.types import WireBatch, WireData, WireMetric, WireRecord, WireState
from sill.runs.types import Artifact, ArtifactsDeleted, Logged, View
from sill.stores.database import Page

ROUTES = Routes(tag="tracking")


class HistoryQuery(Value, frozen=True, kw_only=True):
    """Which series, and where the page starts: `next` of the page before."""

    key: str
    after: str = ""
    limit: int = 1_000


class CurveQuery(Value, frozen=True, kw_only=True):
    """Which series, and about how many of its points."""

    key: str
    points: int = 1_000


class RunSearch(Value, frozen=True, kw_only=True):
    """What runs are looked for. Without `experiment_ids` in the whole project."""

    experiment_ids: tuple[str, ...] | None = None
    filter: str = ""
    order_by: tuple[str, ...] = ()
    view: View = View.ACTIVE
    limit: int = 100
    after: str = ""


class ArtifactsQuery(Value, frozen=True, kw_only=True):
    """Which folder, and where the page starts."""

    under: str = ""
    after: str = ""
    limit: int = 1_000


@ROUTES.post("/projects/{project}/runs/{run_id}/log", scope="runs:write", returns=Logged, body=WireBatch)
async def log_batch(call: Call) -> Logged:
    """Log metrics, params and tags together."""
    batch = call.body.batch()
    return await call.services.tracking.log(
        call.actor, call.project, call.path["run_id"], batch, key=call.key if batch.metrics else ""
    )


@ROUTES.post("/projects/{project}/runs/search", scope="runs:read", returns=Page[WireRecord], body=RunSearch)
async def search_runs(call: Call) -> Page[WireRecord]:
    """Find runs by metrics, params, tags and attributes, in any order."""
    body: RunSearch = call.body
    page = await call.services.tracking.search(
        call.actor,
        call.project,
        body.experiment_ids,
        filter=body.filter,
        order_by=body.order_by,
        view=body.view,
        limit=body.limit,
        after=body.after,
    )
    return Page(items=tuple(WireRecord.of(record) for record in page.items), next=page.next)


@ROUTES.get("/projects/{project}/runs/{run_id}/data", scope="runs:read", returns=WireData)
async def get_run_data(call: Call) -> WireData:
    """Show last metrics, params and tags of a run."""
    return WireData.of(await call.services.tracking.data(call.actor, call.project, call.path["run_id"]))


@ROUTES.get("/projects/{project}/runs/{run_id}/series", scope="runs:read", returns=tuple[WireState, ...])
async def list_series(call: Call) -> tuple[WireState, ...]:
    """Show how far each series of a run has come."""
    found = await call.services.tracking.states(call.actor, call.project, call.path["run_id"])
    return tuple(WireState(key=one.key, logged=one.logged, last=WireMetric.of(one.last)) for one in found)


@ROUTES.get(
    "/projects/{project}/runs/{run_id}/metrics", scope="runs:read", returns=Page[WireMetric], query=HistoryQuery
)
async def get_history(call: Call) -> Page[WireMetric]:
    """Show the points of one metric, all of them, a page at a time."""
    query: HistoryQuery = call.query
    page = await call.services.tracking.history(
        call.actor, call.project, call.path["run_id"], query.key, after=query.after, limit=query.limit
    )
    return Page(items=tuple([WireMetric.of(metric) for metric in page.items]), next=page.next)


@ROUTES.get(
    "/projects/{project}/runs/{run_id}/curve", scope="runs:read", returns=tuple[WireMetric, ...], query=CurveQuery
)
async def get_curve(call: Call) -> tuple[WireMetric, ...]:
    """Show one metric in few points, with every peak."""
    query: CurveQuery = call.query
    found = await call.services.tracking.curve(call.actor, call.project, call.path["run_id"], query.key, query.points)
    return tuple([WireMetric.of(metric) for metric in found])


@ROUTES.get(
    "/projects/{project}/runs/{run_id}/artifacts", scope="runs:read", returns=Page[Artifact], query=ArtifactsQuery
)
async def list_artifacts(call: Call) -> Page[Artifact]:
    """List a run's artifacts."""
    query: ArtifactsQuery = call.query
    return await call.services.artifacts.list(
        call.actor, call.project, call.path["run_id"], under=query.under, after=query.after, limit=query.limit
    )


@ROUTES.put(
    "/projects/{project}/runs/{run_id}/artifacts/{path:path}", scope="runs:write", returns=Artifact, is_raw=True
)
async def put_artifact(call: Call) -> Artifact:
    """Keep a file with a run."""
    return await call.services.artifacts.put(
        call.actor, call.project, call.path["run_id"], call.path["path"], call.request.stream()
    )


@ROUTES.get("/projects/{project}/runs/{run_id}/artifacts/{path:path}", scope="runs:read", returns=Response)
async def get_artifact(call: Call) -> Response:
    """Download a run's artifact, or a range of it."""
    artifacts = call.services.artifacts
    found = await artifacts.find(call.actor, call.project, call.path["run_id"], call.path["path"])
    opener = partial(artifacts.open, found)
    return await download(call.request, found.path, found.size_bytes, found.digest, opener)


@ROUTES.delete("/projects/{project}/runs/{run_id}/artifacts/{path:path}", scope="runs:write", returns=ArtifactsDeleted)
async def delete_artifacts(call: Call) -> ArtifactsDeleted:
    """Delete a file or folder of a run's artifacts, and free what nothing else uses."""
    return await call.services.artifacts.delete(call.actor, call.project, call.path["run_id"], call.path["path"])
