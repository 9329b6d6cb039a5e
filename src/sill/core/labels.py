"""When two spellings of a label mean the same class. Sources read `yes` as true, callers send what they call it."""

from collections.abc import Iterable
from typing import Any

TRUE_WORDS = frozenset({"true", "yes", "t", "y", "1"})
FALSE_WORDS = frozenset({"false", "no", "f", "n", "0"})
_NAMES = ("true", "false")


def class_name(label: Any) -> str:
    """One spelling for values that mean the same: 1, 1.0 and "1" are one class, so are True and "true"."""
    if isinstance(label, bool):
        return str(label).lower()
    if isinstance(label, float) and label.is_integer():
        return str(int(label))
    return str(label)


def means_same(first: str, second: str) -> bool:
    """Whether two labels are one class: the same text, the same number, or, where one is `true` or `false`, the same truth.

    `yes` and `1` mean `true` then; `yes` and `1` beside each other stay two classes.
    """
    if first == second:
        return True
    if first in _NAMES or second in _NAMES:
        pair = {first.strip().lower(), second.strip().lower()}
        return pair <= TRUE_WORDS or pair <= FALSE_WORDS
    try:
        return float(first) == float(second)
    except ValueError:
        return False


def distinct(names: Iterable[str], most: int) -> list[str]:
    """The names in order, without those that mean the same as one before; at most `most` and one."""
    kept: list[str] = []
    for name in dict.fromkeys(names):
        if len(kept) > most:
            break
        if not any(means_same(name, known) for known in kept):
            kept.append(name)
    return kept
