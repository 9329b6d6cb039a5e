"""Routes of costs: what a project's runs and endpoints come to."""

from sill.api.routing import Call, Routes
from sill.core.values import Value
from sill.costs.types import CostReport

ROUTES = Routes(tag="costs")


class CostQuery(Value, frozen=True, kw_only=True):
    """A span of time in microseconds since 1970 UTC; `until_us` 0 means now."""

    since_us: int = 0
    until_us: int = 0


@ROUTES.get("/projects/{project}/costs", scope="costs:read", query=CostQuery, returns=CostReport)
async def get_costs(call: Call) -> CostReport:
    """Money, energy and carbon of a project, in total and by run and endpoint."""
    span = call.query
    return await call.services.costs.report(call.actor, call.project, since_us=span.since_us, until_us=span.until_us)
