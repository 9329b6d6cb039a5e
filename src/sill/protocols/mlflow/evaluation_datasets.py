"""Messages about evaluation datasets and their records. What is JSON here travels as text, as MLflow has it."""

import json
from typing import Annotated, Any

import msgspec

from sill.protocols.mlflow.errors import invalid
from sill.protocols.mlflow.wire import Wire
from sill.runs.evaluation.types import EvaluationDataset, EvaluationRecord, RecordUpsert
from sill.safety import strict_json

MAX_RESULTS = 1_000
Count = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
SOURCE_TYPES = ("SOURCE_TYPE_UNSPECIFIED", "TRACE", "HUMAN", "DOCUMENT", "CODE")


class CreateDataset(Wire, frozen=True, kw_only=True):
    """Request."""

    name: str | None = None
    experiment_ids: tuple[str, ...] | None = None
    tags: str | None = None


class DatasetWire(Wire, frozen=True, kw_only=True):
    """A dataset without its records."""

    dataset_id: str
    name: str
    tags: str | None = None
    schema: str | None = None
    profile: str | None = None
    digest: str | None = None
    created_time: int = 0
    last_update_time: int = 0
    created_by: str | None = None
    last_updated_by: str | None = None
    experiment_ids: tuple[str, ...] = ()


class DatasetAnswer(Wire, frozen=True, kw_only=True):
    """Answer."""

    dataset: DatasetWire


class SearchDatasets(Wire, frozen=True, kw_only=True):
    """Request."""

    experiment_ids: tuple[str, ...] | None = None
    filter_string: str | None = None
    max_results: Count | None = None
    order_by: tuple[str, ...] | None = None
    page_token: str | None = None


class FoundDatasets(Wire, frozen=True, kw_only=True):
    """Answer."""

    datasets: tuple[DatasetWire, ...] = ()
    next_page_token: str | None = None


class DatasetTags(Wire, frozen=True, kw_only=True):
    """Request."""

    tags: str | None = None


class UpsertRecords(Wire, frozen=True, kw_only=True):
    """Request."""

    records: str | None = None


class UpsertedRecords(Wire, frozen=True, kw_only=True, omit_defaults=False):
    """Answer."""

    inserted_count: int
    updated_count: int


class GetRecords(Wire, frozen=True, kw_only=True):
    """Request."""

    max_results: Count | None = None
    page_token: str | None = None


class FoundRecords(Wire, frozen=True, kw_only=True):
    """Answer."""

    records: str
    next_page_token: str | None = None


class DeleteRecords(Wire, frozen=True, kw_only=True):
    """Request."""

    dataset_record_ids: tuple[str, ...] | None = None


class DeletedRecords(Wire, frozen=True, kw_only=True, omit_defaults=False):
    """Answer."""

    deleted_count: int


class ExperimentIds(Wire, frozen=True, kw_only=True):
    """Request and answer."""

    experiment_ids: tuple[str, ...] | None = None


def tags_in(text: str | None, field: str = "tags") -> dict[str, str]:
    """Tags from their JSON; values that are no text become their JSON.

    Raises:
        InvalidValue: it is no object.
    """
    given = strict_json.decode_any(text.encode()) if text else {}
    if not isinstance(given, dict):
        raise invalid(f"Invalid value for parameter '{field}': the JSON of an object is meant.")
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in given.items()}


def records_in(text: str) -> list[RecordUpsert]:
    """Records from their JSON.

    Raises:
        InvalidValue: it is no list of records.
    """
    given = strict_json.decode_any(text.encode())
    if not isinstance(given, list):
        raise invalid("Invalid value for parameter 'records': the JSON of a list is meant.")
    return [_record_in(each) for each in given]


def dataset_out(dataset: EvaluationDataset) -> DatasetWire:
    """The dataset as a message."""
    return DatasetWire(
        dataset_id=dataset.id,
        name=dataset.name,
        tags=json.dumps(dataset.tags),
        schema=None if dataset.schema is None else json.dumps(dataset.schema),
        profile=json.dumps({"num_records": dataset.records}) if dataset.records else None,
        digest=dataset.digest,
        created_time=dataset.created_ms,
        last_update_time=dataset.updated_ms,
        created_by=dataset.created_by or None,
        last_updated_by=dataset.updated_by or None,
        experiment_ids=dataset.experiment_ids,
    )


def records_out(records: tuple[EvaluationRecord, ...]) -> str:
    """Records as their JSON."""
    return json.dumps([_record_out(record) for record in records])


def _record_in(given: Any) -> RecordUpsert:
    if not isinstance(given, dict):
        raise invalid("Invalid record: each is the JSON of an object.")
    known = {name: given.get(name) for name in RecordUpsert.__struct_fields__}
    tags = known.get("tags")
    if isinstance(tags, dict):
        known["tags"] = {key: value if isinstance(value, str) else json.dumps(value) for key, value in tags.items()}
    try:
        return msgspec.convert({**known, "inputs": known.get("inputs") or {}}, RecordUpsert)
    except msgspec.ValidationError as wrong:
        raise invalid(f"Invalid record: {wrong}.") from wrong


def _record_out(record: EvaluationRecord) -> dict[str, Any]:
    source = record.source or {}
    source_type = str(source.get("source_type") or "")
    source_id = (
        (source.get("source_data") or {}).get("trace_id") if isinstance(source.get("source_data"), dict) else None
    )
    optional = {
        "outputs": record.outputs,
        "expectations": record.expectations,
        "tags": record.tags,
        "source": record.source,
        "source_id": source_id,
        "source_type": source_type if source_type in SOURCE_TYPES else None,
        "created_by": record.created_by or None,
        "last_updated_by": record.updated_by or None,
    }
    return {
        "dataset_record_id": record.id,
        "dataset_id": record.dataset_id,
        "inputs": record.inputs,
        "created_time": record.created_ms,
        "last_update_time": record.updated_ms,
        **{name: value for name, value in optional.items() if value is not None},
    }
