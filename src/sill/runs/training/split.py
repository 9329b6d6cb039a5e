"""Which rows are held out. An entity never changes sides, whatever other rows come or go; nothing is drawn at random."""

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sill.core.errors import InvalidValue

if TYPE_CHECKING:
    import numpy as np

VALID_SALT = "valid"
VALID_FRACTION = 0.2
"""Part of the rows that are not held out on which trials of a tuning are judged."""


def is_held_out(entity: Sequence[Any], fraction: float, salt: str) -> bool:
    """True if an entity's rows are kept from training. The same entity and salt always give the same answer.

    Args:
        entity: values of its key columns, in order.
        fraction: share of entities to hold out, within [0, 1); a larger fraction holds out all that a smaller did.
    Source: hashing the entity instead of drawing rows, as in hash-based train/test splits (SHA-256 here).
    """
    text = "\x1f".join([salt, *(_text(value) for value in entity)])
    place = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64
    return place < fraction


def held_out(entities: Sequence[Sequence[Any]], fraction: float, salt: str) -> "np.ndarray[Any, Any]":
    """A boolean array of shape [n]: which rows are held out, by their entity.

    Raises:
        InvalidValue: the fraction is not within [0, 0.9].
    """
    import numpy as np

    if not 0 <= fraction <= 0.9:
        raise InvalidValue(f"holdout fraction {fraction} is not within 0 to 0.9.", field="holdout.fraction")
    known: dict[tuple[Any, ...], bool] = {}
    sides = np.zeros(len(entities), dtype=bool)
    for row, entity in enumerate(entities):
        key = tuple(_text(value) for value in entity)
        if key not in known:
            known[key] = is_held_out(entity, fraction, salt)
        sides[row] = known[key]
    return sides


def _text(value: Any) -> str:
    """One spelling for values that mean the same: 7, 7.0 and "7" are one entity whatever column type carried them."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
