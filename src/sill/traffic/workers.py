"""Moves rollouts on: whenever answers or labels came in, and once in a while for steps that ran out of time.

It also has the platform prepared for the log's rows before the first of them comes.
"""

import asyncio
import logging

from sill.core.errors import SillError
from sill.core.events import Event
from sill.stores.log import Log
from sill.traffic.service import Traffic

TIMER_S = 5.0
PREPARE_S = 3.0
"""After a start, when what is needed first is done."""
DELETED = "endpoint.deleted"
APPLIED = "endpoint.applied"
KINDS = (
    "traffic.recorded",
    "labels.added",
    "revision.created",
    "revision.moved",
    APPLIED,
    "endpoint.resumed",
    DELETED,
)

logger = logging.getLogger("sill.traffic")


class RolloutWorker:
    """Asks the judge and does what it says. What it does for an event it can do again without harm."""

    def __init__(self, log: Log, traffic: Traffic) -> None:
        self._log = log
        self._traffic = traffic
        self._applied = asyncio.Event()

    async def run(self) -> None:
        """For ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._log.follow("rollouts", KINDS, self.handle))
            group.create_task(self._by_time())
            group.create_task(self._prepare())

    async def handle(self, event: Event) -> None:
        """Judge the endpoint that an event is about, or forget it."""
        if event.kind == DELETED:
            await self._traffic.forget(event.project, event.subject)
            return
        if event.kind == APPLIED:
            self._applied.set()
        await self._judge(event.project, event.subject)

    async def _prepare(self) -> None:
        await asyncio.sleep(PREPARE_S)
        self._applied.set()
        is_prepared = False
        while not is_prepared:
            await self._applied.wait()
            self._applied.clear()  # first, so that what is applied meanwhile is looked at once more
            is_prepared = await self._traffic.prepare()

    async def _by_time(self) -> None:
        while True:
            await asyncio.sleep(TIMER_S)
            for project, endpoint in await self._traffic.rolling():
                await self._judge(project, endpoint)

    async def _judge(self, project: str, endpoint: str) -> None:
        try:
            decision = await self._traffic.roll_out(project, endpoint)
        except SillError as wrong:
            logger.warning("the rollout of %s/%s could not be judged: %s", project, endpoint, wrong)
            return
        if decision is not None and decision.is_move:
            logger.info(
                "%s/%s revision %d: %s, %s", project, endpoint, decision.number, decision.state, decision.reason
            )
