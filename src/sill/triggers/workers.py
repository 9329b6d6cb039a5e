"""Watches the log and the clock, and fires what is ready."""

import asyncio
import logging

from sill.core.errors import SillError
from sill.core.events import Event
from sill.stores.log import Log
from sill.triggers.service import Triggers

WATCHED = ("table.appended", "incident.opened", "incident.closed", "labels.added")
TICK_S = 1.0

logger = logging.getLogger("sill.triggers")


class TriggerWorker:
    """Fires triggers by event and by clock."""

    def __init__(self, log: Log, triggers: Triggers) -> None:
        self._log = log
        self._triggers = triggers

    async def run(self) -> None:
        """For ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._log.follow("triggers", WATCHED, self._observe))
            group.create_task(self._tick())

    async def _observe(self, event: Event) -> None:
        try:
            await self._triggers.observe(event)
        except SillError as refused:
            logger.warning("a trigger of %s could not fire on %s: %s", event.project, event.kind, refused)

    async def _tick(self) -> None:
        while True:
            try:
                await self._triggers.fire_due()
            except SillError as refused:
                logger.warning("a trigger could not fire: %s", refused)
            await asyncio.sleep(TICK_S)
