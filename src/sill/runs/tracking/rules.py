"""What may be logged: names, sizes and numbers. The limits are those MLflow's clients know."""

import math
import re

from sill.core.errors import InvalidValue
from sill.core.names import shorten
from sill.runs.types import Batch, Metric

KEY_LENGTH_MAX = 250
PARAM_LENGTH_MAX = 6_000
TAG_LENGTH_MAX = 8_000
METRICS_MAX = 1_000
PARAMS_MAX = 100
TAGS_MAX = 100
STEP_MAX = 2**63 - 1
TIMESTAMP_MS_MAX = 10**14
"""The year 5138; larger ones are microseconds sent as milliseconds."""
_KEY = re.compile(r"[\w.\-/: ]+")


def check_batch(batch: Batch) -> None:
    """Check everything before anything is kept.

    Raises:
        InvalidValue: too many, or a key, number or text outside its limits.
    """
    for field, count, most in (
        ("metrics", len(batch.metrics), METRICS_MAX),
        ("params", len(batch.params), PARAMS_MAX),
        ("tags", len(batch.tags), TAGS_MAX),
    ):
        if count > most:
            raise InvalidValue(
                f"the batch has {count} {field}; at most {most} are allowed.", fix="Send several.", field=field
            )
    for metric in batch.metrics:
        check_metric(metric)
    check_texts(batch.params, "params", PARAM_LENGTH_MAX)
    check_texts(batch.tags, "tags", TAG_LENGTH_MAX)


def check_metric(metric: Metric) -> None:
    """Check one point."""
    check_key(metric.key, "metrics.key")
    if not math.isfinite(metric.value):
        raise InvalidValue(
            f"metric {shorten(metric.key)!r} is {metric.value} at step {metric.step}; numbers are allowed.",
            fix="Leave the point out, or find out why it diverged.",
            field="metrics.value",
        )
    if not -STEP_MAX <= metric.step <= STEP_MAX:
        raise InvalidValue(
            f"step {metric.step} of metric {shorten(metric.key)!r} is outside ±{STEP_MAX}.", field="metrics.step"
        )
    if not 0 <= metric.timestamp_ms <= TIMESTAMP_MS_MAX:
        raise InvalidValue(
            f"timestamp_ms {metric.timestamp_ms} of metric {shorten(metric.key)!r} is outside 0 to {TIMESTAMP_MS_MAX}; "
            "it counts milliseconds since 1970 UTC.",
            field="metrics.timestamp_ms",
        )


def check_texts(texts: dict[str, str], field: str, length_max: int) -> None:
    """Check keys and values of params or tags."""
    for key, value in texts.items():
        check_key(key, field)
        if len(value) > length_max:
            raise InvalidValue(
                f"the value of {shorten(key)!r} in {field} has {len(value)} characters; at most {length_max} are allowed.",
                fix="Keep it as an artifact.",
                field=field,
            )
        if "\0" in value:
            raise InvalidValue(f"the value of {shorten(key)!r} in {field} holds a NUL.", field=field)


def check_key(key: str, field: str) -> str:
    """The key itself, if it is allowed: letters, digits, `_ . - / :` and blanks; as a path it must not climb.

    Raises:
        InvalidValue: anything else, or more than 250 characters.
    """
    parts = key.split("/")
    is_path = all(part not in ("", ".", "..") for part in parts)
    if len(key) > KEY_LENGTH_MAX or not _KEY.fullmatch(key) or not is_path or key != key.strip():
        raise InvalidValue(
            f"{field} {shorten(key)!r} is not a key: letters, digits, blanks and _ . - / : are allowed, no empty part, "
            f"'.' or '..' between slashes, at most {KEY_LENGTH_MAX} characters.",
            fix="Choose another key.",
            field=field,
        )
    return key
