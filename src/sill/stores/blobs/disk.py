"""Blobs in a folder of this machine.

A file appears under its name only when all of it is on the disk (temporary file, fsync, rename or link, fsync of the
folder), so that neither a kill nor a power cut leaves half of one. The folder:

    blobs/ab/cd/ef…     a blob, under its SHA-256
    named/<name>        a named object
    sums/<name>         one digest a line; the object's is among them
    spool/              temporary files
"""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import BinaryIO

from sill.core.errors import Conflict
from sill.core.names import shorten
from sill.stores.blobs.port import check_object_name, damaged, fan_out, no_blob, no_object, sha256
from sill.stores.blobs.spool import Spool, digest_of, make_spool_folder, spool_file, spool_stream
from sill.stores.blobs.verified import Verified


class DiskBlobs:
    """The driver for a folder. Several processes may use it at once.

    Args:
        root: the folder; it is made, readable by its owner only, if it is not there.
    """

    def __init__(self, root: Path) -> None:
        self._root = root.absolute()
        for name in ("blobs", "named", "sums"):
            _make_folders(self._root / name, self._root.parent)
        self._spool = make_spool_folder(self._root / "spool")
        self._verified = Verified()

    def put_bytes(self, data: bytes) -> str:
        """Keep the bytes; returns their digest."""
        digest = sha256(data)
        if not self._has_already(digest):
            with Spool(self._spool) as spool:
                spool.write(data)
                self._keep(spool)
        return digest

    def put_file(self, path: Path) -> str:
        """Keep a copy of the file; returns its digest."""
        with Spool(self._spool) as spool:
            spool_file(spool, path)
            return self._keep(spool)

    async def put_stream(self, chunks: AsyncIterator[bytes], size_max: int) -> tuple[str, int]:
        """Keep what the chunks come to; returns digest and size."""
        with Spool(self._spool) as spool:
            await spool_stream(spool, chunks, size_max)
            return await asyncio.to_thread(self._keep, spool), spool.size

    def get(self, digest: str) -> bytes:
        """The bytes, verified."""
        try:
            data = self._blob(digest).read_bytes()
        except FileNotFoundError as missing:
            raise no_blob(digest) from missing
        if sha256(data) != digest:
            raise damaged(f"blob {digest}")
        return data

    def open(self, digest: str) -> BinaryIO:
        """The bytes as a file, verified before it is handed out."""
        try:
            file = self._blob(digest).open("rb")
        except FileNotFoundError as missing:
            raise no_blob(digest) from missing
        if digest_of(file) != digest:
            file.close()
            raise damaged(f"blob {digest}")
        file.seek(0)
        return file

    def open_range(self, digest: str, start: int, end: int) -> BinaryIO:
        """A file at the place where the range starts; the whole was verified."""
        try:
            file = self._blob(digest).open("rb")
        except FileNotFoundError as missing:
            raise no_blob(digest) from missing
        state = _state(file)
        if not self._verified.holds(digest, state):
            if digest_of(file) != digest:
                file.close()
                raise damaged(f"blob {digest}")
            self._verified.note(digest, state)
        file.seek(start)
        return file

    def size(self, digest: str) -> int:
        """Size in bytes."""
        try:
            return self._blob(digest).stat().st_size
        except FileNotFoundError as missing:
            raise no_blob(digest) from missing

    def exists(self, digest: str) -> bool:
        """True if something is kept under the digest."""
        return self._blob(digest).is_file()

    def delete(self, digest: str) -> int:
        """Remove the blob; returns the bytes freed."""
        return _remove(self._blob(digest))

    def digests(self) -> Iterator[str]:
        """Digests of all blobs."""
        for path in _files(self._root / "blobs"):
            yield "".join(path.relative_to(self._root / "blobs").parts)

    def put_named(self, name: str, data: bytes) -> None:
        """Keep the bytes under a name that is not taken."""
        target = self._named(name)
        if target.exists():
            raise _taken(name)
        # The digest is on the disk before the object can be seen. A line more, left by a put that was killed or came
        # second, does no harm: the object must match one of them.
        self._add_sum(name, sha256(data))
        with Spool(self._spool) as spool:
            spool.write(data)
            spool.sync()
            _make_folders(target.parent, self._root)
            try:
                os.link(spool.path, target)  # unlike a rename, a link never replaces what is there
            except FileExistsError as there:
                raise _taken(name) from there
        _sync_folder(target.parent)

    def get_named(self, name: str) -> bytes:
        """The bytes under the name, verified."""
        try:
            data = self._named(name).read_bytes()
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as missing:
            raise no_object(name) from missing
        if sha256(data) not in self._sums(name):
            raise damaged(f"object {name!r}")
        return data

    def delete_named(self, name: str) -> int:
        """Remove the named object; returns the bytes freed."""
        freed = _remove(self._named(name))
        _remove(self._sum(name))
        return freed

    def names(self, prefix: str = "") -> Iterator[str]:
        """All names that start with the prefix."""
        root = self._root / "named"
        above = prefix.rpartition("/")[0]
        for path in _files(root / check_object_name(above) if above else root):
            name = path.relative_to(root).as_posix()
            if name.startswith(prefix):
                yield name

    def url(self, name: str) -> str:
        """The object's file URL."""
        return self._named(name).as_uri()

    def _keep(self, spool: Spool) -> str:
        """Move the spool to its place; replaces a damaged blob of the same digest by the sound one."""
        target = self._blob(spool.digest)
        spool.sync()
        _make_folders(target.parent, self._root)
        os.replace(spool.path, target)
        _sync_folder(target.parent)
        return spool.digest

    def _has_already(self, digest: str) -> bool:
        """True if the blob is there, sound and durable."""
        path = self._blob(digest)
        try:
            with path.open("rb") as file:
                is_sound = digest_of(file) == digest
        except FileNotFoundError:
            return False
        if is_sound:
            _sync_folder(path.parent)  # another thread may have moved it here and not synced yet
        return is_sound

    def _add_sum(self, name: str, digest: str) -> None:
        path = self._sum(name)
        _make_folders(path.parent, self._root)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, f"{digest}\n".encode())
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        _sync_folder(path.parent)

    def _sums(self, name: str) -> list[str]:
        try:
            return self._sum(name).read_text("ascii", "replace").split()
        except FileNotFoundError:
            return []

    def _blob(self, digest: str) -> Path:
        return self._root / "blobs" / fan_out(digest)

    def _named(self, name: str) -> Path:
        return self._root / "named" / check_object_name(name)

    def _sum(self, name: str) -> Path:
        # The ending keeps the digests of `a` and of `a/b` apart: one is a file, the other's folder is not.
        return self._root / "sums" / f"{check_object_name(name)}.sha256"


def _state(file: BinaryIO) -> tuple[int, ...]:
    """What changes when anything is written to the file."""
    found = os.fstat(file.fileno())
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _taken(name: str) -> Conflict:
    return Conflict(f"object {shorten(name)!r} exists already; it is never overwritten.", fix="Choose another name.")


def _make_folders(folder: Path, root: Path) -> None:
    """Make the folder and those above it up to `root`, so that they outlive a power cut."""
    if folder.is_dir():
        return
    if folder != root:
        _make_folders(folder.parent, root)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(path: Path) -> int:
    try:
        size = path.stat().st_size
        path.unlink()
    except FileNotFoundError:
        return 0
    _sync_folder(path.parent)
    return size


def _files(folder: Path) -> Iterator[Path]:
    """All regular files under the folder; none if it is not there."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from _files(Path(entry.path))
        elif entry.is_file(follow_symlinks=False):
            yield Path(entry.path)
