"""Table files for pyiceberg: its FileIO over our blob store, with every byte checked against its digest.

pyiceberg asks for three methods and does not check classes, so these need not import it. A write is kept in memory
until it is closed (a file is at most `write.target-file-size-bytes`), then stored under a name that is never used
again; its digest waits here until the commit takes it. A read gives the bytes only if their digest is the one the
commit recorded, whatever the file is: data, manifest, manifest list or metadata.
"""

import hashlib
import io
import threading
from collections import OrderedDict
from typing import Any

from sill.core.errors import Damaged, NotFound
from sill.core.names import shorten
from sill.lake.store import FileRecord, digest_of
from sill.stores.blobs import Blobs
from sill.stores.database import Database

DIGESTS_REMEMBERED_MAX = 20_000


class Digests:
    """Remembers digests of files; a file's digest never changes, so that what is remembered is never stale."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, str], str] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, database: Database, project: str, name: str) -> str | None:
        """The digest the database has for the file."""
        with self._lock:
            found = self._known.get((project, name))
        if found is None:
            found = database.read_sync(lambda connection: digest_of(connection, project, name))
            if found is not None:
                self._remember((project, name), found)
        return found

    def _remember(self, key: tuple[str, str], digest: str) -> None:
        with self._lock:
            self._known[key] = digest
            while len(self._known) > DIGESTS_REMEMBERED_MAX:
                self._known.popitem(last=False)


class TableFiles:
    """pyiceberg's FileIO for the files of one table.

    Args:
        location: the prefix all the table's names have; an address outside it is refused.
    """

    properties: dict[str, str] = {}

    def __init__(self, database: Database, blobs: Blobs, digests: Digests, project: str, location: str) -> None:
        self._database = database
        self._blobs = blobs
        self._digests = digests
        self._project = project
        self._location = location
        self._lock = threading.Lock()
        self.pending: dict[str, FileRecord] = {}

    def new_input(self, location: str) -> "InputFile":
        """The file at the address, to be read."""
        return InputFile(self, location)

    def new_output(self, location: str) -> "OutputFile":
        """A file to be written at the address."""
        return OutputFile(self, location)

    def delete(self, location: Any) -> None:
        """Remove a file that was written for a change that did not happen; files of the table stay.

        Which of the table's files may go is decided where a commit is known to have happened (`upkeep`).
        """
        name = self.name(location if isinstance(location, str) else location.location)
        with self._lock:
            is_mine = self.pending.pop(name, None) is not None
        if is_mine:
            self._blobs.delete_named(name)

    def name(self, location: str) -> str:
        """The name in the blob store behind an address; the store may have moved since the address was written.

        Raises:
            Damaged: the address is outside the table, which none of ours is.
        """
        start = location.find(f"{self._location}/")
        name = location[start:]
        if start < 0 or ".." in name.split("/"):
            raise Damaged(f"table file {shorten(location, 300)!r} lies outside its table {self._location!r}.")
        return name

    def read(self, location: str) -> bytes:
        """The file's bytes.

        Raises:
            Damaged: they are not what was written, or are gone, or no commit ever recorded them; it names the file.
        """
        name = self.name(location)
        with self._lock:
            waiting = self.pending.get(name)
        expected = waiting.sha256 if waiting else self._digests.get(self._database, self._project, name)
        if expected is None:
            raise Damaged(f"table file {name!r} belongs to no table.", fix=_RESTORE)
        try:
            data = self._blobs.get_named(name)
        except NotFound as gone:
            raise Damaged(f"table file {name!r} is gone.", fix=_RESTORE) from gone
        if hashlib.sha256(data).hexdigest() != expected:
            raise Damaged(f"table file {name!r} does not match its digest.", fix=_RESTORE)
        return data

    def write(self, location: str, data: bytes) -> None:
        """Keep a new file; its digest is pending until the commit."""
        name = self.name(location)
        record = FileRecord(name=name, sha256=hashlib.sha256(data).hexdigest(), size_bytes=len(data))
        self._blobs.put_named(name, data)
        with self._lock:
            self.pending[name] = record

    def discard(self) -> None:
        """Remove what was written for a change that did not happen."""
        with self._lock:
            names = list(self.pending)
            self.pending.clear()
        for name in names:
            self._blobs.delete_named(name)


_RESTORE = "Restore it from a backup, or roll the table back to a snapshot that does not need it."


class InputFile:
    """pyiceberg's InputFile."""

    def __init__(self, files: TableFiles, location: str) -> None:
        self._files = files
        self.location = location
        self._bytes: bytes | None = None

    def __len__(self) -> int:
        return len(self._data())

    def exists(self) -> bool:
        """True: only files a commit recorded are ever asked for; one that is gone raises on reading."""
        return True

    def open(self, seekable: bool = True) -> Any:
        """The bytes as a stream, verified before it is handed out."""
        import pyarrow as pa

        return pa.BufferReader(self._data())

    def _data(self) -> bytes:
        if self._bytes is None:
            self._bytes = self._files.read(self.location)
        return self._bytes


class OutputFile:
    """pyiceberg's OutputFile."""

    def __init__(self, files: TableFiles, location: str) -> None:
        self._files = files
        self.location = location
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def exists(self) -> bool:
        """False: names are made fresh, and the store refuses one that is taken."""
        return False

    def to_input_file(self) -> InputFile:
        """The same file, to be read."""
        return self._files.new_input(self.location)

    def create(self, overwrite: bool = False) -> "_Stream":
        """A stream whose bytes are kept when it is closed. Nothing is ever overwritten."""
        return _Stream(self)

    def keep(self, data: bytes) -> None:
        """Take what a stream collected."""
        self._size = len(data)
        self._files.write(self.location, data)


class _Stream(io.BytesIO):
    """Collects a file; keeps it when closed, unless an error is under way."""

    def __init__(self, file: OutputFile) -> None:
        super().__init__()
        self._file: OutputFile | None = file

    def __exit__(self, kind: Any, *rest: Any) -> None:
        if kind is not None:
            self._file = None
        self.close()

    def close(self) -> None:
        """Keep the bytes, once."""
        file, self._file = self._file, None
        if file is not None and not self.closed:
            file.keep(self.getvalue())
        super().close()
