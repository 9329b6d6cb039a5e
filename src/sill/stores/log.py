"""Readers of the one durable log: a page of events, a wake-up when there are more, and workers that follow it."""

import asyncio
from collections.abc import Awaitable, Callable

import msgspec
from sqlalchemy import Connection, insert, or_, select, update

from sill.core.events import Event
from sill.stores.database import Database, Tx
from sill.stores.database.schema import cursors, events

EVENTS_PER_READ_MAX = 1_000
POLL_S = 1.0
"""How long a reader sleeps at most; another control plane's commits are seen by this poll, our own at once."""


class Log:
    """Reads events. One for each process; make it inside the running event loop."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._loop = asyncio.get_running_loop()
        self._more = asyncio.Event()
        database.on_commit(self._committed)

    async def after(self, seq: int, *, project: str = "", kinds: tuple[str, ...] = (), limit: int = 100) -> list[Event]:
        """Events behind `seq`, in order; all projects if `project` is empty; a kind may end in `.` for all its verbs."""
        return await self._database.read(lambda connection: events_after(connection, seq, project, kinds, limit))

    async def wait(self, timeout_s: float = POLL_S) -> None:
        """Return when something was committed, at the latest after `timeout_s`. May return for nothing."""
        try:
            await asyncio.wait_for(self._more.wait(), timeout_s)
        except TimeoutError:
            return

    async def follow(self, reader: str, kinds: tuple[str, ...], handle: Callable[[Event], Awaitable[None]]) -> None:
        """Hand each event of `kinds` to `handle`, at least once, in order, for ever; the place is kept under `reader`.

        `handle` must stand a repeat: after a crash the event in hand comes again. An error in `handle` stops the
        reader, so a handler records what went wrong on the thing itself and returns.
        """
        seq = await self._database.read(lambda connection: _cursor(connection, reader))
        while True:
            found = await self.after(seq, kinds=kinds, limit=EVENTS_PER_READ_MAX)
            for event in found:
                await handle(event)
                seq = event.seq
                await self._database.write(lambda tx, at=seq: _advance(tx, reader, at))  # type: ignore[misc]
            if not found:
                await self.wait()

    def _committed(self, _seq: int) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        self._more.set()
        self._more = asyncio.Event()


def events_after(connection: Connection, seq: int, project: str, kinds: tuple[str, ...], limit: int) -> list[Event]:
    """The query behind `Log.after`."""
    query = select(events).where(events.c.seq > seq).order_by(events.c.seq).limit(min(limit, EVENTS_PER_READ_MAX))
    if project:
        query = query.where(events.c.project == project)
    if kinds:
        exact = [kind for kind in kinds if not kind.endswith(".")]
        prefixes = [kind for kind in kinds if kind.endswith(".")]
        matches = [events.c.kind.startswith(prefix, autoescape=True) for prefix in prefixes]
        query = query.where(or_(events.c.kind.in_(exact), *matches))
    return [
        Event(
            kind=row.kind,
            project=row.project,
            subject=row.subject,
            actor=row.actor,
            data=msgspec.json.decode(row.data),
            seq=row.seq,
            at_us=row.at_us,
        )
        for row in connection.execute(query)
    ]


def _cursor(connection: Connection, reader: str) -> int:
    row = connection.execute(select(cursors.c.seq).where(cursors.c.reader == reader)).first()
    return row.seq if row else 0


def _advance(tx: Tx, reader: str, seq: int) -> None:
    changed = tx.execute(update(cursors).where(cursors.c.reader == reader).values(seq=seq))
    if changed.rowcount == 0:
        tx.execute(insert(cursors).values(reader=reader, seq=seq))
