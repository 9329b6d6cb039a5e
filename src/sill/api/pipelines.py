"""Routes of pipelines and of what their steps have made."""

from sill.api.routing import Call, Routes
from sill.core.errors import InvalidValue
from sill.runs.pipelines.types import CachedStep, PipelineSpec

ROUTES = Routes(tag="runs")


@ROUTES.get("/projects/{project}/pipelines", scope="runs:read", returns=tuple[PipelineSpec, ...])
async def list_pipelines(call: Call) -> tuple[PipelineSpec, ...]:
    """All declared pipelines of a project."""
    return await call.services.pipelines.pipelines(call.actor, call.project)


@ROUTES.get("/projects/{project}/pipelines/{name}", scope="runs:read", returns=PipelineSpec)
async def get_pipeline(call: Call) -> PipelineSpec:
    """One declared pipeline."""
    return await call.services.pipelines.pipeline(call.actor, call.project, call.path["name"])


@ROUTES.put("/projects/{project}/pipelines/{name}", scope="runs:write", body=PipelineSpec, returns=PipelineSpec)
async def declare_pipeline(call: Call) -> PipelineSpec:
    """Declare a pipeline."""
    return await call.services.pipelines.declare(call.actor, call.named(call.body))


@ROUTES.get("/projects/{project}/cached-steps/{key}", scope="runs:read", returns=CachedStep)
async def get_cached_step(call: Call) -> CachedStep:
    """What a step with this code and these inputs made before."""
    return await call.services.pipelines.cached(call.actor, call.project, call.path["key"])


@ROUTES.put("/projects/{project}/cached-steps/{key}", scope="runs:write", body=CachedStep, returns=CachedStep)
async def keep_cached_step(call: Call) -> CachedStep:
    """Keep what a step made."""
    if (call.body.project, call.body.key) != (call.project, call.path["key"]):
        raise InvalidValue("the body and the path are about different steps.", field="key")
    return await call.services.pipelines.remember(call.actor, call.body)
