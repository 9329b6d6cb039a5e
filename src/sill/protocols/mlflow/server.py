"""Messages about the server itself and its workspaces."""

from sill.protocols.mlflow.wire import Wire

MLFLOW_VERSION = "3.17.2"
"""The release of MLflow whose protocol is spoken."""


class ServerInfo(Wire, frozen=True, kw_only=True):
    """Answer of server-info."""

    store_type: str
    workspaces_enabled: bool


class Workspace(Wire, frozen=True, kw_only=True):
    """A workspace: one of our projects."""

    name: str
    description: str | None = None


class Workspaces(Wire, frozen=True, kw_only=True):
    """Answer of a list."""

    workspaces: tuple[Workspace, ...] = ()


class WorkspaceAnswer(Wire, frozen=True, kw_only=True):
    """Answer of create, get and update."""

    workspace: Workspace


class CreateWorkspace(Wire, frozen=True, kw_only=True):
    """Request of create."""

    name: str | None = None
    description: str | None = None
    default_artifact_root: str | None = None


class UpdateWorkspace(Wire, frozen=True, kw_only=True):
    """Request of update."""

    description: str | None = None
    default_artifact_root: str | None = None
