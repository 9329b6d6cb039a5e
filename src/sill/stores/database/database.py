"""SQLite and PostgreSQL behind one store: many readers, one writer thread that commits in groups.

A write is a function run inside the writer's transaction; what it returns is handed back only after the commit.
Several waiting writes share one commit (and one fsync), each in its own savepoint, so that one that fails takes
nothing with it. On PostgreSQL an advisory lock makes the writers of all control planes take turns, which keeps the
log's sequence without gaps and its hash chain whole.
"""

import asyncio
import hashlib
import logging
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import msgspec
from sqlalchemy import Connection, Engine, Transaction, delete, insert, select, text
from sqlalchemy.engine import CursorResult
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, SQLAlchemyError

from sill.core.clock import Clock
from sill.core.errors import Conflict, InvalidValue, Limited, SillError, Unavailable
from sill.core.events import Event
from sill.stores.database.chain import append, event_hash, read_head
from sill.stores.database.driver import savepoint
from sill.stores.database.engines import READERS, open_engines
from sill.stores.database.schema import idempotency

__all__ = ["Database", "Tx", "event_hash", "forget_keys", "once", "open_database"]

T = TypeVar("T")

WRITES_PER_COMMIT_MAX = 256
WRITES_WAITING_MAX = 10_000
KEY_LENGTH_MAX = 300
OUTCOME_TRIES_MAX = 10
OUTCOME_PAUSE_S = 0.3
_ADVISORY_LOCK = 7455

logger = logging.getLogger("sill.database")


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

    def emit(self, kind: str, project: str, subject: str, actor: str, /, **data: Any) -> None:
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

    def __init__(self, engine: Engine, readers: Engine, clock: Clock) -> None:
        self.engine = engine
        self.clock = clock
        self.is_postgres = engine.dialect.name == "postgresql"
        self._read_engine = readers
        self._listeners: list[Callable[[int], None]] = []
        self._waiting: queue.Queue[_Write | None] = queue.Queue(WRITES_WAITING_MAX)
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="sill-read")
        self._writer = threading.Thread(target=self._write_forever, name="sill-write", daemon=True)
        self._closing = threading.Lock()
        self._closed = False
        self._writer.start()

    async def write(self, work: Callable[[Tx], T]) -> T:
        """Run `work` in a transaction and return its result after the commit.

        `work` must be short and must not wait on anything but the database: everybody's writes stand behind it. When
        the caller is cancelled, the write is left out if it has not begun, and done if it has.

        Raises:
            Limited: too many writes wait.
            Unavailable: the database could not commit. Nothing of the write remains, unless the message says that
                this is not known: PostgreSQL went away in the middle of the commit and did not come back.
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
        """Run `work` on a connection that sees all that was committed before, as it was at one moment."""
        if self._closed:
            raise _closed()
        return await asyncio.get_running_loop().run_in_executor(self._readers, self.read_sync, work)

    def read_sync(self, work: Callable[[Connection], T]) -> T:
        """`read` for threads. What `work` changes, which it should not, is undone."""
        try:
            with self._read_engine.connect() as connection:
                return work(connection)
        except SQLAlchemyError as broken:
            raise Unavailable("the database did not answer a read.", fix="Look at `sill doctor`.") from broken

    def on_commit(self, listener: Callable[[int], None]) -> None:
        """Call `listener(last_seq)` in the writer's thread after each commit that left events. A hint, not a promise."""
        self._listeners.append(listener)

    def close(self) -> None:
        """Finish the waiting writes and close every connection."""
        with self._closing:
            if self._closed:
                return
            self._closed = True
        self._waiting.put(None)
        self._writer.join()
        self._readers.shutdown()
        self._read_engine.dispose()
        self.engine.dispose()

    def _submit(self, work: Callable[[Tx], T]) -> "Future[T]":
        if threading.current_thread() is self._writer:
            raise RuntimeError("a write was asked for inside a write; use the transaction in hand.")
        write = _Write(work)
        with self._closing:  # nothing is put behind the mark that ends the writer
            if self._closed:
                raise _closed()
            try:
                self._waiting.put_nowait(write)
            except queue.Full as full:
                raise Limited(f"{WRITES_WAITING_MAX} writes wait already.", fix="Try again in a second.") from full
        return write.answer

    def _write_forever(self) -> None:
        is_open = True
        while is_open:
            group: list[_Write] = []
            following = self._waiting.get()
            while following is not None:
                if following.answer.set_running_or_notify_cancel():  # from here on it can no longer be cancelled
                    group.append(following)
                if len(group) >= WRITES_PER_COMMIT_MAX or self._waiting.empty():
                    break
                following = self._waiting.get_nowait()
            is_open = following is not None
            if group:
                self._commit(group)

    def _commit(self, group: list[_Write]) -> None:
        """One transaction for the whole group; answers are given only after it is on disk."""
        transaction = ""
        head: tuple[int, str] | None = None
        try:
            with self.engine.connect() as connection, connection.begin() as whole:
                if self.is_postgres:
                    transaction = _take_turn(connection)
                if len(group) == 1:
                    head = self._run_alone(connection, group[0], whole)
                else:
                    for write in group:
                        head = self._run(connection, write, head)
        except BaseException as broken:
            outcome = self._outcome(transaction) if transaction else "aborted"
            if outcome != "committed":
                _fail(group, broken, outcome)
                return
        if head is not None:
            self._tell(head[0])
        for write in group:
            if write.error is not None:
                write.answer.set_exception(write.error)
            else:
                write.answer.set_result(write.result)

    def _run(self, connection: Connection, write: _Write, head: tuple[int, str] | None) -> tuple[int, str] | None:
        """Run one write in a savepoint; return the head of the log after it. Its error is its own, whatever it is."""
        try:
            with savepoint(connection):
                return self._done(connection, write, head)
        except Exception as refused:
            if not _is_whole(connection, refused):
                raise
            write.error = _as_error(refused)
            return head

    def _run_alone(self, connection: Connection, write: _Write, whole: Transaction) -> tuple[int, str] | None:
        """The same for a write that is its whole group: the transaction itself is its savepoint, which saves two."""
        try:
            return self._done(connection, write, None)
        except Exception as refused:
            if not _is_whole(connection, refused):
                raise
            whole.rollback()
            write.error = _as_error(refused)
            return None

    def _done(self, connection: Connection, write: _Write, head: tuple[int, str] | None) -> tuple[int, str] | None:
        """The head of the log after the write; None as long as nobody needed to know it."""
        tx = Tx(connection, self.clock.now_us())
        write.result = write.work(tx)
        if not tx.emitted:
            return head
        return append(connection, tx.emitted, head or read_head(connection), tx.now_us)

    def _outcome(self, transaction: str) -> str:
        """`committed`, `aborted` or `unknown`: PostgreSQL may have committed before the connection broke."""
        asked = text("SELECT pg_xact_status(CAST(:id AS xid8))")
        for _ in range(OUTCOME_TRIES_MAX):
            try:
                with self.engine.connect() as connection:
                    status = connection.execute(asked, {"id": transaction}).scalar_one_or_none()
            except SQLAlchemyError as broken:
                logger.warning("the database went away in the middle of commit %s: %s", transaction, broken)
                status = None
            if status in ("committed", "aborted"):
                return str(status)
            time.sleep(OUTCOME_PAUSE_S)
        return "unknown"

    def _tell(self, last_seq: int) -> None:
        for listener in self._listeners:
            try:
                listener(last_seq)
            except Exception:  # a listener's fault must not end the writer
                logger.exception("a listener for commits failed")


