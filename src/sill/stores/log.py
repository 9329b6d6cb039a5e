"""Readers of the one durable log: a page of events, a wake-up when there are more, and workers that follow it."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import msgspec
from sqlalchemy import Connection, insert, or_, select, update

from sill.core.events import Event
from sill.stores.database import Database, Tx
from sill.stores.database.chain import read_head
from sill.stores.database.schema import cursors, events

EVENTS_PER_READ_MAX = 1_000
EVENTS_PER_BATCH = 100
"""How many events a follower handles before it writes down its place."""
POLL_S = 1.0
"""How long a reader sleeps at most; another control plane's commits are seen by this poll, our own at once."""


class Log:
    """Reads events. One for each process; make it inside the running event loop."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._loop = asyncio.get_running_loop()
        self._more = asyncio.Event()
        self._commits = 0
        self.is_closing = False
        """The platform is being stopped: whoever holds a request open for news answers it with what there is."""
        database.on_commit(self._committed)

    @property
    def commits(self) -> int:
        """How many commits with events this process has made; hand it to `wait` to miss none."""
        return self._commits

    async def after(self, seq: int, *, project: str = "", kinds: tuple[str, ...] = (), limit: int = 100) -> list[Event]:
        """Events behind `seq`, in order; all projects if `project` is empty; a kind may end in `.` for all its verbs."""
        return await self._database.read(lambda connection: events_after(connection, seq, project, kinds, limit))

    async def wait(self, timeout_s: float = POLL_S, since: int = -1) -> None:
        """Return when something was committed, at the latest after `timeout_s`. May return for nothing.

        Args:
            since: what `commits` was before the caller last looked; if there were more since, it returns at once.
        """
        if 0 <= since < self._commits:
            return
        more = self._more
        # Not `wait_for`: before Python 3.12 it swallows a cancellation that comes together with what it waits for.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await more.wait()

    async def follow(self, reader: str, kinds: tuple[str, ...], handle: Callable[[Event], Awaitable[None]]) -> None:
        """Hand each event of `kinds` to `handle`, at least once, in order, for ever; the place is kept under `reader`.

        `handle` must stand a repeat: after a crash the last events (at most 100) come again. An error in `handle` stops
        the reader, so a handler records what went wrong on the thing itself and returns.
        """
        seq = await self._database.read(lambda connection: _cursor(connection, reader))
        while True:
            commits = self._commits
            at = seq
            found, head = await self._database.read(lambda connection: _batch(connection, at, kinds))  # noqa: B023
            for event in found:
                await handle(event)
            if found:
                last = found[-1].seq
                await self._database.write(lambda tx: _advance(tx, reader, last))  # noqa: B023
            # Behind the last batch there is nothing of these kinds up to the head: it is not looked through again.
            seq = found[-1].seq if len(found) == EVENTS_PER_BATCH else max(head, seq)
            if not found:
                await self.wait(since=commits)

    def close(self) -> None:
        """Let those who wait for news look once more, at `is_closing`."""
        self.is_closing = True
        self._wake()

    def _committed(self, _seq: int) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        self._commits += 1
        self._more.set()
        self._more = asyncio.Event()


def events_after(
    connection: Connection,
    seq: int,
    projects: str | tuple[str, ...],
    kinds: tuple[str, ...],
    limit: int,
    *,
    up_to: int = 0,
) -> list[Event]:
    """The query behind `Log.after`: one project, several, or all (empty); `up_to` bounds it above if it is not 0."""
    query = select(events).where(events.c.seq > seq).order_by(events.c.seq).limit(min(limit, EVENTS_PER_READ_MAX))
    if up_to:
        query = query.where(events.c.seq <= up_to)
    if projects:
        query = query.where(events.c.project.in_((projects,) if isinstance(projects, str) else projects))
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


def _batch(connection: Connection, seq: int, kinds: tuple[str, ...]) -> tuple[list[Event], int]:
    """The next events of the kinds, and the head of the log they were looked for up to."""
    head = read_head(connection)[0]
    if head <= seq:
        return [], head
    return events_after(connection, seq, "", kinds, EVENTS_PER_BATCH, up_to=head), head


def _cursor(connection: Connection, reader: str) -> int:
    row = connection.execute(select(cursors.c.seq).where(cursors.c.reader == reader)).first()
    return row.seq if row else 0


def _advance(tx: Tx, reader: str, seq: int) -> None:
    changed = tx.execute(update(cursors).where(cursors.c.reader == reader).values(seq=seq))
    if changed.rowcount == 0:
        tx.execute(insert(cursors).values(reader=reader, seq=seq))
