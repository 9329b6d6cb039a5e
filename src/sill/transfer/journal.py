"""What a transfer has done, kept on disk as it goes, so that another attempt goes on where this one was ended.

A SQLite file with one row a thing: its kind, its id in the source, its id in the target. It is also the answer to "which
run of Sill was this?".
"""

import hashlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from sill.core.errors import Conflict, InvalidValue

COMMIT_EVERY = 50
"""Rows that may be done again after a power cut: everything that is noted in batches may be done twice."""
_TABLES = """
CREATE TABLE IF NOT EXISTS about (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS done (kind TEXT, source TEXT, target TEXT NOT NULL, size INTEGER NOT NULL,
                                 PRIMARY KEY (kind, source)) WITHOUT ROWID;
"""


class Journal:
    """The journal of one source and one target.

    Args:
        path: the file; made if it is not there.
    Raises:
        Conflict: it belongs to another transfer, or one that goes on in another process.
        InvalidValue: it is no journal.
    """

    def __init__(self, path: Path, source: str, target: str) -> None:
        self.path = path
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._rows = sqlite3.connect(path, timeout=0, check_same_thread=False)
        try:
            self._rows.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._rows.executescript(f"BEGIN IMMEDIATE; {_TABLES} COMMIT;")
            self._belong(source, target)
        except sqlite3.OperationalError as wrong:
            self._rows.close()
            raise Conflict(f"the journal {path} is in use ({wrong}).", fix="Wait for the other transfer.") from wrong
        except sqlite3.DatabaseError as wrong:
            self._rows.close()
            raise InvalidValue(f"{path} is no journal ({wrong}).", fix="Give another --journal.") from wrong
        self._waiting = 0

    def get(self, kind: str, source: str) -> str | None:
        """What a thing of the source is in the target; None if it is not done."""
        row = self._rows.execute("SELECT target FROM done WHERE kind = ? AND source = ?", (kind, source)).fetchone()
        return row[0] if row else None

    def note(self, kind: str, source: str, target: str = "", size: int = 0, *, is_lasting: bool = True) -> None:
        """Note that a thing is done.

        Args:
            size: bytes of a file, points of a run.
            is_lasting: on disk when this returns; else soon.
        """
        row = (kind, source, target, size)
        self._rows.execute("INSERT OR REPLACE INTO done VALUES (?, ?, ?, ?)", row)
        self._waiting += 1
        if is_lasting or self._waiting >= COMMIT_EVERY:
            self.commit()

    def commit(self) -> None:
        """Everything noted is on disk."""
        self._rows.commit()
        self._waiting = 0

    def count(self, kind: str) -> tuple[int, int]:
        """(things, sum of their sizes)."""
        count, size = self._rows.execute(
            "SELECT count(*), coalesce(sum(size), 0) FROM done WHERE kind = ?", (kind,)
        ).fetchone()
        return int(count), int(size)

    def each(self, kind: str) -> Iterator[tuple[str, str]]:
        """(source, target) of every thing of a kind."""
        yield from self._rows.execute("SELECT source, target FROM done WHERE kind = ? ORDER BY source", (kind,))

    def close(self) -> None:
        """Keep what was noted and close the file."""
        self.commit()
        self._rows.close()

    def _belong(self, source: str, target: str) -> None:
        self._rows.execute("INSERT OR IGNORE INTO about VALUES ('source', ?), ('target', ?)", (source, target))
        self._rows.commit()
        told = dict(self._rows.execute("SELECT name, value FROM about"))
        if (told["source"], told["target"]) != (source, target):
            raise Conflict(
                f"the journal {self.path} is of a transfer from {told['source']} to {told['target']}.",
                fix="Give another --journal.",
            )


def usual_place(source: str, target: str) -> Path:
    """Where the journal of a transfer lies when no other place is chosen: in the user's state folder."""
    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    digest = hashlib.sha256(f"{source}\n{target}".encode()).hexdigest()[:16]
    return state / "sill" / "transfers" / f"{digest}.db"
