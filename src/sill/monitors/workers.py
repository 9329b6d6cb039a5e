"""Keeps monitors up to date with the traffic."""

import logging

from sill.core.errors import Conflict, SillError
from sill.monitors.service import Monitors
from sill.monitors.types import MonitorSpec
from sill.stores.log import Log

logger = logging.getLogger("sill.monitors")

ROUNDS_MAX = 100
"""Reads in a row for one monitor before the others have their turn."""


class MonitorWorker:
    """Wakes with the log, or by the poll. Where it stands is in the database, so it may end anywhere."""

    def __init__(self, log: Log, monitors: Monitors) -> None:
        self._log = log
        self._monitors = monitors

    async def run(self) -> None:
        """For ever."""
        while True:
            try:
                await self.observe_once()
            except SillError as wrong:
                logger.warning("monitors were not read: %s", wrong)
            await self._log.wait()

    async def observe_once(self) -> None:
        """Bring every monitor up to date."""
        for spec in await self._monitors.every():
            await self._bring_up(spec)

    async def _bring_up(self, spec: MonitorSpec) -> None:
        for _ in range(ROUNDS_MAX):
            try:
                if not await self._monitors.observe(spec):
                    return
            except Conflict:
                return  # another control plane was faster
            except Exception as wrong:  # the edge of the worker: one bad monitor must not stop the others
                is_new = await self._monitors.note_problem(spec, str(wrong))
                if is_new:  # it is met again at every wake-up; one line in the log is enough
                    trace = None if isinstance(wrong, SillError) else wrong
                    logger.warning(
                        "monitor %s/%s is not up to date: %s", spec.project, spec.name, wrong, exc_info=trace
                    )
                return
