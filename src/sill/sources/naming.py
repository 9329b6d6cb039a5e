"""Brings column names into one grammar: lower-case words joined by `_`. What each was called is kept."""

import re
import unicodedata
from collections.abc import Mapping, Sequence

from sill.core.errors import InvalidValue
from sill.core.names import NAME_LENGTH_MAX, check_column, shorten

_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_OTHER = re.compile(r"[^a-z0-9]+")


def snake(name: str, position: int) -> str:
    """`Customer ID` → `customer_id`, `meanRadius (mm)` → `mean_radius_mm`, `Größe` → `grosse`, `2024` → `c_2024`.

    A name without a Latin letter or digit becomes `column_<position>` (1-based).
    """
    plain = "".join(c for c in unicodedata.normalize("NFKD", name) if not unicodedata.combining(c))
    words = _OTHER.sub("_", _CAMEL.sub("_", plain).casefold()).strip("_")[:NAME_LENGTH_MAX].strip("_")
    if not words:
        return f"column_{position}"
    return f"c_{words}"[:NAME_LENGTH_MAX] if words[0].isdigit() else words


def unify_names(originals: Sequence[str], rename: Mapping[str, str], where: str) -> list[str]:
    """The name of each column here. `rename` is asked by the original name first, then by the unified one.

    Raises:
        InvalidValue: a wanted name is not a column name, or two columns would get one name by `rename`.
    """
    wanted = {old: check_column(new, "rename") for old, new in rename.items()}
    given = [wanted.get(name, wanted.get(snake(name, at))) for at, name in enumerate(originals, 1)]
    taken = {name for name in given if name is not None}
    if len(taken) != sum(name is not None for name in given):
        twice = next(name for name in taken if given.count(name) > 1)
        raise InvalidValue(f"{where}: rename gives two columns the name {twice!r}.", fix="Give them different names.")
    names: list[str] = []
    for at, (original, chosen) in enumerate(zip(originals, given, strict=True), 1):
        name = chosen or _free(snake(original, at), taken)
        taken.add(name)
        names.append(name)
    return names


def find_name(asked: str, names: Mapping[str, str]) -> str | None:
    """The unified name of the column somebody calls `asked`, by its name here or the one it had (`names`: old → new)."""
    if asked in names.values():
        return asked
    return names.get(asked) or next((new for old, new in names.items() if snake(old, 0) == asked), None)


def unknown_column(asked: str, setting: str, names: Mapping[str, str], where: str) -> InvalidValue:
    """The error for a setting about a column that no file has."""
    listed = ", ".join(list(names)[:30])
    return InvalidValue(
        f"{where}: {setting} names column {shorten(asked)!r}, which is not there. Columns: {shorten(listed, 500)}.",
        fix="Correct the name.",
        field=setting,
    )


def _free(name: str, taken: set[str]) -> str:
    if name not in taken:
        return name
    number = 2
    while f"{name}_{number}" in taken:
        number += 1
    return f"{name}_{number}"
