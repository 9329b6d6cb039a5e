"""What an agent asks of the platform: each method is one or two calls of the API. Nothing here decides."""

import os
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sill.core.errors import Conflict, InvalidValue, NotFound, TooLarge
from sill.features.types import FeatureView
from sill.lake.types import WriteReport
from sill.models.types import ModelVersion, RegisteredModel, VersionSpec
from sill.runs.pipelines.types import CachedStep
from sill.runs.tracking.types import WireBatch, WireData
from sill.runs.types import Artifact, Batch, InlineRun, Run, RunData, RunSpec, RunUpdate
from sill.sdk.client import Client
from sill.sdk.pages import Page
from sill.sdk.trainings import Trainings
from sill.sources.types import IngestionSpec

if TYPE_CHECKING:
    import pyarrow as pa

SNAPSHOT_HEADER = "X-Sill-Snapshot"
VERSIONS_LOOKED_AT_MAX = 20
CHILDREN_MAX = 200
TABLE_BYTES_MAX = 2 * 1024**3
ARROW = "application/vnd.apache.arrow.stream"


class Platform:
    """The control plane, as the run that does a task sees it.

    Args:
        client: with the run's own token and project.
        run_id: the run this process does.
    """

    def __init__(self, client: Client, run_id: str) -> None:
        self.client = client
        self.run_id = run_id

    def log(self, batch: Batch) -> None:
        """Keep metrics, params and tags of this run."""
        self.client.call("POST", f"/projects/{{project}}/runs/{self.run_id}/log", None, body=WireBatch.of(batch))

    def update(self, update: RunUpdate) -> None:
        """Report what this run is made of, reads and has made."""
        self.client.call("POST", f"/projects/{{project}}/runs/{self.run_id}/update", None, body=update)

    def record_inline(self, run: InlineRun, key: str) -> Run:
        """Record a run that was done inside this one."""
        return self.client.call("POST", "/projects/{project}/runs/inline", Run, body=run, key=key)

    def submit(self, spec: RunSpec, key: str) -> Run:
        """Queue a run."""
        return self.client.call("POST", "/projects/{project}/runs", Run, body=spec, key=key)

    def run(self, run_id: str) -> Run:
        """A run as it stands."""
        return self.client.call("GET", f"/projects/{{project}}/runs/{run_id}", Run)

    def run_data(self, run_id: str) -> RunData:
        """What a run has logged."""
        return self.client.call("GET", f"/projects/{{project}}/runs/{run_id}/data", WireData).data()

    def cancel(self, run_id: str) -> None:
        """Stop a run."""
        self.client.call("POST", f"/projects/{{project}}/runs/{run_id}/cancel", Run)

    def cancel_children(self) -> None:
        """Stop what an earlier attempt of this run has queued and nobody waits for any more."""
        for state in ("queued", "running"):
            query = {"parent_id": self.run_id, "state": state, "limit": CHILDREN_MAX}
            left: Page[Run] = self.client.call("GET", "/projects/{project}/runs", Page[Run], query=query)
            for run in left.items:
                with suppress(Conflict):  # it has ended meanwhile
                    self.cancel(run.id)

    def artifact(self, run_id: str, path: str) -> bytes:
        """A file a run left."""
        return self.client.call("GET", f"/projects/{{project}}/runs/{run_id}/artifacts/{path}", bytes)

    def view(self, name: str) -> FeatureView:
        """A declared feature view."""
        return self.client.call("GET", f"/projects/{{project}}/features/{name}", FeatureView)

    def training_set(self, view: str) -> "tuple[pa.Table, int]":
        """A view's training set, and the snapshot of its table it was made from."""
        table, headers = self._arrow(f"/projects/{{project}}/features/{view}/training-set")
        return table, int(headers.get(SNAPSHOT_HEADER) or 0)

    def feedback(self, endpoint: str) -> "pa.Table | None":
        """Labelled requests of an endpoint in the order of time; None if there is no such endpoint or none yet."""
        try:
            table, _ = self._arrow(f"/projects/{{project}}/endpoints/{endpoint}/feedback")
        except NotFound:
            return None
        return table if table.num_rows else None

    def champion(self, model: str) -> ModelVersion | None:
        """The version that serves now, if any does; one that only MLflow's clients load is none."""
        try:
            known: RegisteredModel = self.client.call("GET", f"/projects/{{project}}/models/{model}", RegisteredModel)
        except NotFound:
            return None
        number = known.aliases.get("champion", 0)
        if not number:
            return None
        version = self.version(model, number)
        return version if version.spec.files else None

    def version(self, model: str, number: int) -> ModelVersion:
        """A registered version."""
        return self.client.call("GET", f"/projects/{{project}}/models/{model}/versions/{number}", ModelVersion)

    def model_files(self, version: ModelVersion, folder: Path) -> None:
        """Put the files of a version into a folder, as its runtime finds them."""
        path = f"/projects/{{project}}/models/{version.model}/versions/{version.version}/files"
        for name in version.spec.files:
            place = folder / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(self.client.call("GET", f"{path}/{name}", bytes))

    def store_blob(self, data: bytes) -> str:
        """Store bytes; their digest."""
        return Trainings(self.client).store_blob(data)

    def register(self, spec: VersionSpec, key: str) -> ModelVersion:
        """Register a model version."""
        return self.client.call(
            "POST", f"/projects/{{project}}/models/{spec.model}/versions", ModelVersion, body=spec, key=key
        )

    def version_of_run(self, model: str) -> ModelVersion | None:
        """The newest version that this run has registered, if it has."""
        known: RegisteredModel = self.client.call("GET", f"/projects/{{project}}/models/{model}", RegisteredModel)
        for number in range(known.latest, max(0, known.latest - VERSIONS_LOOKED_AT_MAX), -1):
            try:
                version = self.version(model, number)
            except NotFound:
                continue
            if version.spec.run_id == self.run_id:
                return version
        return None

    def artifact_digest(self, run_id: str, path: str) -> str:
        """Digest of a file a run left; empty if it left none of that name."""
        left: Page[Artifact] = self.client.call("GET", f"/projects/{{project}}/runs/{run_id}/artifacts", Page[Artifact])
        return next((artifact.digest for artifact in left.items if artifact.path == path), "")

    def cached_step(self, key: str) -> CachedStep:
        """What a step made before; NotFound if nothing."""
        return self.client.call("GET", f"/projects/{{project}}/cached-steps/{key}", CachedStep)

    def remember_step(self, step: CachedStep) -> None:
        """Keep what a step made."""
        self.client.call("PUT", f"/projects/{{project}}/cached-steps/{step.key}", CachedStep, body=step)

    def append(self, table: str, data: "pa.Table", key: str, source: str) -> WriteReport:
        """Append rows to a table of the lake; a repeat of the key changes nothing."""
        import pyarrow as pa

        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, data.schema) as writer:
            writer.write_table(data)
        return self.client.call(
            "POST",
            f"/projects/{{project}}/tables/{table}/rows",
            WriteReport,
            content=sink.getvalue().to_pybytes(),
            content_type=ARROW,
            query={"source": source},
            key=key,
        )

    def declare_ingestion(self, spec: IngestionSpec) -> None:
        """Declare an ingestion."""
        self.client.call("PUT", f"/projects/{{project}}/ingestions/{spec.name}", None, body=spec)

    def execute_ingestion(self, name: str, key: str) -> WriteReport:
        """Let the platform read an ingestion's sources into its table."""
        path = f"/projects/{{project}}/ingestions/{name}/execute"
        return self.client.call("POST", path, WriteReport, key=key, timeout_s=600)

    def _arrow(self, path: str) -> "tuple[pa.Table, Mapping[str, str]]":
        """The Arrow table an address answers with, and the answer's headers.

        Raises:
            TooLarge: it has more than `TABLE_BYTES_MAX` bytes.
            InvalidValue: the answer is no Arrow stream.
        """
        import pyarrow as pa

        pieces: list[bytes] = []
        size = 0
        with self.client.stream("GET", path) as answer:
            for piece in answer.iter_bytes():
                size += len(piece)
                if size > TABLE_BYTES_MAX:
                    raise TooLarge(f"{path} answers with more than {TABLE_BYTES_MAX:,} bytes.", fix="Take fewer rows.")
                pieces.append(piece)
            headers = answer.headers
        if not pieces:
            return pa.table({}), headers
        try:
            return pa.ipc.open_stream(b"".join(pieces)).read_all(), headers
        except pa.ArrowInvalid as wrong:
            raise InvalidValue(f"{path} did not answer with an Arrow stream.") from wrong


def open_platform(environ: Mapping[str, str] = os.environ) -> Platform:
    """The platform this run belongs to.

    Raises:
        InvalidValue: the process was not started by an engine.
    """
    run_id = environ.get("SILL_RUN_ID", "")
    if not run_id:
        raise InvalidValue("SILL_RUN_ID is not set: the agent is started by an engine.", fix="Use `sill run`.")
    return Platform(Client(), run_id)


def now_us() -> int:
    """Microseconds since 1970 UTC, for what is reported of this process."""
    return time.time_ns() // 1_000


def as_params(values: Mapping[str, Any]) -> dict[str, str]:
    """Parameters as texts, the way they are kept."""
    return {name: str(value) for name, value in values.items()}
