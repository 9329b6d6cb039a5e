"""Makes, digests and compares tokens. Who holds which token is the business of `governance`."""

import base64
import hashlib
import hmac
import re
import secrets
from pathlib import Path

from sill.core.errors import InvalidValue
from sill.safety.private_files import read_private, write_private

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


def bearer(field: str) -> str:
    """The secret in an `Authorization` field; empty if there is none."""
    scheme, _, given = field.partition(" ")
    return given.strip() if scheme.lower() == "bearer" else ""


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
