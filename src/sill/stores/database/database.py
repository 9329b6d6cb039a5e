"""SQLite and PostgreSQL behind one store: many readers, one writer thread that commits in groups.

A write is a function run inside the writer's transaction; what it returns is handed back only after the commit.
Several waiting writes share one commit (and one fsync), each in its own savepoint, so that one that fails takes
nothing with it. On PostgreSQL an advisory lock makes the writers of all control planes take turns, which keeps the
log's sequence without gaps and its hash chain whole.
"""

import asyncio
import hashlib
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from sqlalchemy import Connection, Engine, create_engine, event, insert, select, text
from sqlalchemy.engine import CursorResult, make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import QueuePool

from sill.core.clock import Clock
from sill.core.errors import Conflict, InvalidValue, SillError, Unavailable
from sill.core.events import Event
from sill.stores.database.schema import events, idempotency

T = TypeVar("T")

WRITES_PER_COMMIT_MAX = 256
WRITES_WAITING_MAX = 10_000
READERS = 8
BUSY_TIMEOUT_S = 30
GENESIS_HASH = "0" * 64
_ADVISORY_LOCK = 7455


class Tx:
    """What a write function works with: the connection, the time, and the events it leaves behind."""

    def __init__(self, connection: Connection, now_us: int) -> None:
        self.connection = connection
        self.now_us = now_us
        self.emitted: list[Event] = []

    def execute(self, statement: Any, parameters: Any = None) -> CursorResult[Any]:
        """Run one SQLAlchemy Core statement inside the transaction."""
        result: CursorResult[Any] = self.connection.execute(statement, parameters)
        return result

    def emit(self, kind: str, project: str, subject: str, actor: str, **data: Any) -> None:
        """Leave an event that is committed together with the change, or not at all."""
        self.emitted.append(Event(kind=kind, project=project, subject=subject, actor=actor, data=data))


class _Write:
    """One waiting write and the place its answer goes to."""

    def __init__(self, work: Callable[[Tx], Any]) -> None:
        self.work = work
        self.answer: Future[Any] = Future()
        self.result: Any = None
        self.error: BaseException | None = None


class Database:
    """One database. Make it with `open_database`; `close` it before the process ends."""

    def __init__(self, engine: Engine, clock: Clock) -> None:
        self.engine = engine
        self.clock = clock
        self.is_postgres = engine.dialect.name == "postgresql"
        self._listeners: list[Callable[[int], None]] = []
        self._waiting: queue.Queue[_Write | None] = queue.Queue(WRITES_WAITING_MAX)
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="sill-read")
        self._writer = threading.Thread(target=self._write_forever, name="sill-write", daemon=True)
        self._closed = False
        self._writer.start()

    async def write(self, work: Callable[[Tx], T]) -> T:
        """Run `work` in a transaction and return its result after the commit.

        `work` must be short and must not wait on anything but the database: everybody's writes stand behind it.

        Raises:
            Limited: too many writes wait.
            Unavailable: the database could not commit; nothing of the write remains.
        """
        return await asyncio.wrap_future(self._submit(work))

    def write_sync(self, work: Callable[[Tx], T]) -> T:
        """`write` for threads. Never call it from the event loop or from inside a write."""
        return self._submit(work).result()

    async def write_once(self, key: str, request: Any, returns: type[T], work: Callable[[Tx], T]) -> T:
        """`write`, at most once for a `key`: a repeat with the same request answers as the first did.

        Args:
            key: the caller's idempotency key, already joined with project and actor; empty means no key.
            request: what is asked for; a repeat must ask for the same.
            returns: type of the result, to read it back.
        Raises:
            Conflict: the key was used for a different request.
        """
        return await self.write(once(key, request, returns, work))

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Run `work` on a connection that sees all that was committed before. It must not change anything."""
        return await asyncio.get_running_loop().run_in_executor(self._readers, self.read_sync, work)

    def read_sync(self, work: Callable[[Connection], T]) -> T:
        """`read` for threads."""
        try:
            with self.engine.connect() as connection:
                return work(connection)
        except DBAPIError as broken:
            raise Unavailable("the database did not answer a read.", fix="Look at `sill doctor`.") from broken

    def on_commit(self, listener: Callable[[int], None]) -> None:
        """Call `listener(last_seq)` in the writer's thread after each commit that left events. A hint, not a promise."""
        self._listeners.append(listener)

    def close(self) -> None:
        """Finish the waiting writes and close every connection."""
        if not self._closed:
            self._closed = True
            self._waiting.put(None)
            self._writer.join()
            self._readers.shutdown()
            self.engine.dispose()

    def _submit(self, work: Callable[[Tx], T]) -> "Future[T]":
        if self._closed:
            raise Unavailable("the database is closed.", fix="Start the control plane again.")
        write = _Write(work)
        try:
            self._waiting.put_nowait(write)
        except queue.Full as full:
            raise_limited(full)
        return write.answer

    def _write_forever(self) -> None:
        while True:
            first = self._waiting.get()
            if first is None:
                return
            group = [first]
            stop = False
            while len(group) < WRITES_PER_COMMIT_MAX and not self._waiting.empty():
                following = self._waiting.get_nowait()
                if following is None:
                    stop = True
                    break
                group.append(following)
            self._commit(group)
            if stop:
                return

    def _commit(self, group: list[_Write]) -> None:
        """One transaction for the whole group; answers are given only after it is on disk."""
        last_seq = 0
        try:
            with self.engine.connect() as connection, connection.begin():
                if self.is_postgres:
                    connection.execute(text(f"SELECT pg_advisory_xact_lock({_ADVISORY_LOCK})"))
                head = _head(connection)
                for write in group:
                    head = self._run(connection, write, head)
                last_seq = head[0]
        except BaseException as broken:
            for write in group:
                failure = write.error or Unavailable(
                    "the database could not commit; nothing was changed.", fix="Look at `sill doctor`, then try again."
                )
                failure.__cause__ = failure.__cause__ or broken
                write.answer.set_exception(failure)
            return
        for write in group:
            if write.error is not None:
                write.answer.set_exception(write.error)
            else:
                write.answer.set_result(write.result)
        for listener in self._listeners:
            listener(last_seq)

    def _run(self, connection: Connection, write: _Write, head: tuple[int, str]) -> tuple[int, str]:
        """Run one write in a savepoint; return the head of the log after it."""
        tx = Tx(connection, self.clock.now_us())
        try:
            with connection.begin_nested():
                write.result = write.work(tx)
                return _append(tx, head)
        except (SillError, ValueError, TypeError, LookupError, AttributeError, AssertionError) as refused:
            write.error = refused
        except DBAPIError as broken:
            if broken.connection_invalidated:
                raise
            write.error = Conflict("the database refused the change.", fix="Read the current state and try again.")
            write.error.__cause__ = broken
        return head


