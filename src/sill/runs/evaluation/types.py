"""Evaluation datasets: what an application is asked, and what should come of it."""

from typing import Any

from sill.core.values import Value


class EvaluationDataset(Value, frozen=True, kw_only=True):
    """A named set of records, used by experiments.

    Attributes:
        digest: changes with the records.
        schema: by part (`inputs`, `outputs`, `expectations`) the fields seen and their types; None without records.
        records: how many there are.
    """

    id: str
    project: str
    name: str
    tags: dict[str, str] = {}
    experiment_ids: tuple[str, ...] = ()
    digest: str = ""
    schema: dict[str, Any] | None = None
    records: int = 0
    created_ms: int = 0
    updated_ms: int = 0
    created_by: str = ""
    updated_by: str = ""
    revision: int = 0


class EvaluationRecord(Value, frozen=True, kw_only=True):
    """One thing to ask and what should come of it. Two records of a dataset never have the same inputs."""

    id: str
    dataset_id: str
    inputs: dict[str, Any]
    outputs: Any = None
    expectations: dict[str, Any] | None = None
    tags: dict[str, str] | None = None
    source: dict[str, Any] | None = None
    """`source_type` and `source_data`, as the client said it."""
    created_ms: int = 0
    updated_ms: int = 0
    created_by: str = ""
    updated_by: str = ""


class RecordUpsert(Value, frozen=True, kw_only=True):
    """A record on its way in; one with the same inputs is merged with it."""

    inputs: dict[str, Any] = {}
    outputs: Any = None
    expectations: dict[str, Any] | None = None
    tags: dict[str, str] | None = None
    source: dict[str, Any] | None = None


class RecordsUpserted(Value, frozen=True, kw_only=True):
    """How many records were new, and how many were merged into known ones."""

    inserted: int
    updated: int
