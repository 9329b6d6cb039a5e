"""Tokens of pages that are counted off: behind how many the next one starts."""

import base64
import binascii

import msgspec

from sill.core.errors import InvalidValue

OFFSET_MAX = 10_000_000


def write_place(offset: int) -> str:
    """The token of a page that starts behind so many."""
    return base64.urlsafe_b64encode(b'{"offset": %d}' % offset).decode()


def read_place(token: str) -> int:
    """Behind how many a page starts.

    Raises:
        InvalidValue: the token is none of ours.
    """
    try:
        offset = msgspec.json.decode(base64.urlsafe_b64decode(token), type=dict[str, int])["offset"] if token else 0
    except (binascii.Error, ValueError, KeyError) as wrong:
        raise InvalidValue("Invalid page token.", fix="Start from the first page.", field="page_token") from wrong
    if not 0 <= offset <= OFFSET_MAX:
        raise InvalidValue("Invalid page token.", fix="Start from the first page.", field="page_token")
    return offset
