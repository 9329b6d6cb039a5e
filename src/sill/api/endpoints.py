"""Routes of endpoints, and of the plan the inference plane follows."""

from sill.api.routing import Call, Routes
from sill.core.actors import PLATFORM
from sill.core.values import Value
from sill.endpoints.types import (
    DeployRequest,
    Endpoint,
    EndpointSpec,
    MoveRequest,
    PauseRequest,
    RollbackRequest,
    ServingPlan,
)
from sill.stores.database import Page

ROUTES = Routes(tag="endpoints")


class EndpointsQuery(Value, frozen=True, kw_only=True):
    """Which endpoints."""

    after: str = ""
    limit: int = 100


class PlanQuery(Value, frozen=True, kw_only=True):
    """The revision that is known, and how long to wait for another."""

    after_revision: int = -1
    wait_s: float = 0.0


@ROUTES.get("/serving/plan", scope="serving:read", query=PlanQuery, returns=ServingPlan)
async def get_plan(call: Call) -> ServingPlan:
    """The serving plan; waits while it is still the one that is known."""
    return await call.services.endpoints.plan(call.actor, call.query.after_revision, call.query.wait_s)


@ROUTES.get("/projects/{project}/endpoints", scope="endpoints:read", query=EndpointsQuery, returns=Page[Endpoint])
async def list_endpoints(call: Call) -> Page[Endpoint]:
    """Endpoints of a project."""
    query = call.query
    return await call.services.endpoints.endpoints(call.actor, call.project, after=query.after, limit=query.limit)


@ROUTES.put("/projects/{project}/endpoints/{name}", scope="endpoints:write", body=EndpointSpec, returns=Endpoint)
async def apply_endpoint(call: Call) -> Endpoint:
    """Declare an endpoint."""
    return await call.services.endpoints.apply(call.actor, call.named(call.body), key=call.key)


@ROUTES.get("/projects/{project}/endpoints/{name}", scope="endpoints:read", returns=Endpoint)
async def get_endpoint(call: Call) -> Endpoint:
    """One endpoint with its revisions."""
    return await call.services.endpoints.endpoint(call.actor, call.project, call.path["name"])


@ROUTES.delete("/projects/{project}/endpoints/{name}", scope="endpoints:write", returns=None)
async def delete_endpoint(call: Call) -> None:
    """Delete an endpoint; it answers no more."""
    await call.services.endpoints.delete(call.actor, call.project, call.path["name"])


@ROUTES.post(
    "/projects/{project}/endpoints/{name}/deploy",
    scope="endpoints:write",
    body=DeployRequest,
    returns=Endpoint,
    status=201,
)
async def deploy(call: Call) -> Endpoint:
    """Roll a version out by hand, as a new revision. One that an MLflow client registered is promoted before."""
    services, name = call.services, call.path["name"]
    model = (await services.endpoints.endpoint(PLATFORM, call.project, name)).model
    if (await services.models.version(PLATFORM, call.project, model, call.body.version)).is_tracked:
        await services.promotions.promote(call.actor, call.project, model, call.body.version)
    return await services.endpoints.deploy(call.actor, call.project, name, call.body, key=call.key)


@ROUTES.post("/projects/{project}/endpoints/{name}/move", scope="endpoints:write", body=MoveRequest, returns=Endpoint)
async def move(call: Call) -> Endpoint:
    """Move a revision to a state, or a canary to a weight, by hand."""
    body = call.body
    return await call.services.endpoints.move(
        call.actor, call.project, call.path["name"], body.number, body.state, body.weight, body.reason
    )


@ROUTES.post(
    "/projects/{project}/endpoints/{name}/rollback", scope="endpoints:write", body=RollbackRequest, returns=Endpoint
)
async def rollback(call: Call) -> Endpoint:
    """One step back: stop the revision on its way in, or return to the former live one."""
    name, reason = call.path["name"], call.body.reason
    return await call.services.endpoints.rollback(call.actor, call.project, name, reason, key=call.key)


@ROUTES.post("/projects/{project}/endpoints/{name}/pause", scope="endpoints:write", body=PauseRequest, returns=Endpoint)
async def pause(call: Call) -> Endpoint:
    """Stop answering, or answer again."""
    return await call.services.endpoints.pause(call.actor, call.project, call.path["name"], call.body.paused)