def once(key: str, request: Any, returns: type[T], work: Callable[[Tx], T]) -> Callable[[Tx], T]:
    """The write function that does `work` at most once for `key`; see `Database.write_once`."""
    digest = hashlib.sha256(msgspec.json.encode(request, order="deterministic")).hexdigest()

    def guarded(tx: Tx) -> T:
        row = tx.execute(select(idempotency.c.digest, idempotency.c.result).where(idempotency.c.key == key)).first()
        if row is None:
            result = work(tx)
            stored = msgspec.json.encode(result).decode()
            tx.execute(insert(idempotency).values(key=key, digest=digest, result=stored, at_us=tx.now_us))
            return result
        if row.digest != digest:
            raise Conflict("the idempotency key was used for a different request.", fix="Use a new key.")
        return msgspec.json.decode(row.result, type=returns)

    return guarded if key else work


def raise_limited(cause: BaseException) -> None:
    """Too many writes wait: say so early and cheaply."""
    raise Unavailable(f"{WRITES_WAITING_MAX} writes wait already.", fix="Try again in a second.") from cause


def open_database(url: str, clock: Clock) -> Database:
    """The database at `url`: `sqlite:///path` or `postgresql://user:password@host/name`.

    Raises:
        InvalidValue: another kind of address.
        PluginMissing: PostgreSQL without psycopg.
    """
    kind = make_url(url).get_backend_name()
    if kind == "sqlite":
        return Database(_sqlite(url), clock)
    if kind == "postgresql":
        address = make_url(url).set(drivername="postgresql+psycopg")
        return Database(create_engine(address, pool_size=READERS + 1, max_overflow=2, pool_pre_ping=True), clock)
    raise InvalidValue(f"database kind {kind!r} is not known; sqlite and postgresql are.", fix="Set SILL_DATABASE_URL.")


def event_hash(before: str, change: Event) -> str:
    """SHA-256 over the hash of the event before and all fields of this one."""
    fields = [change.seq, change.at_us, change.project, change.kind, change.subject, change.actor, change.data]
    return hashlib.sha256(before.encode() + msgspec.json.encode(fields, order="deterministic")).hexdigest()


def _sqlite(url: str) -> Engine:
    path = make_url(url).database
    if path and path != ":memory:":
        Path(path).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    engine = create_engine(
        url,
        poolclass=QueuePool,
        pool_size=READERS + 1,
        connect_args={"check_same_thread": False, "timeout": BUSY_TIMEOUT_S},
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # SQLAlchemy begins and ends transactions, not the driver
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "trusted_schema=OFF"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # The writer thread takes the write lock at once, so that it can never fail to upgrade a read lock.
        is_writer = threading.current_thread().name == "sill-write"
        connection.exec_driver_sql("BEGIN IMMEDIATE" if is_writer else "BEGIN")

    return engine


def _head(connection: Connection) -> tuple[int, str]:
    row = connection.execute(select(events.c.seq, events.c.hash).order_by(events.c.seq.desc()).limit(1)).first()
    return (row.seq, row.hash) if row else (0, GENESIS_HASH)


def _append(tx: Tx, head: tuple[int, str]) -> tuple[int, str]:
    seq, chain = head
    for emitted in tx.emitted:
        seq += 1
        change = msgspec.structs.replace(emitted, seq=seq, at_us=tx.now_us)
        chain = event_hash(chain, change)
        row = msgspec.structs.asdict(change) | {"data": msgspec.json.encode(change.data).decode(), "hash": chain}
        tx.execute(insert(events).values(row))
    return seq, chain
