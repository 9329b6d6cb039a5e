"""The blob port: what every place that keeps bytes promises. Where the bytes lie is left to the drivers."""

import hashlib
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import BinaryIO, Protocol

from sill.core.errors import Damaged, InvalidValue, NotFound, TooLarge
from sill.core.names import shorten
from sill.safety.paths import check_relative

CHUNK_BYTES = 1024 * 1024
"""How much of a file is held in memory at once."""
_DIGEST = re.compile(r"[0-9a-f]{64}")


class Blobs(Protocol):
    """Keeps bytes: blobs under their SHA-256, and named objects that are written once.

    What a put was asked to keep is durable before it returns. Every read is verified against the digest that was
    computed from what the caller gave. All methods block, but for `put_stream`; call them in threads.
    """

    def put_bytes(self, data: bytes) -> str:
        """Keep the bytes; returns their digest (SHA-256, hex). Bytes that are there already are kept once."""
        ...

    def put_file(self, path: Path) -> str:
        """Keep a copy of the file; returns its digest.

        Raises:
            NotFound: there is no such regular file.
        """
        ...

    async def put_stream(self, chunks: AsyncIterator[bytes], size_max: int) -> tuple[str, int]:
        """Keep what the chunks come to; returns digest and size in bytes.

        Raises:
            TooLarge: more than `size_max` bytes came; nothing of them remains.
        """
        ...

    def get(self, digest: str) -> bytes:
        """The bytes.

        Raises:
            NotFound: nothing is kept under the digest.
            Damaged: what is kept is not what was put.
        """
        ...

    def open(self, digest: str) -> BinaryIO:
        """The bytes as a file open for reading, verified before it is handed out. Errors as `get`."""
        ...

    def open_range(self, digest: str, start: int, end: int) -> BinaryIO:
        """A file whose next `end - start` bytes are those of the blob from `start` on.

        The whole blob is verified first, unless it was lately and has not changed since (`verified`). Errors as `get`.
        """
        ...

    def size(self, digest: str) -> int:
        """Size in bytes, unverified.

        Raises:
            NotFound: nothing is kept under the digest.
        """
        ...

    def exists(self, digest: str) -> bool:
        """True if something is kept under the digest."""
        ...

    def delete(self, digest: str) -> int:
        """Remove the blob; returns the bytes freed, 0 if there was none."""
        ...

    def digests(self) -> Iterator[str]:
        """Digests of all blobs, in no promised order."""
        ...

    def put_named(self, name: str, data: bytes) -> None:
        """Keep the bytes under a name such as `churn/customers/data/0-1.parquet`.

        Raises:
            Conflict: the name is taken; what it names is left as it was.
            InvalidValue: not a relative path as `safety.paths.check_relative` wants it.
        """
        ...

    def get_named(self, name: str) -> bytes:
        """The bytes under the name. Errors as `get`."""
        ...

    def delete_named(self, name: str) -> int:
        """Remove the named object; returns the bytes freed, 0 if there was none."""
        ...

    def names(self, prefix: str = "") -> Iterator[str]:
        """All names that start with the prefix, in no promised order."""
        ...

    def url(self, name: str) -> str:
        """Where other programs find the named object: `file:///…`, `s3://…`."""
        ...


def sha256(data: bytes) -> str:
    """The digest of the bytes, in hex."""
    return hashlib.sha256(data).hexdigest()


def check_digest(digest: str) -> str:
    """The digest itself, if it has the form of one.

    Raises:
        InvalidValue: anything but 64 lower-case hex digits.
    """
    if not _DIGEST.fullmatch(digest):
        raise InvalidValue(f"{shorten(digest)!r} is not a digest; 64 lower-case hex digits are.", field="digest")
    return digest


def check_object_name(name: str) -> str:
    """The name itself, if it may name an object."""
    return check_relative(name, "name")


def fan_out(digest: str) -> str:
    """`ab/cd/ef…`: two levels, so that no folder holds more than a few hundred of a million blobs."""
    check_digest(digest)
    return f"{digest[:2]}/{digest[2:4]}/{digest[4:]}"


def no_blob(digest: str) -> NotFound:
    """The error for a digest that nothing is kept under."""
    return NotFound(f"no blob {digest}.", fix="It was never stored, or was deleted.")


def no_object(name: str) -> NotFound:
    """The error for a name that nothing is kept under."""
    return NotFound(f"no object {shorten(name)!r}.", fix="It was never stored, or was deleted.")


def damaged(what: str) -> Damaged:
    """The error for bytes that are not what was put."""
    return Damaged(
        f"{what} is damaged: its bytes do not match the digest they were stored with.",
        fix="Restore it from a backup or make it again; do not use it.",
    )


def too_large(size_max: int) -> TooLarge:
    """The error for a stream that goes on for too long."""
    return TooLarge(f"more than {size_max} bytes were sent; at most {size_max} are allowed.", fix="Send less.")
