"""Tells webhooks what happens, from the log, and sends what any stage owes to addresses of others."""

import asyncio
import logging

from sill.core.errors import Limited, SillError, Unavailable
from sill.core.events import Event
from sill.stores.log import POLL_S, Log
from sill.webhooks.payloads import KINDS
from sill.webhooks.service import Webhooks

READER = "webhooks"
"""The place in the log is kept under this name."""

logger = logging.getLogger("sill.webhooks")


class WebhookWorker:
    """Wakes with the log, or by the poll. Where it stands is in the database, so it may end anywhere."""

    def __init__(self, log: Log, webhooks: Webhooks) -> None:
        self._log = log
        self._webhooks = webhooks

    async def run(self) -> None:
        """For ever."""
        await asyncio.gather(self._log.follow(READER, KINDS, self._tell), self._deliver())

    async def _tell(self, event: Event) -> None:
        try:
            await self._webhooks.tell(event)
        except (Unavailable, Limited):
            raise  # the worker begins again from its place
        except Exception:  # the edge of the worker: one event that cannot be told must not hold up the others
            logger.exception("webhooks were not told of event %d (%s)", event.seq, event.kind)

    async def _deliver(self) -> None:
        while True:
            commits = self._log.commits
            try:
                found = await self._webhooks.deliveries.deliver_due()
            except SillError as wrong:
                logger.warning("webhooks were not sent: %s", wrong)
                found = 0
            if not found:
                await self._log.wait(POLL_S, commits)
