"""The loop of a project at one look, for the console's page and `sill top`."""

from typing import TYPE_CHECKING

from sill.api.types import Overview
from sill.core.actors import Actor
from sill.runs.types import RunState

if TYPE_CHECKING:
    from sill.api.services import Services

RUNS_SHOWN = 100
"""Trials among them; the console shows those that stand on their own."""
INCIDENTS_SHOWN = 20


async def look_over(services: "Services", actor: Actor, project: str) -> Overview:
    """Gather a project's state from each stage's service."""
    runs = await services.runs.runs(actor, project, limit=RUNS_SHOWN)
    waiting = await services.runs.count(actor, project, RunState.QUEUED)
    going = await services.runs.count(actor, project, RunState.RUNNING)
    endpoints = (await services.endpoints.endpoints(actor, project)).items
    incidents = await services.monitors.incidents(actor, project, limit=INCIDENTS_SHOWN)
    report = await services.costs.report(actor, project)
    return Overview(
        project=project,
        tables=await services.lake.tables(actor, project),
        runs=runs.items,
        runs_waiting=waiting,
        runs_going=going,
        models=(await services.models.models(actor, project)).items,
        endpoints=endpoints,
        traffic={each.name: await services.traffic.stats(actor, project, each.name) for each in endpoints},
        incidents=incidents.items,
        triggers=await services.triggers.triggers(actor, project),
        cost=report.total,
        predictions=report.predictions,
    )
