"""Signs where the log stands, and throws away what is too old to matter."""

import asyncio
import logging

from sill.core.clock import Clock
from sill.core.errors import SillError
from sill.core.settings import Settings
from sill.governance.audit import AuditHeads
from sill.governance.service import Governance
from sill.governance.store import forget_tokens
from sill.safety.signing import Signer
from sill.stores.database import Database
from sill.stores.database.chain import read_head
from sill.stores.database.database import forget_keys

TICK_S = 5.0
HEAD_S = 60.0
HEAD_EVENTS = 1_000
CLEAN_S = 3600.0
KEYS_KEPT_S = 7 * 24 * 3600
"""A repeat with the same idempotency key is recognised for a week."""
TOKENS_KEPT_S = 30 * 24 * 3600
"""An expired token is listed for a month."""

logger = logging.getLogger("sill.audit")


def is_head_due(since_head_s: float, events_since_head: int) -> bool:
    """True if a new head is to be signed: after a minute with events, or after 1,000 of them."""
    return events_since_head > 0 and (since_head_s >= HEAD_S or events_since_head >= HEAD_EVENTS)


class AuditHeadWorker:
    """Appends signed heads to `$SILL_HOME/audit-heads.jsonl`."""

    def __init__(self, governance: Governance, signer: Signer, settings: Settings) -> None:
        self._database: Database = governance.database
        self._clock: Clock = governance.clock
        self._heads = AuditHeads(settings.home / "audit-heads.jsonl", signer)
        governance.heads = self._heads
        self._signed_seq = self._heads.last_seq()
        self._signed_at_s = self._clock.monotonic_s()
        self._cleaned_at_s = self._clock.monotonic_s()

    async def run(self) -> None:
        """For ever."""
        while True:
            try:
                await self.step()
            except (SillError, OSError) as failed:
                logger.warning("the log's head could not be signed: %s", failed)
            await asyncio.sleep(TICK_S)

    async def step(self) -> bool:
        """Sign a head if one is due; True if it was. Clean up when an hour has gone by."""
        now_s = self._clock.monotonic_s()
        if now_s - self._cleaned_at_s >= CLEAN_S:
            await self._clean()
            self._cleaned_at_s = now_s
        seq, head_hash = await self._database.read(read_head)
        if not is_head_due(now_s - self._signed_at_s, seq - self._signed_seq):
            return False
        await asyncio.to_thread(self._heads.add, seq, head_hash, self._clock.now_us())
        self._signed_seq, self._signed_at_s = seq, now_s
        return True

    async def _clean(self) -> None:
        now_us = self._clock.now_us()
        await self._database.write(lambda tx: forget_keys(tx, now_us - KEYS_KEPT_S * 1_000_000))
        await self._database.write(lambda tx: forget_tokens(tx, now_us - TOKENS_KEPT_S * 1_000_000))
