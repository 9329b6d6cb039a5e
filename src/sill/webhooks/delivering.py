"""Sends what is owed to addresses of others: signed anew each time, tried again with growing pauses, then given up.

The one mechanism in the house. Who owes deliveries says where they go and how they are signed, and is told what became
of each (`Sender`). Calls go through `safety.outbound`, which bounds time, size and redirects, and refuses private
addresses; several go out at once, so that one slow receiver does not hold up the others.
"""

import asyncio
import logging
from collections.abc import Mapping
from typing import NamedTuple, Protocol

from msgspec.structs import replace

from sill.core.clock import Clock
from sill.core.errors import Forbidden, InvalidValue, NotFound, SillError
from sill.safety.outbound import Limits, Outbound
from sill.stores.database import Database, Tx
from sill.webhooks.rules import ATTEMPTS_MAX, pause_us
from sill.webhooks.store import DELIVERIES, due, forget_old
from sill.webhooks.types import Delivery, DeliveryState

AT_ONCE = 16
REASON_LENGTH_MAX = 300
LIMITS = Limits(cut=True)
"""A receiver's answer is read up to 64 KiB and for 5 s in all; redirects stay at its origin, three at most."""

logger = logging.getLogger("sill.webhooks")


class Call(NamedTuple):
    """Where a delivery goes, and what proves that it is ours."""

    url: str
    headers: Mapping[str, str]


class Sender(Protocol):
    """Who owes deliveries of one kind."""

    async def call(self, delivery: Delivery, timestamp: int) -> Call:
        """Where it goes now, signed for this moment (seconds since 1970 UTC).

        Raises:
            NotFound, Forbidden, InvalidValue: there is nobody to tell any more; it is given up.
        """
        ...

    def settled(self, tx: Tx, delivery: Delivery) -> None:
        """Nothing more will be tried: it was delivered, or is dead. Called in the transaction that notes it."""
        ...


class Deliveries:
    """Delivers for all senders. A delivery may arrive twice (its id is the same); it is never lost."""

    def __init__(self, database: Database, outbound: Outbound, clock: Clock) -> None:
        self._database = database
        self._outbound = outbound
        self._clock = clock
        self._senders: dict[str, Sender] = {}

    def on_kind(self, kind: str, sender: Sender) -> None:
        """Let a stage owe deliveries of its own kind."""
        self._senders[kind] = sender

    async def deliver_due(self) -> int:
        """Try everything that is due, once; returns how many were tried."""
        now_us = self._clock.now_us()
        found = await self._database.read(lambda connection: due(connection, now_us))
        gate = asyncio.Semaphore(AT_ONCE)

        async def one(delivery: Delivery) -> None:
            async with gate:
                await self._deliver(delivery)

        await asyncio.gather(*(one(delivery) for delivery in found))
        return len(found)

    async def _deliver(self, delivery: Delivery) -> None:
        failure, retry_after, is_final = "", "", False
        try:
            failure, retry_after = await self._attempt(delivery)
        except (NotFound, Forbidden, InvalidValue) as wrong:
            failure, is_final = str(wrong), True
        except SillError as wrong:
            failure = str(wrong)
        failure = failure[:REASON_LENGTH_MAX]
        await self._database.write(lambda tx: self._settle(tx, delivery, failure, retry_after, is_final))

    async def _attempt(self, delivery: Delivery) -> tuple[str, str]:
        """Send once: nothing when the receiver took it, else why it did not, and how long it asks us to wait."""
        if delivery.kind not in self._senders:
            raise NotFound(f"nobody sends deliveries of kind {delivery.kind!r}.")
        call = await self._senders[delivery.kind].call(delivery, self._clock.now_us() // 1_000_000)
        answer = await self._outbound.fetch(
            "POST", call.url, headers=call.headers, body=delivery.body.encode(), limits=LIMITS
        )
        if 200 <= answer.status < 300:
            return "", ""
        return f"the receiver answered {answer.status}", answer.headers.get("retry-after", "")

    def _settle(self, tx: Tx, delivery: Delivery, failure: str, retry_after: str, is_final: bool) -> None:
        """Keep what became of an attempt; tell the sender once nothing more will be tried."""
        if DELIVERIES.find(tx.connection, delivery.project, delivery.id) is None:
            return  # whoever it was for is gone
        attempts = delivery.attempts + 1
        is_over = not failure or is_final or attempts >= ATTEMPTS_MAX
        state = DeliveryState.DEAD if failure else DeliveryState.DELIVERED
        after = replace(
            delivery,
            attempts=attempts,
            reason=failure,
            state=state if is_over else DeliveryState.WAITING,
            next_us=tx.now_us + pause_us(delivery.id, attempts, retry_after),
        )
        DELIVERIES.put(tx, after)
        if not is_over:
            return
        if failure:
            logger.warning("delivery %s was given up after %d attempts: %s", delivery.id, attempts, failure)
        if delivery.kind in self._senders:
            self._senders[delivery.kind].settled(tx, after)
        forget_old(tx)


def owe(tx: Tx, delivery: Delivery) -> None:
    """Owe a delivery from now on; one that is owed already, or was, is left as it is."""
    if DELIVERIES.find(tx.connection, delivery.project, delivery.id) is None:
        DELIVERIES.create(tx, replace(delivery, created_us=tx.now_us, next_us=tx.now_us))
