"""Makes, digests and compares tokens. Who holds which token is the business of `governance`."""

import base64
import hashlib
import hmac
import os
import re
import secrets
import stat
import tempfile
from pathlib import Path

from sill.core.errors import Forbidden, InvalidValue

PREFIX = "sill_"
_TOKEN = re.compile(r"sill_[A-Za-z0-9_-]{43}")


def new_token() -> str:
    """A fresh token: `sill_` and 256 random bits. Store its digest, never the token."""
    return PREFIX + base64.urlsafe_b64encode(secrets.token_bytes(32)).rstrip(b"=").decode()


def digest(token: str) -> str:
    """SHA-256 of the token in hex. Enough without salt and stretching: a token has 256 random bits."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def matches(token: str, token_digest: str) -> bool:
    """True if the digest is the token's. Takes the same time wherever they differ."""
    return hmac.compare_digest(digest(token).encode(), token_digest.encode("utf-8", "surrogatepass"))


def is_token(text: str) -> bool:
    """True if the text has the form of a token."""
    return _TOKEN.fullmatch(text) is not None


def read_or_create_root_token(path: Path) -> str:
    """The root token in the file; on first use it is made, readable by its owner only.

    Raises:
        Forbidden: the file can be read by others, or is a link.
        InvalidValue: the file holds no token.
    """
    created = write_private(path, f"{new_token()}\n".encode())
    token = (created or read_private(path)).decode("utf-8", "replace").strip()
    if not is_token(token):
        raise InvalidValue(f"{path} holds no token.", fix="Delete it and start again; a new one is made.")
    return token


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
