"""Lets endpoints follow their models: an accepted version becomes a revision, a pending revision starts its way in."""

import logging

from sill.core.errors import SillError
from sill.core.events import Event
from sill.endpoints.service import Endpoints
from sill.stores.log import Log

logger = logging.getLogger("sill.endpoints")

KINDS = ("model.accepted", "endpoint.applied", "endpoint.resumed", "revision.created")


class FollowWorker:
    """Reads the log; what it does for an event it can do again without harm."""

    def __init__(self, log: Log, endpoints: Endpoints) -> None:
        self._log = log
        self._endpoints = endpoints

    async def run(self) -> None:
        """For ever."""
        await self._log.follow("endpoints", KINDS, self.handle)

    async def handle(self, event: Event) -> None:
        """Bring every endpoint that an event is about where it should be."""
        if event.kind == "model.accepted":
            names = await self._endpoints.followers(event.project, str(event.data["model"]))
        else:
            names = (event.subject,)
        for name in names:
            try:
                await self._endpoints.reconcile(event.project, name)
            except SillError as wrong:
                logger.warning("endpoint %s/%s cannot follow its model: %s", event.project, name, wrong)
