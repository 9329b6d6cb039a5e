"""Routes of whole projects: apply."""

from sill.api.routing import Call, Routes
from sill.core.errors import InvalidValue
from sill.projects.types import ApplyReport, ProjectSpec

ROUTES = Routes(tag="projects")


@ROUTES.route(
    "POST",
    "/projects/{project}/apply",
    scope="projects:write",
    body=ProjectSpec,
    returns=ApplyReport,
    makes_project=True,
)
async def apply_project(call: Call) -> ApplyReport:
    """Make everything a project declares so; applying twice changes nothing."""
    if call.body.project != call.project:
        raise InvalidValue(
            f"the body declares project {call.body.project!r}, the path names {call.project!r}.", field="project"
        )
    return await call.services.projects.apply(call.actor, call.body)
