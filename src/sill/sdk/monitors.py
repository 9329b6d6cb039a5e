"""Monitors and incidents, from Python."""

from typing import Any

from sill.monitors.types import Incident, MonitorSpec, MonitorStatus, Window
from sill.sdk.client import Client
from sill.sdk.pages import Page


class Monitors:
    """Calls about monitors and incidents."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def list(self) -> tuple[MonitorStatus, ...]:
        """All monitors of the project as they stand."""
        return self._client.call("GET", "/projects/{project}/monitors", tuple[MonitorStatus, ...])

    def declare(self, spec: MonitorSpec) -> MonitorSpec:
        """Declare a monitor."""
        return self._client.call("PUT", f"/projects/{{project}}/monitors/{spec.name}", MonitorSpec, body=spec)

    def get(self, name: str) -> MonitorStatus:
        """One monitor: newest window, open incidents."""
        return self._client.call("GET", f"/projects/{{project}}/monitors/{name}", MonitorStatus)

    def delete(self, name: str) -> None:
        """Watch no more; windows and incidents go too."""
        self._client.call("DELETE", f"/projects/{{project}}/monitors/{name}", None)

    def windows(self, name: str, *, after: str = "", limit: int = 100) -> Page[Window]:
        """Closed windows of a monitor, newest first."""
        query = {"after": after, "limit": limit}
        return self._client.call("GET", f"/projects/{{project}}/monitors/{name}/windows", Page[Window], query=query)

    def incidents(self, *, is_open: bool | None = None, after: str = "", limit: int = 100) -> Page[Incident]:
        """Incidents of the project, newest first; open and closed ones if `is_open` is not given."""
        query: dict[str, Any] = {"is_open": is_open, "after": after, "limit": limit}
        return self._client.call("GET", "/projects/{project}/incidents", Page[Incident], query=query)

    def incident(self, incident_id: str) -> Incident:
        """One incident with its evidence."""
        return self._client.call("GET", f"/projects/{{project}}/incidents/{incident_id}", Incident)
