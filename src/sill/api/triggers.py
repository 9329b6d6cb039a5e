"""Routes of triggers, and of starting by hand what they start."""

from sill.api.routing import Call, Routes
from sill.core.values import Value
from sill.runs.types import Run
from sill.triggers.types import TriggerSpec, TriggerState

ROUTES = Routes(tag="triggers")


class StartRequest(Value, frozen=True, kw_only=True):
    """Why something is started by hand."""

    reason: str = "by hand"


@ROUTES.get("/projects/{project}/triggers", scope="triggers:read", returns=tuple[TriggerState, ...])
async def list_triggers(call: Call) -> tuple[TriggerState, ...]:
    """All triggers of a project, each with the reason it waits."""
    return await call.services.triggers.triggers(call.actor, call.project)


@ROUTES.put("/projects/{project}/triggers/{name}", scope="triggers:write", body=TriggerSpec, returns=TriggerState)
async def declare_trigger(call: Call) -> TriggerState:
    """Declare a trigger."""
    return await call.services.triggers.declare(call.actor, call.named(call.body))


@ROUTES.get("/projects/{project}/triggers/{name}", scope="triggers:read", returns=TriggerState)
async def get_trigger(call: Call) -> TriggerState:
    """One trigger as it stands."""
    return await call.services.triggers.trigger(call.actor, call.project, call.path["name"])


@ROUTES.delete("/projects/{project}/triggers/{name}", scope="triggers:write", returns=None)
async def delete_trigger(call: Call) -> None:
    """Forget a trigger."""
    await call.services.triggers.delete(call.actor, call.project, call.path["name"])


@ROUTES.post("/projects/{project}/triggers/{name}/fire", scope="triggers:write", body=StartRequest, returns=Run)
async def fire_trigger(call: Call) -> Run:
    """Start now what a trigger names."""
    return await call.services.triggers.fire(
        call.actor, call.project, call.path["name"], call.body.reason, key=call.key
    )


@ROUTES.post("/projects/{project}/start/{kind}/{name}", scope="runs:write", body=StartRequest, returns=Run, status=201)
async def start(call: Call) -> Run:
    """Start a training, an ingestion or a pipeline by hand."""
    kind, name = call.path["kind"], call.path["name"]
    return await call.services.triggers.start(
        call.actor, call.project, kind, name, reason=call.body.reason, key=call.key
    )
