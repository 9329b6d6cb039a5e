"""A temporary file that is hashed while it is written: where bytes wait until their digest is known."""

import asyncio
import contextlib
import hashlib
import os
import stat
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import BinaryIO

from sill.stores.blobs.port import CHUNK_BYTES, no_object, too_large

LEFTOVER_AGE_S = 24 * 3600
"""Older temporary files belong to processes that died; they are removed at start."""


class Spool:
    """One temporary file, mode 0600, in `folder`. Close it in every case; what was not moved away is removed."""

    def __init__(self, folder: Path) -> None:
        descriptor, name = tempfile.mkstemp(dir=folder, prefix="spool-")
        self.path = Path(name)
        self.size = 0
        self._file = os.fdopen(descriptor, "w+b")
        self._hash = hashlib.sha256()

    @property
    def digest(self) -> str:
        """SHA-256 of what was written so far, in hex."""
        return self._hash.hexdigest()

    def write(self, data: bytes) -> None:
        """Append the bytes."""
        self._file.write(data)
        self._hash.update(data)
        self.size += len(data)

    def sync(self) -> None:
        """Return when all of it is on the disk."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def reader(self) -> BinaryIO:
        """The file, from its start."""
        self._file.flush()
        self._file.seek(0)
        return self._file

    def close(self) -> None:
        """Close the file and remove it, unless it was moved away."""
        self._file.close()
        self.path.unlink(missing_ok=True)

    def __enter__(self) -> "Spool":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def make_spool_folder(folder: Path) -> Path:
    """The folder, made if need be, without the leftovers of processes that died long ago."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for leftover in folder.glob("spool-*"):
        with contextlib.suppress(FileNotFoundError):
            if leftover.stat().st_mtime < time.time() - LEFTOVER_AGE_S:
                leftover.unlink()
    return folder


def spool_file(spool: Spool, path: Path) -> None:
    """Copy the regular file at `path` into the spool.

    Raises:
        NotFound: there is none; a link, a folder or a device is none.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as wrong:
        raise no_object(str(path)) from wrong
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise no_object(str(path))
    with os.fdopen(descriptor, "rb") as file:
        for chunk in chunks_of(file):
            spool.write(chunk)


async def spool_stream(spool: Spool, chunks: AsyncIterator[bytes], size_max: int) -> None:
    """Write the chunks into the spool, about a MiB at a time and off the event loop.

    Raises:
        TooLarge: more than `size_max` bytes came.
    """
    waiting = bytearray()
    async for chunk in chunks:
        waiting += chunk
        if spool.size + len(waiting) > size_max:
            raise too_large(size_max)
        if len(waiting) >= CHUNK_BYTES:
            await asyncio.to_thread(spool.write, bytes(waiting))
            waiting.clear()
    await asyncio.to_thread(spool.write, bytes(waiting))


def chunks_of(file: BinaryIO) -> Iterator[bytes]:
    """The rest of the file, a MiB at a time."""
    while chunk := file.read(CHUNK_BYTES):
        yield chunk


def digest_of(file: BinaryIO) -> str:
    """SHA-256 of the rest of the file, in hex."""
    found = hashlib.sha256()
    for chunk in chunks_of(file):
        found.update(chunk)
    return found.hexdigest()
