"""What MLflow's clients ask of the server itself: its version, its abilities, and its workspaces, which are our projects."""

from starlette.responses import PlainTextResponse, Response

from sill.api.mlflow.wiring import WireRoutes
from sill.api.routing import PUBLIC, Call
from sill.governance.types import Project
from sill.protocols.mlflow.errors import RESOURCE_ALREADY_EXISTS, invalid
from sill.protocols.mlflow.server import (
    MLFLOW_VERSION,
    CreateWorkspace,
    ServerInfo,
    UpdateWorkspace,
    Workspace,
    WorkspaceAnswer,
    Workspaces,
)

ROUTES = WireRoutes(tag="server")
"""The first part of the door, and an example for the others."""


@ROUTES.root("GET", "/version", scope=PUBLIC)
async def get_version(call: Call) -> Response:
    """The release of MLflow whose protocol is spoken."""
    return PlainTextResponse(MLFLOW_VERSION)


@ROUTES.root("GET", "/health", scope=PUBLIC)
async def get_project_health(call: Call) -> Response:
    """Whether the server answers, for addresses with a project in front."""
    return PlainTextResponse("OK")


@ROUTES.get("/mlflow/server-info", version=3, scope=PUBLIC)
async def get_server_info(call: Call) -> ServerInfo:
    """What the client may use: workspaces, and a store that pages histories."""
    return ServerInfo(store_type="SqlStore", workspaces_enabled=True)


@ROUTES.get("/mlflow/workspaces", version=3, scope="projects:read", in_project=False)
async def list_workspaces(call: Call) -> Workspaces:
    """The projects the caller may see."""
    found = await call.services.governance.projects(call.actor)
    return Workspaces(workspaces=tuple(_workspace(project) for project in found))


@ROUTES.post(
    "/mlflow/workspaces",
    version=3,
    scope="projects:write",
    body=CreateWorkspace,
    required=("name",),
    conflict=RESOURCE_ALREADY_EXISTS,
    status=201,
    in_project=False,
)
async def create_workspace(call: Call) -> WorkspaceAnswer:
    """Make a project."""
    body: CreateWorkspace = call.body
    _no_root(body.default_artifact_root)
    project = Project(project=body.name or "", note=body.description or "")
    return WorkspaceAnswer(workspace=_workspace(await call.services.governance.create_project(call.actor, project)))


@ROUTES.get("/mlflow/workspaces/{workspace_name}", version=3, scope="projects:read", in_project=False)
async def get_workspace(call: Call) -> WorkspaceAnswer:
    """One project."""
    found = await call.services.governance.project(call.actor, call.path["workspace_name"])
    return WorkspaceAnswer(workspace=_workspace(found))


@ROUTES.patch(
    "/mlflow/workspaces/{workspace_name}", version=3, scope="projects:write", body=UpdateWorkspace, in_project=False
)
async def update_workspace(call: Call) -> WorkspaceAnswer:
    """Refuse, since a project's note and the place of its artifacts are not changed here."""
    await call.services.governance.project(call.actor, call.path["workspace_name"])
    raise invalid("a workspace is a project of this platform; its description and artifact root cannot be changed.")


@ROUTES.delete("/mlflow/workspaces/{workspace_name}", version=3, scope="projects:write", in_project=False)
async def delete_workspace(call: Call) -> Response:
    """Remove an empty project."""
    await call.services.governance.delete_project(call.actor, call.path["workspace_name"])
    return Response(status_code=204)


def _workspace(project: Project) -> Workspace:
    return Workspace(name=project.project, description=project.note or None)


def _no_root(given: str | None) -> None:
    if given:
        raise invalid("'default_artifact_root' cannot be chosen: artifacts lie in the platform's own store.")
