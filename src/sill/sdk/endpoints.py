"""Endpoints, from Python."""

from sill.endpoints.types import (
    DeployRequest,
    Endpoint,
    EndpointSpec,
    MoveRequest,
    PauseRequest,
    RevisionState,
    RollbackRequest,
    ServingPlan,
)
from sill.sdk.client import Client
from sill.sdk.pages import Page


class Endpoints:
    """Calls about endpoints."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def apply(self, spec: EndpointSpec) -> Endpoint:
        """Declare an endpoint."""
        return self._client.call("PUT", f"/projects/{{project}}/endpoints/{spec.name}", Endpoint, body=spec)

    def get(self, name: str) -> Endpoint:
        """One endpoint with its revisions."""
        return self._client.call("GET", f"/projects/{{project}}/endpoints/{name}", Endpoint)

    def list(self, *, after: str = "", limit: int = 100) -> Page[Endpoint]:
        """Endpoints of the project."""
        query = {"after": after, "limit": limit}
        return self._client.call("GET", "/projects/{project}/endpoints", Page[Endpoint], query=query)

    def delete(self, name: str) -> None:
        """Delete an endpoint; it answers no more."""
        self._client.call("DELETE", f"/projects/{{project}}/endpoints/{name}", None)

    def deploy(self, name: str, version: int, *, force: bool = False) -> Endpoint:
        """Roll a version out by hand; `force` for one that its gate refused."""
        body = DeployRequest(version=version, force=force)
        return self._client.call("POST", f"/projects/{{project}}/endpoints/{name}/deploy", Endpoint, body=body)

    def move(
        self, name: str, number: int, state: RevisionState, *, weight: int = 0, reason: str = "by hand"
    ) -> Endpoint:
        """Move a revision to a state, or a canary to a weight in percent."""
        body = MoveRequest(number=number, state=state, weight=weight, reason=reason)
        return self._client.call("POST", f"/projects/{{project}}/endpoints/{name}/move", Endpoint, body=body)

    def rollback(self, name: str, reason: str = "by hand") -> Endpoint:
        """One step back: stop the revision on its way in, or return to the former live one."""
        body = RollbackRequest(reason=reason)
        return self._client.call("POST", f"/projects/{{project}}/endpoints/{name}/rollback", Endpoint, body=body)

    def pause(self, name: str, paused: bool = True) -> Endpoint:
        """Stop answering, or answer again."""
        body = PauseRequest(paused=paused)
        return self._client.call("POST", f"/projects/{{project}}/endpoints/{name}/pause", Endpoint, body=body)

    def plan(self, after_revision: int = -1, wait_s: float = 0.0) -> ServingPlan:
        """The serving plan; waits while it is still the one that is known."""
        query = {"after_revision": after_revision, "wait_s": wait_s}
        return self._client.call("GET", "/serving/plan", ServingPlan, query=query)
