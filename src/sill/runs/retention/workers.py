"""The loop that erases what was deleted and is over its time."""

import asyncio
import logging

from sill.runs.retention.service import Retention

PASS_S = 60.0
"""Between two looks; nobody waits for this worker."""

_logger = logging.getLogger("sill.retention")


class RetentionWorker:
    """Erases deleted runs, experiments and logged models when their project keeps them no longer."""

    def __init__(self, retention: Retention) -> None:
        self._retention = retention

    async def run(self) -> None:
        """Work for ever."""
        while True:
            try:
                erased = await self._retention.erase_due()
            except Exception:  # the edge of the worker: the next pass tries again
                _logger.exception("a pass over what was deleted failed; it is repeated")
            else:
                if erased.runs or erased.experiments or erased.logged_models or erased.bytes_freed:
                    _logger.info("erased %s", erased)
            await asyncio.sleep(PASS_S)
