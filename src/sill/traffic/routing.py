"""Which revision answers a request, and whether the request is kept. Pure: the same id always goes the same way."""

from collections.abc import Sequence
from hashlib import blake2b
from typing import Protocol, TypeVar


class Weighted(Protocol):
    """Something with a part of the traffic."""

    @property
    def weight(self) -> int:
        """Part of the traffic; what counts is its share of the sum."""
        ...


W = TypeVar("W", bound=Weighted)

_SPAN = 2**64


def place(key: str, salt: str) -> float:
    """A number in [0, 1) that depends on key and salt alone, spread evenly. Source: BLAKE2b, 64 bits of it."""
    return int.from_bytes(blake2b(f"{salt}\0{key}".encode(), digest_size=8).digest(), "big") / _SPAN


def choose(revisions: Sequence[W], key: str, salt: str) -> W | None:
    """The revision a request with this id (or sticky key) goes to, by weight; None if none has any.

    As a canary's weight rises, requests move to it only: those that were there stay. For this the newest
    revision must stand first.
    """
    total = sum(revision.weight for revision in revisions)
    if len(revisions) == 1 and total:
        return revisions[0]
    point = place(key, salt) * total
    for revision in revisions:
        if point < revision.weight:
            return revision
        point -= revision.weight
    return None


def is_sampled(key: str, share: float) -> bool:
    """True for `share` of all ids."""
    return share >= 1.0 or place(key, "log") < share
