"""Takes rows off the event loop, keeps them in the spool, and hands them to the control plane until it has them."""

import asyncio
import logging
import time
from typing import Protocol

from sill.core.clock import Clock
from sill.core.errors import Limited, SillError, Unavailable
from sill.traffic.recording import Recorder, Taken
from sill.traffic.spool import Spool

FLUSH_S = 0.2
"""How long a row may be in memory only: what a power cut or kill may take."""
FLUSH_ROWS_MAX = 100
"""Rows written at a time: so long may a request wait for the interpreter."""
WRITING_SHARE_MAX = 0.2
"""The part of the time that is spent on writing rows, at most."""
SHIP_S, SHIP_S_MAX = 0.5, 2.0
"""The shortest time between two batches, each of which becomes a commit of the lake; and the longest by
`SHIPPING_SHARE_MAX`. What waits meanwhile is on disk."""
SHIPPING_SHARE_MAX = 0.04
"""The part of the time that the control plane is asked to spend on batches: a commit costs it the same however many rows
it has, and it may share the processors with the models."""
RETRY_S, RETRY_S_MAX = 0.5, 10.0

_log = logging.getLogger("sill.inference")


class Receiver(Protocol):
    """Who takes the batches."""

    def log(self, batch: bytes) -> None:
        """Take a batch; a repeat with the same id changes nothing."""
        ...


class Shipping:
    """The way of rows from the loop to the control plane."""

    def __init__(self, spool: Spool, receiver: Receiver, clock: Clock) -> None:
        self.recorder = Recorder(clock, self._wake)
        self._spool = spool
        self._receiver = receiver
        self._some = asyncio.Event()
        self._spooled = asyncio.Event()
        self._spooled.set()  # a former process may have left some
        self._writing: asyncio.Task[None] | None = None
        self.rows_dropped = 0
        self.batches_refused = 0

    async def run(self) -> None:
        """Write and ship, for ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._write_for_ever())
            group.create_task(self._ship_for_ever())

    async def flush(self, share: float = 1.0) -> None:
        """Write what waits.

        Args:
            share: of the time that may be spent on it; it is the time of the interpreter, which requests need too.
        """
        if (
            self._writing is not None
        ):  # who wrote before was cancelled meanwhile; what it had taken is being written still
            await asyncio.wait([self._writing])
        while self.recorder.waiting:
            started_s = time.monotonic()
            taken = self.recorder.take(FLUSH_ROWS_MAX)
            self._writing = asyncio.create_task(asyncio.to_thread(self._write, taken))
            try:
                await asyncio.shield(self._writing)
            except OSError as full:  # the disk is full or gone: answers matter more than their log
                self.rows_dropped += taken.requests
                _log.error("%d rows lost: the spool cannot be written: %s", taken.requests, full)
            except Exception:  # a row that cannot be written must not end the process that answers
                self.rows_dropped += taken.requests
                _log.exception("%d rows lost", taken.requests)
            self._spooled.set()
            if share < 1.0:
                await asyncio.sleep((time.monotonic() - started_s) * (1.0 / share - 1.0))

    async def deliver(self) -> None:
        """Hand over all that is written, now.

        Raises:
            SillError: the control plane does not take it now; what is left stays on disk.
        """
        while found := await asyncio.to_thread(self._spool.next):
            await self._deliver(*found)

    def _write(self, taken: Taken) -> None:
        self._spool.append(taken.rows())

    def _wake(self) -> None:
        self._some.set()

    async def _write_for_ever(self) -> None:
        while True:
            await self._some.wait()
            await asyncio.sleep(FLUSH_S)
            self._some.clear()
            await self.flush(WRITING_SHARE_MAX)

    async def _ship_for_ever(self) -> None:
        retry_s = RETRY_S
        while True:
            await self._spooled.wait()
            self._spooled.clear()
            try:
                while found := await asyncio.to_thread(self._spool.next):
                    started_s = time.monotonic()
                    await self._deliver(*found)
                    retry_s = RETRY_S
                    took_s = time.monotonic() - started_s
                    await asyncio.sleep(SHIP_S if self._spool.has_full else pause_s(took_s))
            except (SillError, OSError) as broken:
                _log.info("rows wait for the control plane: %s", broken)
                self._spooled.set()
                await asyncio.sleep(retry_s)
                retry_s = min(2 * retry_s, RETRY_S_MAX)

    async def _deliver(self, segment: str, batch: bytes) -> None:
        """Post one segment and forget it; one that can never be taken is given up, so that others follow."""
        try:
            await asyncio.to_thread(self._receiver.log, batch)
        except SillError as refused:
            if (
                isinstance(refused, Unavailable | Limited)
                or refused.status in (401, 403, 404, 409)
                or refused.status >= 500
            ):
                raise
            self.batches_refused += 1
            _log.error("segment %s was refused and is given up: %s", segment, refused)
        await asyncio.to_thread(self._spool.remove, segment)


def pause_s(took_s: float) -> float:
    """Until the next batch, after one that took the control plane so long."""
    return min(max(took_s * (1.0 / SHIPPING_SHARE_MAX - 1.0), SHIP_S), SHIP_S_MAX)
