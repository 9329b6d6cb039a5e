"""Measures the load and has the fleet follow it; how far is `scaling`'s to decide."""

import asyncio
from collections import deque
from collections.abc import Callable

import msgspec

from sill.core.settings import Settings, replica_bounds
from sill.gateway.router import Router
from sill.gateway.scaling import HISTORY_S, Scaling, decide

SAMPLES_PER_S = 20
AHEAD_S_MAX = 120.0
"""A trend of the last seconds says nothing of what comes later."""


async def follow_load(
    router: Router, settings: Settings, scale: Callable[[int], None], ready_s: Callable[[], float] = lambda: 0.0
) -> None:
    """Start and end replicas by the load, for ever; nothing to do where their number is given.

    Args:
        scale: told how many there should be.
        ready_s: what the newest took to be there, if it is known: so far ahead the load is foretold, at least.
    """
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
        ahead_s = min(max(wanted.ahead_s, ready_s()), AHEAD_S_MAX)
        scale(decide(history, msgspec.structs.replace(wanted, ahead_s=ahead_s)))
