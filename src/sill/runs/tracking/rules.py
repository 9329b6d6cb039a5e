"""What may be logged: names and sizes. The limits are those MLflow's clients know; numbers are kept as they are."""

import re

from sill.core.errors import InvalidValue
from sill.core.names import shorten
from sill.runs.types import NOW, Batch, Metric

KEY_LENGTH_MAX = 250
PARAM_LENGTH_MAX = 6_000
TAG_LENGTH_MAX = 8_000
MODEL_ID_LENGTH_MAX = 250
DATASET_LENGTH_MAX = 500
METRICS_MAX = 1_000
PARAMS_MAX = 100
TAGS_MAX = 100
ENTITIES_MAX = 1_000
STEP_MAX = 2**63 - 1
STEP_MIN = -(2**63)
TIMESTAMP_MS_MAX = 2**63 - 1
_KEY = re.compile(r"[\w.\-/: ]+")


def check_batch(batch: Batch) -> None:
    """Check everything before anything is kept.

    Raises:
        InvalidValue: too many, or a key, number or text outside its limits.
    """
    sizes = {"metrics": len(batch.metrics), "params": len(batch.params), "tags": len(batch.tags)}
    for field, most in (("metrics", METRICS_MAX), ("params", PARAMS_MAX), ("tags", TAGS_MAX)):
        if sizes[field] > most:
            raise InvalidValue(
                f"the batch has {sizes[field]} {field}; at most {most} are allowed.", fix="Send several.", field=field
            )
    if sum(sizes.values()) > ENTITIES_MAX:
        raise InvalidValue(
            f"A batch logging request can contain at most {ENTITIES_MAX} metrics, params, and tags. "
            f"Got {sum(sizes.values())}.",
            fix="Send several.",
            field="metrics",
        )
    for key in {metric.key for metric in batch.metrics}:
        check_key(key, "metrics.key")
    for metric in batch.metrics:
        if metric.timestamp_ms < 0 or metric.timestamp_ms > TIMESTAMP_MS_MAX or not STEP_MIN <= metric.step <= STEP_MAX:
            _check_times(metric)
    for about in {(metric.model_id, metric.dataset_name, metric.dataset_digest) for metric in batch.metrics}:
        _check_about(*about)
    check_texts(batch.params, "params", PARAM_LENGTH_MAX)
    check_texts(batch.tags, "tags", TAG_LENGTH_MAX)


def _check_times(metric: Metric) -> None:
    if not STEP_MIN <= metric.step <= STEP_MAX:
        raise InvalidValue(
            f"step {metric.step} of metric {shorten(metric.key)!r} is not within {STEP_MIN} to {STEP_MAX}.",
            field="metrics.step",
        )
    if metric.timestamp_ms != NOW:
        raise InvalidValue(
            f"timestamp_ms {metric.timestamp_ms} of metric {shorten(metric.key)!r} is not within 0 to "
            f"{TIMESTAMP_MS_MAX}; it counts milliseconds since 1970 UTC.",
            field="metrics.timestamp_ms",
        )


def _check_about(model_id: str, dataset_name: str, dataset_digest: str) -> None:
    for field, text, most in (
        ("model_id", model_id, MODEL_ID_LENGTH_MAX),
        ("dataset_name", dataset_name, DATASET_LENGTH_MAX),
        ("dataset_digest", dataset_digest, MODEL_ID_LENGTH_MAX),
    ):
        if len(text) > most or "\0" in text:
            raise InvalidValue(
                f"{field} {shorten(text)!r} has {len(text)} characters; at most {most} are allowed, and no NUL.",
                field=f"metrics.{field}",
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
    if len(key) > KEY_LENGTH_MAX or not _KEY.fullmatch(key) or not is_path:
        raise InvalidValue(
            f"{field} {shorten(key)!r} is not a key: letters, digits, blanks and _ . - / : are allowed, no empty part, "
            f"'.' or '..' between slashes, at most {KEY_LENGTH_MAX} characters.",
            fix="Choose another key.",
            field=field,
        )
    return key
