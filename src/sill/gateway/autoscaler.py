"""Measures the load and has the fleet follow it; how far is `scaling`'s to decide."""

import asyncio
from collections import deque

from sill.core.settings import Settings, replica_bounds
from sill.gateway.fleet import Fleet
from sill.gateway.router import Router
from sill.gateway.scaling import HISTORY_S, Scaling, decide

SAMPLES_PER_S = 20


async def follow_load(router: Router, fleet: Fleet, settings: Settings) -> None:
    """Start and end replicas by the load, for ever; nothing to do where their number is given."""
    bounds = replica_bounds(settings.replicas)
    if bounds is None or bounds[0] == bounds[1]:
        await asyncio.Event().wait()
        return
    wanted = Scaling(least=bounds[0], most=bounds[1], in_flight=settings.replica_in_flight)
    history: deque[float] = deque(maxlen=HISTORY_S)
    while True:
        open_sum = 0
        for _ in range(SAMPLES_PER_S):
            await asyncio.sleep(1 / SAMPLES_PER_S)
            open_sum += router.open
        history.append(open_sum / SAMPLES_PER_S)
        fleet.scale(decide(history, wanted))