def once(key: str, request: Any, returns: type[T], work: Callable[[Tx], T]) -> Callable[[Tx], T]:
    """The write function that does `work` at most once for `key`; see `Database.write_once`."""
    digest = hashlib.sha256(msgspec.json.encode(request, order="deterministic")).hexdigest()
    kept = key if len(key) <= KEY_LENGTH_MAX else hashlib.sha256(key.encode()).hexdigest()

    def guarded(tx: Tx) -> T:
        row = tx.execute(select(idempotency.c.digest, idempotency.c.result).where(idempotency.c.key == kept)).first()
        if row is None:
            result = work(tx)
            stored = msgspec.json.encode(result).decode()
            tx.execute(insert(idempotency).values(key=kept, digest=digest, result=stored, at_us=tx.now_us))
            return result
        if row.digest != digest:
            raise Conflict("the idempotency key was used for a different request.", fix="Use a new key.")
        return msgspec.json.decode(row.result, type=returns)

    return guarded if key else work


def forget_keys(tx: Tx, before_us: int) -> int:
    """Forget the idempotency keys used before a time; returns how many."""
    return tx.execute(delete(idempotency).where(idempotency.c.at_us < before_us)).rowcount


def open_database(url: str, clock: Clock) -> Database:
    """The database at `url`: `sqlite:///path` or `postgresql://user:password@host/name`.

    Raises:
        InvalidValue: another kind of address, or SQLite in memory.
        PluginMissing: PostgreSQL without psycopg.
    """
    writer, readers = open_engines(url)
    return Database(writer, readers, clock)


def _take_turn(connection: Connection) -> str:
    """Wait for the other control planes' writers; returns the id of this transaction."""
    lock = text(f"SELECT pg_advisory_xact_lock({_ADVISORY_LOCK}), CAST(pg_current_xact_id() AS text) AS id")
    return str(connection.execute(lock).one().id)


def _is_whole(connection: Connection, refused: Exception) -> bool:
    """False if the failure took the whole transaction with it, so that the group cannot go on."""
    if isinstance(refused, DBAPIError) and refused.connection_invalidated:
        return False
    if connection.dialect.name == "sqlite":
        # SQLite ends the transaction by itself when the disk is full or fails; the next savepoint would be one of its
        # own and commit alone.
        return bool(connection.connection.dbapi_connection.in_transaction)  # type: ignore[union-attr]
    return not connection.invalidated


def _as_error(refused: Exception) -> Exception:
    """What the caller of a write gets: SQL trouble as one of our errors, everything else as it is."""
    if isinstance(refused, SillError) or not isinstance(refused, SQLAlchemyError):
        return refused
    told: SillError
    if isinstance(refused, IntegrityError):
        told = Conflict("the database refused the change.", fix="Read the current state and try again.")
    elif isinstance(refused, DataError):
        told = InvalidValue("the database cannot keep a value: it is too long, or holds a NUL character.")
    else:
        told = Unavailable("the database could not make the change; nothing was changed.", fix="Look at `sill doctor`.")
    told.__cause__ = refused
    return told


def _fail(group: list[_Write], broken: BaseException, outcome: str) -> None:
    for write in group:
        failure = write.error
        if failure is None:
            what = "nothing was changed" if outcome == "aborted" else "whether the change was made is not known"
            failure = Unavailable(
                f"the database could not commit; {what}.",
                fix="Look at `sill doctor`, then try again with the same idempotency key.",
            )
            failure.__cause__ = broken
        write.answer.set_exception(failure)


def _closed() -> Unavailable:
    return Unavailable("the database is closed.", fix="Start the control plane again.")
