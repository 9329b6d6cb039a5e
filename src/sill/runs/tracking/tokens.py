"""Where a page of a search ended, as a token that clients send back: the values its last run is ordered by."""

import base64
import binascii
from typing import Any, NamedTuple

import msgspec

from sill.core.errors import InvalidValue
from sill.core.names import shorten


class Mark(NamedTuple):
    """A phase of a search, and the values of its keys."""

    phase: int
    values: tuple[Any, ...]


def to_token(mark: Mark, digest: str) -> str:
    """The mark as text, good for the query with this digest."""
    return base64.urlsafe_b64encode(msgspec.msgpack.encode([digest, *mark])).decode()


def from_token(token: str, digest: str) -> Mark:
    """The mark a client sent back.

    Raises:
        InvalidValue: it is none of ours, or of another query.
    """
    try:
        said, phase, values = msgspec.msgpack.decode(
            base64.b64decode(token.encode(), altchars=b"-_", validate=True),
            type=tuple[str, int, tuple[int | float | str | None, ...]],
        )
    except (msgspec.MsgspecError, binascii.Error, UnicodeEncodeError) as wrong:
        raise InvalidValue(
            f"Invalid page token {shorten(token)!r}.", fix="Send the one you got.", field="after"
        ) from wrong
    if said != digest or phase < 0:
        raise InvalidValue(
            f"page token {shorten(token)!r} is of another search.", fix="Search again from the start.", field="after"
        )
    return Mark(phase, values)
