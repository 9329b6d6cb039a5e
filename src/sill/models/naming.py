"""What registered models, aliases and tags may be called where MLflow's clients name them. Pure; the rules are MLflow's."""

import posixpath
import re

from sill.core.errors import InvalidValue
from sill.core.names import shorten
from sill.models.types import PROMPT_TEXT_TAG, Stage

MODEL_NAME_LENGTH_MAX = 256
ALIAS_LENGTH_MAX = 255
TAG_KEY_LENGTH_MAX = 250
TAG_VALUE_LENGTH_MAX = 100_000
NOTE_LENGTH_MAX = 5_000
TAGS_MAX = 1_000
_ALIAS = re.compile(r"[\w-]+")
_RESERVED_ALIAS = re.compile(r"latest|v\d+", re.IGNORECASE)
_TAG_KEY = re.compile(r"[\w.\-/: ]+")
_STAGES = {stage.value.lower(): stage for stage in Stage}


def check_model_name(name: str, field: str = "name") -> str:
    """The name itself, if a registered model may have it: any text without `/`, `:` and control characters.

    Raises:
        InvalidValue: anything else, among it blank, `.` and `..`, more than 256 characters.
    """
    if not name.strip():
        raise InvalidValue(f"Missing value for required parameter '{field}'.", fix="Give a name.", field=field)
    if "/" in name or ":" in name:
        raise InvalidValue(
            f"Invalid model name '{shorten(name)}'. Names cannot contain '/' or ':'.",
            fix="Choose another.",
            field=field,
        )
    if len(name) > MODEL_NAME_LENGTH_MAX or name in (".", "..") or not name.isprintable() or "\\" in name:
        raise InvalidValue(
            f"Invalid model name '{shorten(name)}': at most {MODEL_NAME_LENGTH_MAX} characters are allowed, no "
            "backslash, nothing that cannot be printed, and not '.' or '..'.",
            fix="Choose another.",
            field=field,
        )
    return name


def check_alias_name(alias: str) -> str:
    """The alias itself, if a version may have it: letters, digits, `_` and `-`.

    Raises:
        InvalidValue: anything else, among it `latest` and `v3`, which name versions already.
    """
    if not alias:
        raise InvalidValue("Registered model alias name cannot be empty.", fix="Give a name.", field="alias")
    if not _ALIAS.fullmatch(alias):
        raise InvalidValue(
            f"Invalid alias name: '{shorten(alias)}'. Names may only contain alphanumerics, underscores (_), and "
            "dashes (-).",
            field="alias",
        )
    if len(alias) > ALIAS_LENGTH_MAX:
        raise InvalidValue(
            f"Registered model alias name exceeds the maximum length of {ALIAS_LENGTH_MAX} characters.", field="alias"
        )
    return alias


def check_new_alias(alias: str) -> str:
    """`check_alias_name` for an alias that is set: not `latest` and not a version's number such as `v3`."""
    check_alias_name(alias)
    if _RESERVED_ALIAS.fullmatch(alias):
        what = (
            "'latest' alias name (case insensitive)" if alias.lower() == "latest" else f"Version alias name '{alias}'"
        )
        raise InvalidValue(f"{what} is reserved.", fix="Choose another.", field="alias")
    return alias


def check_tags(tags: dict[str, str]) -> None:
    """Check keys and values of the tags of a model or version."""
    if len(tags) > TAGS_MAX:
        raise InvalidValue(f"{len(tags)} tags were given, at most {TAGS_MAX} are allowed.", field="tags")
    for key, value in tags.items():
        check_tag(key, value)


def check_tag(key: str, value: str = "") -> None:
    """Check one tag.

    Raises:
        InvalidValue: the key has other characters than letters, digits, `_ . - / :` and blanks, climbs as a path, or
            key or value are too long.
    """
    if not key:
        raise InvalidValue("Missing value for required parameter 'key'.", field="key")
    climbs = posixpath.normpath(key) != key or key.startswith(("/", ".."))
    if not _TAG_KEY.fullmatch(key) or climbs or len(key) > TAG_KEY_LENGTH_MAX:
        raise InvalidValue(
            f"Invalid value {shorten(key)!r} for parameter 'key': names may only contain alphanumerics, underscores (_), "
            f"dashes (-), periods (.), spaces ( ), colons (:) and slashes (/), at most {TAG_KEY_LENGTH_MAX} characters, "
            "and must not climb as a path.",
            field="key",
        )
    if key == PROMPT_TEXT_TAG and len(value) > TAG_VALUE_LENGTH_MAX:
        raise InvalidValue(
            f"Prompt text exceeds max length of {TAG_VALUE_LENGTH_MAX} characters.", fix="Shorten it.", field="value"
        )
    if len(value) > TAG_VALUE_LENGTH_MAX or "\0" in value:
        raise InvalidValue(
            f"'value' exceeds the maximum length of {TAG_VALUE_LENGTH_MAX} characters, or holds a NUL.",
            fix="Keep it as an artifact.",
            field="value",
        )


def check_note(note: str) -> str:
    """The note itself, if it is not too long and holds no NUL."""
    if len(note) > NOTE_LENGTH_MAX or "\0" in note:
        raise InvalidValue(
            f"'description' exceeds the maximum length of {NOTE_LENGTH_MAX} characters, or holds a NUL.",
            field="description",
        )
    return note


def stage_of(text: str) -> Stage:
    """The stage of that name, in any case.

    Raises:
        InvalidValue: there is none.
    """
    stage = _STAGES.get(text.lower())
    if stage is None:
        known = ", ".join(each.value for each in Stage)
        raise InvalidValue(
            f"Invalid Model Version stage: {shorten(text)}. Value must be one of {known}.", field="stage"
        )
    return stage
