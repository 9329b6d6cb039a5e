"""Reads and writes the files that only their owner may read: keys and tokens. What they hold is left to the callers."""

import os
import stat
import tempfile
from pathlib import Path

from sill.core.errors import Forbidden


def write_private(path: Path, content: bytes) -> bytes | None:
    """Writes a new 0600 file at once and durably. Returns its content, or None if there is a file already."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, beside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # O_EXCL, 0600
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        # A link, unlike a rename, fails if another process was first; unlike O_EXCL on the
        # name itself it never shows a half-written file.
        os.link(beside, path)
    except FileExistsError:
        return None
    finally:
        os.unlink(beside)
    _sync_folder(path.parent)
    return content


def read_private(path: Path, bytes_max: int = 65_536) -> bytes:
    """The content of a file that nobody but its owner may read.

    Raises:
        Forbidden: others may read or write it, or it is a link, a FIFO or another user's.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as wrong:
        raise Forbidden(f"{path} cannot be opened: {wrong.strerror}.", fix="It must be a file of your own.") from wrong
    with os.fdopen(descriptor, "rb") as file:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode) or facts.st_mode & 0o077 or facts.st_uid != os.geteuid():
            raise Forbidden(
                f"{path} has mode {stat.S_IMODE(facts.st_mode):04o} and owner {facts.st_uid}; it holds a secret and "
                "must be a file that only its owner can read.",
                fix=f"chmod 600 {path}, and change what it held: others could have read it.",
            )
        return file.read(bytes_max)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
