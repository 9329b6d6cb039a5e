"""A page of values as the API answers it."""

from typing import Generic, TypeVar

import msgspec

T = TypeVar("T")


class Page(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """Some of the values, in order; ask again with `after=next` for more, until `next` is empty."""

    items: tuple[T, ...]
    next: str = ""
