"""Trainings, and the blobs their results are uploaded as, from Python."""

from sill.core.values import Value
from sill.runs.training.types import TrainingSpec
from sill.runs.types import Run
from sill.sdk.client import Client


class StoredBlob(Value, frozen=True, kw_only=True):
    """Bytes that were stored, by their SHA-256 digest."""

    digest: str
    size_bytes: int


class Trainings:
    """Calls about trainings."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def list(self) -> tuple[TrainingSpec, ...]:
        """All declared trainings of the project."""
        return self._client.call("GET", "/projects/{project}/trainings", tuple[TrainingSpec, ...])

    def get(self, name: str) -> TrainingSpec:
        """One declared training."""
        return self._client.call("GET", f"/projects/{{project}}/trainings/{name}", TrainingSpec)

    def declare(self, spec: TrainingSpec) -> TrainingSpec:
        """Declare a training, new or changed."""
        return self._client.call("PUT", f"/projects/{{project}}/trainings/{spec.name}", TrainingSpec, body=spec)

    def start(self, name: str, reason: str = "by hand", key: str = "") -> Run:
        """Start a run of the training."""
        path = f"/projects/{{project}}/trainings/{name}/start"
        return self._client.call("POST", path, Run, body={"reason": reason}, key=key)

    def store_blob(self, data: bytes) -> str:
        """Store bytes and return their digest."""
        kind = "application/octet-stream"
        path = "/projects/{project}/blobs"
        return self._client.call("POST", path, StoredBlob, content=data, content_type=kind).digest
