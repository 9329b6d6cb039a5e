"""Routes of monitors, their windows, and incidents."""

from sill.api.routing import Call, Routes
from sill.core.values import Value
from sill.monitors.types import Incident, MonitorSpec, MonitorStatus, Window
from sill.stores.database import Page

ROUTES = Routes(tag="monitors")


class IncidentsQuery(Value, frozen=True, kw_only=True):
    """Which incidents; open and closed ones if `is_open` is not given."""

    is_open: bool | None = None
    after: str = ""
    limit: int = 100


class WindowsQuery(Value, frozen=True, kw_only=True):
    """Which windows."""

    after: str = ""
    limit: int = 100


@ROUTES.get("/projects/{project}/monitors", scope="monitors:read", returns=tuple[MonitorStatus, ...])
async def list_monitors(call: Call) -> tuple[MonitorStatus, ...]:
    """All monitors of a project as they stand."""
    return await call.services.monitors.monitors(call.actor, call.project)


@ROUTES.put("/projects/{project}/monitors/{name}", scope="monitors:write", body=MonitorSpec, returns=MonitorSpec)
async def declare_monitor(call: Call) -> MonitorSpec:
    """Declare a monitor."""
    return await call.services.monitors.declare(call.actor, call.named(call.body), key=call.key)


@ROUTES.get("/projects/{project}/monitors/{name}", scope="monitors:read", returns=MonitorStatus)
async def get_monitor(call: Call) -> MonitorStatus:
    """One monitor: newest window, open incidents."""
    return await call.services.monitors.status(call.actor, call.project, call.path["name"])


@ROUTES.delete("/projects/{project}/monitors/{name}", scope="monitors:write", returns=None)
async def delete_monitor(call: Call) -> None:
    """Watch no more; windows and incidents go too."""
    await call.services.monitors.delete(call.actor, call.project, call.path["name"])


@ROUTES.get(
    "/projects/{project}/monitors/{name}/windows", scope="monitors:read", query=WindowsQuery, returns=Page[Window]
)
async def list_windows(call: Call) -> Page[Window]:
    """Closed windows of a monitor, newest first."""
    name, query = call.path["name"], call.query
    return await call.services.monitors.windows(call.actor, call.project, name, after=query.after, limit=query.limit)


@ROUTES.get("/projects/{project}/incidents", scope="monitors:read", query=IncidentsQuery, returns=Page[Incident])
async def list_incidents(call: Call) -> Page[Incident]:
    """Incidents of a project, newest first."""
    query = call.query
    return await call.services.monitors.incidents(
        call.actor, call.project, is_open=query.is_open, after=query.after, limit=query.limit
    )


@ROUTES.get("/projects/{project}/incidents/{incident}", scope="monitors:read", returns=Incident)
async def get_incident(call: Call) -> Incident:
    """One incident with its evidence."""
    return await call.services.monitors.incident(call.actor, call.project, call.path["incident"])
