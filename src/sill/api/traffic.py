"""Routes of requests, labels, rollouts and explanations, and of what the inference plane hands over."""

from starlette.responses import Response

from sill.api.routing import Call, Routes
from sill.core.values import Value
from sill.lake.wire import to_arrow_stream
from sill.traffic.types import (
    Decision,
    Explanation,
    Gateways,
    GatewayState,
    LabelBatch,
    LabelReport,
    LogBatch,
    Recorded,
    ReplicaList,
    ReplicaState,
    RequestRow,
    RevisionStats,
    ServingReport,
)

ROUTES = Routes(tag="traffic")
ARROW = "application/vnd.apache.arrow.stream"


class RequestsQuery(Value, frozen=True, kw_only=True):
    """How many of the newest requests."""

    limit: int = 100


class FeedbackQuery(Value, frozen=True, kw_only=True):
    """How the label's column is to be named."""

    label: str = "label"


class ExplainQuery(Value, frozen=True, kw_only=True):
    """Which request. Not in the path: the ids of rows of one request hold a slash."""

    request_id: str


@ROUTES.post("/serving/log", scope="serving:write", body=LogBatch, returns=Recorded)
async def record(call: Call) -> Recorded:
    """Take in rows of the inference plane; a repeat of a batch changes nothing."""
    return Recorded(rows=await call.services.traffic.record(call.actor, call.body))


@ROUTES.post("/serving/report", scope="serving:write", body=ServingReport, returns=None)
async def report(call: Call) -> None:
    """Hear of a revision that the inference plane cannot load."""
    await call.services.traffic.report(call.actor, call.body)


@ROUTES.post("/serving/replica", scope="serving:write", body=ReplicaState, returns=Gateways)
async def announce(call: Call) -> Gateways:
    """Hear of a replica that an engine runs; it is told whose requests to answer."""
    return call.services.replicas.announce(call.actor, call.body)


@ROUTES.post("/serving/gateway", scope="serving:write", body=GatewayState, returns=ReplicaList)
async def follow(call: Call) -> ReplicaList:
    """Hear of a gateway and how many replicas it needs; it is told those that are there."""
    return call.services.replicas.follow(call.actor, call.body)


@ROUTES.post("/projects/{project}/endpoints/{name}/labels", scope="traffic:write", body=LabelBatch, returns=LabelReport)
async def label(call: Call) -> LabelReport:
    """Take in what turned out to be true about requests."""
    return await call.services.traffic.label(call.actor, call.project, call.path["name"], call.body, key=call.key)


@ROUTES.get("/projects/{project}/endpoints/{name}/stats", scope="traffic:read", returns=tuple[RevisionStats, ...])
async def stats(call: Call) -> tuple[RevisionStats, ...]:
    """Sums over the answers of each revision, for each phase of its rollout."""
    return await call.services.traffic.stats(call.actor, call.project, call.path["name"])


@ROUTES.get("/projects/{project}/endpoints/{name}/rollout", scope="traffic:read", returns=Decision | None)
async def rollout(call: Call) -> Decision | None:
    """What the judge says about the revision on its way in, and why it waits."""
    return await call.services.traffic.rollout(call.actor, call.project, call.path["name"])


@ROUTES.get(
    "/projects/{project}/endpoints/{name}/requests",
    scope="traffic:read",
    query=RequestsQuery,
    returns=tuple[RequestRow, ...],
)
async def requests(call: Call) -> tuple[RequestRow, ...]:
    """The newest requests, newest first."""
    return await call.services.traffic.requests(call.actor, call.project, call.path["name"], call.query.limit)


@ROUTES.get(
    "/projects/{project}/endpoints/{name}/feedback", scope="traffic:read", query=FeedbackQuery, returns=Response
)
async def feedback(call: Call) -> Response:
    """Features and labels of labelled live requests, as an Arrow stream."""
    table = await call.services.traffic.feedback(call.actor, call.project, call.path["name"], call.query.label)
    return Response(to_arrow_stream(table), media_type=ARROW)


@ROUTES.get("/projects/{project}/explain", scope="traffic:read", query=ExplainQuery, returns=Explanation)
async def explain(call: Call) -> Explanation:
    """One answer, and the chain back to its source rows."""
    return await call.services.traffic.explain(call.actor, call.project, call.query.request_id)
