"""What may be said of datasets and logged models. The limits are those MLflow's clients know. Pure."""

from collections.abc import Iterable

from sill.core.errors import InvalidValue
from sill.core.names import shorten
from sill.runs.logged_models.types import Dataset, DatasetInput, LoggedModelSpec, ModelOutput
from sill.runs.tracking.rules import check_key

DATASETS_PER_CALL_MAX = 1_000
DATASETS_PER_RUN_MAX = 10_000
MODELS_PER_RUN_MAX = 10_000
DATASET_NAME_LENGTH_MAX = 500
DATASET_DIGEST_LENGTH_MAX = 36
DATASET_SOURCE_LENGTH_MAX = 65_535
DATASET_SCHEMA_LENGTH_MAX = 1_048_575
DATASET_PROFILE_LENGTH_MAX = 16_777_215
INPUT_TAG_KEY_LENGTH_MAX = 255
INPUT_TAG_VALUE_LENGTH_MAX = 500
INPUT_TAGS_MAX = 100
CONTEXT_TAG = "mlflow.data.context"
"""What a dataset was read for: training, validation …"""

NAME_LENGTH_MAX = 500
TYPE_LENGTH_MAX = 500
MODEL_ID_LENGTH_MAX = 100
RUN_ID_LENGTH_MAX = 100
MESSAGE_LENGTH_MAX = 1_000
TEXTS_PER_MODEL_MAX = 10_000
TEXTS_PER_CALL_MAX = 1_000
PARAM_LENGTH_MAX = 6_000
TAG_LENGTH_MAX = 8_000
_NOT_IN_NAMES = "/:.%\"'"
INT64_MAX = 2**63 - 1


def check_datasets(inputs: tuple[DatasetInput, ...]) -> None:
    """Check everything before anything is kept.

    Raises:
        InvalidValue: there are too many, or a text is missing or too long.
    """
    if len(inputs) > DATASETS_PER_CALL_MAX:
        raise InvalidValue(
            f"{len(inputs)} datasets are too many for one call; at most {DATASETS_PER_CALL_MAX} are allowed.",
            fix="Send several.",
            field="datasets",
        )
    for each in inputs:
        _check_dataset(each.dataset)
        if len(each.tags) > INPUT_TAGS_MAX:
            raise InvalidValue(f"a dataset has {len(each.tags)} tags; at most {INPUT_TAGS_MAX} are kept.", field="tags")
        for key, value in each.tags.items():
            _check_length("tags.key", key, INPUT_TAG_KEY_LENGTH_MAX)
            _check_length("tags.value", value, INPUT_TAG_VALUE_LENGTH_MAX)


def check_outputs(outputs: Iterable[ModelOutput]) -> None:
    """Check ids and steps of the models a run made.

    Raises:
        InvalidValue: one is not allowed.
    """
    for output in outputs:
        check_model_id(output.model_id)
        if not -INT64_MAX - 1 <= output.step <= INT64_MAX:
            raise InvalidValue(f"step {output.step} is outside ±{INT64_MAX}.", field="models.step")


def check_model_id(model_id: str) -> str:
    """The id itself, if it may be one: 1 to 100 characters without NUL. Whether the model is there is not asked.

    Raises:
        InvalidValue: it may not.
    """
    if not model_id:
        raise InvalidValue("model_id is empty.", field="model_id")
    _check_length("model_id", model_id, MODEL_ID_LENGTH_MAX)
    return model_id


def check_spec(spec: LoggedModelSpec) -> None:
    """Check everything a spec says by itself.

    Raises:
        InvalidValue: a field is outside what is allowed; the message names it.
    """
    if spec.name:
        check_model_name(spec.name)
    _check_length("model_type", spec.model_type, TYPE_LENGTH_MAX)
    _check_length("run_id", spec.run_id, RUN_ID_LENGTH_MAX)
    check_params(spec.params)
    check_tags(spec.tags)


def check_model_name(name: str) -> str:
    """The name itself, if it is allowed: not empty, without `/ : . % " '` and NUL, at most 500 characters.

    Raises:
        InvalidValue: anything else.
    """
    if not name or any(letter in name for letter in _NOT_IN_NAMES):
        raise InvalidValue(
            f"Invalid model name ({shorten(name)!r}) provided. Model name must be a non-empty string and cannot contain "
            f"the following characters: {tuple(_NOT_IN_NAMES)}",
            fix="Choose another name.",
            field="name",
        )
    _check_length("name", name, NAME_LENGTH_MAX)
    return name


def check_params(params: dict[str, str]) -> None:
    """Check keys and values of a logged model's params. They may be set again and hold anything but NUL."""
    _check_texts("params", params, PARAM_LENGTH_MAX)


def check_tags(tags: dict[str, str]) -> None:
    """Check keys and values of a logged model's tags."""
    _check_texts("tags", tags, TAG_LENGTH_MAX)


def _check_dataset(dataset: Dataset) -> None:
    for field, value, most in (
        ("name", dataset.name, DATASET_NAME_LENGTH_MAX),
        ("digest", dataset.digest, DATASET_DIGEST_LENGTH_MAX),
        ("source_type", dataset.source_type, DATASET_NAME_LENGTH_MAX),
        ("source", dataset.source, DATASET_SOURCE_LENGTH_MAX),
        ("schema", dataset.schema or "", DATASET_SCHEMA_LENGTH_MAX),
        ("profile", dataset.profile or "", DATASET_PROFILE_LENGTH_MAX),
    ):
        _check_length(f"dataset.{field}", value, most)
    for field, value in (("name", dataset.name), ("digest", dataset.digest)):
        if not value:
            raise InvalidValue(f"Dataset {field} cannot be None or empty.", field=f"dataset.{field}")


def _check_texts(field: str, texts: dict[str, str], length_max: int) -> None:
    if len(texts) > TEXTS_PER_CALL_MAX:
        raise InvalidValue(
            f"{len(texts)} {field} are too many for one call; at most {TEXTS_PER_CALL_MAX} are allowed.", field=field
        )
    for key, value in texts.items():
        check_key(key, field)
        _check_length(field, value, length_max)


def _check_length(field: str, value: str, length_max: int) -> None:
    if len(value) > length_max or "\0" in value:
        raise InvalidValue(
            f"{field} {shorten(value)!r} has {len(value)} characters or holds a NUL; at most {length_max} are allowed.",
            field=field,
        )
