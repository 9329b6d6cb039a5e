"""The route that executes an ingestion; the run that ingests calls it."""

from sill.api.routing import Call, Routes
from sill.lake.types import WriteReport

ROUTES = Routes(tag="data")


@ROUTES.post("/projects/{project}/ingestions/{name}/execute", scope="data:write", returns=WriteReport)
async def execute_ingestion(call: Call) -> WriteReport:
    """Read an ingestion's sources and append them to its table."""
    return await call.services.ingestion.execute(call.actor, call.project, call.path["name"], key=call.key)
