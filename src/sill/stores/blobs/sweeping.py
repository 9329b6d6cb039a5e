"""Removes blobs that nothing holds any more, without taking one from somebody who stores the same bytes just now.

A blob is marked in the transaction that lets go of it, and removed after that transaction is on the disk. Who stored
bytes asks `swept_since` in the transaction that refers to them: a digest that was marked since the bytes came may be
gone, and the bytes must come again. A removal that a crash cut off is done by the next `finish`.
"""

import asyncio
from collections.abc import Iterable

from sqlalchemy import BigInteger, Column, Connection, Table, delete, select, update

from sill.core.errors import Conflict
from sill.stores.blobs.port import Blobs
from sill.stores.database import Database, Tx, metadata
from sill.stores.database.references import used
from sill.stores.database.schema import key_type

KEPT_US = 3_600 * 1_000_000
"""How long a mark stays after the removal."""
SWEEP_US_MAX = 60 * 1_000_000
"""A removal that is not done after this long was cut off by a crash; its mark holds nobody up any more."""
SWEEPS_AT_ONCE = 500
REMOVED_AT_ONCE = 8
"""Removals wait for the disk, or for an object store; so many do so beside each other."""

swept = Table(
    "swept_blobs",
    metadata,
    Column("digest", key_type(64), primary_key=True),
    Column("at_us", BigInteger, nullable=False),
    Column("done_us", BigInteger, nullable=False),
)
"""Blobs that were let go of: nobody could count on them between `at_us` and `done_us` (0 while they are being removed)."""


class Sweeper:
    """Removes blobs of one store."""

    def __init__(self, database: Database, blobs: Blobs) -> None:
        self._database = database
        self._blobs = blobs

    async def sweep(self, unused: tuple[str, ...]) -> int:
        """Remove the blobs that `let_go` named, once its transaction is on the disk; bytes freed."""
        if not unused:
            return 0
        parts = [unused[at::REMOVED_AT_ONCE] for at in range(min(REMOVED_AT_ONCE, len(unused)))]
        freed = await asyncio.gather(*(asyncio.to_thread(self._remove, part) for part in parts))
        await self._database.write(lambda tx: _mark_done(tx, unused))
        return sum(freed)

    def _remove(self, some: tuple[str, ...]) -> int:
        return sum(self._blobs.delete(digest) for digest in some)

    async def finish(self) -> int:
        """Do the removals that a crash cut off; bytes freed."""

        def work(tx: Tx) -> tuple[str, ...]:
            tx.execute(delete(swept).where(swept.c.done_us > 0, swept.c.done_us < tx.now_us - KEPT_US))
            cut_off = (swept.c.done_us == 0, swept.c.at_us < tx.now_us - SWEEP_US_MAX)
            left = set(tx.execute(select(swept.c.digest).where(*cut_off).limit(SWEEPS_AT_ONCE)).scalars())
            unused = let_go(tx, left)
            tx.execute(delete(swept).where(swept.c.digest.in_(left - set(unused))))
            return unused

        if not await self._database.read(_has_marks):
            return 0
        return await self.sweep(await self._database.write(work))


def let_go(tx: Tx, digests: Iterable[str]) -> tuple[str, ...]:
    """Those of the digests that nothing holds any more, marked as being removed: hand them to `Sweeper.sweep`."""
    asked = set(digests)
    unused = tuple(sorted(asked - used(tx.connection, asked)))
    for at in range(0, len(unused), SWEEPS_AT_ONCE):
        some = unused[at : at + SWEEPS_AT_ONCE]
        tx.execute(delete(swept).where(swept.c.digest.in_(some)))
        tx.execute(swept.insert(), [{"digest": digest, "at_us": tx.now_us, "done_us": 0} for digest in some])
    return unused


def check_not_swept(connection: Connection, digests: Iterable[str], since_us: int) -> None:
    """Refuse to refer to bytes that may be gone.

    Args:
        since_us: when the bytes began to come.
    Raises:
        Conflict: one of them was let go of since.
    """
    recent = (swept.c.done_us >= since_us) | ((swept.c.done_us == 0) & (swept.c.at_us + SWEEP_US_MAX >= since_us))
    found = connection.execute(select(swept.c.digest).where(swept.c.digest.in_(list(digests)), recent)).first()
    if found is not None:
        raise Conflict(
            f"blob {found.digest} was just deleted with the last thing that held it.", fix="Upload the file again."
        )


def _has_marks(connection: Connection) -> bool:
    return connection.execute(select(swept.c.digest).limit(1)).first() is not None


def _mark_done(tx: Tx, digests: tuple[str, ...]) -> None:
    for at in range(0, len(digests), SWEEPS_AT_ONCE):
        some = digests[at : at + SWEEPS_AT_ONCE]
        tx.execute(update(swept).where(swept.c.digest.in_(some)).values(done_us=tx.now_us))
