"""One grammar for every name a person gives. Names become keys and URL parts, never file paths."""

import re

from sill.core.errors import InvalidValue

NAME_LENGTH_MAX = 100
_NAME = re.compile(r"[a-z0-9]([a-z0-9_.-]*[a-z0-9])?")
_COLUMN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ID = re.compile(r"[a-z]+-[0-9a-z]{8,40}")


def check_name(name: str, field: str = "name") -> str:
    """The name itself, if it is allowed: lower-case letters, digits, `_ . -`, starting and ending with letter or digit.

    Raises:
        InvalidValue: anything else, among it empty, `..`, look-alike letters, more than 100 characters.
    """
    if len(name) > NAME_LENGTH_MAX or ".." in name or not _NAME.fullmatch(name):
        raise InvalidValue(
            f"{field} {shorten(name)!r} is not a name: lower-case letters, digits and . _ - are allowed, "
            f"first and last a letter or digit, at most {NAME_LENGTH_MAX} characters.",
            fix="Choose another name.",
            field=field,
        )
    return name


def check_column(name: str, field: str = "column") -> str:
    """The column name itself, if it is allowed: letters, digits and `_`, not starting with a digit.

    Raises:
        InvalidValue: anything else.
    """
    if len(name) > NAME_LENGTH_MAX or not _COLUMN.fullmatch(name):
        raise InvalidValue(
            f"{field} {shorten(name)!r} is not a column name: letters, digits and _ are allowed, "
            f"not starting with a digit, at most {NAME_LENGTH_MAX} characters.",
            fix="Rename the column.",
            field=field,
        )
    return name


def check_id(value: str, field: str = "id") -> str:
    """The id itself, if it has the form of one of our ids (`run-…`).

    Raises:
        InvalidValue: anything else.
    """
    if not _ID.fullmatch(value):
        raise InvalidValue(f"{field} {shorten(value)!r} is not an id such as 'run-01jd…'.", field=field)
    return value


def shorten(text: str, length_max: int = 80) -> str:
    """The text, cut to `length_max` characters for use in a message or a log line."""
    return text if len(text) <= length_max else f"{text[: length_max - 1]}…"
