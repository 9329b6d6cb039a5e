"""Runs and what they log, from Python."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from urllib.parse import quote

from sill.runs.types import (
    Artifact,
    Batch,
    CodeUpload,
    InlineRun,
    LogChunk,
    Metric,
    Reason,
    Run,
    RunData,
    RunDeleted,
    RunSpec,
    RunUpdate,
)
from sill.sdk.client import Client
from sill.sdk.pages import Page

BATCH_METRICS_MAX = 1_000
FOLLOW_WAIT_S = 20.0
QUIET_S = 1.0
CHUNK_BYTES = 1024 * 1024
_BYTES = "application/octet-stream"


class Runs:
    """Calls about runs."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def submit(self, spec: RunSpec, key: str = "") -> Run:
        """Queue a run."""
        return self._client.call("POST", "/projects/{project}/runs", Run, body=spec, key=key)

    def record_inline(self, run: InlineRun, key: str = "") -> Run:
        """Record a run that was executed in this process."""
        return self._client.call("POST", "/projects/{project}/runs/inline", Run, body=run, key=key)

    def get(self, run_id: str) -> Run:
        """One run."""
        return self._client.call("GET", _path(run_id), Run)

    def list(
        self,
        *,
        after: str = "",
        limit: int = 100,
        state: str = "",
        experiment: str = "",
        kind: str = "",
        parent_id: str = "",
    ) -> Page[Run]:
        """Runs that match, the newest first."""
        given = {"after": after, "state": state, "experiment": experiment, "kind": kind, "parent_id": parent_id}
        query = {"limit": limit, **{name: value for name, value in given.items() if value}}
        return self._client.call("GET", "/projects/{project}/runs", Page[Run], query=query)

    def cancel(self, run_id: str) -> Run:
        """Cancel a run and those under it."""
        return self._client.call("POST", _path(run_id, "cancel"), Run)

    def retry(self, run_id: str, key: str = "") -> Run:
        """Submit the same again, as a new run."""
        return self._client.call("POST", _path(run_id, "retry"), Run, key=key)

    def update(self, run_id: str, update: RunUpdate) -> Run:
        """Report provenance, inputs and outputs."""
        return self._client.call("POST", _path(run_id, "update"), Run, body=update)

    def delete(self, run_id: str) -> RunDeleted:
        """Delete a run and those under it."""
        return self._client.call("DELETE", _path(run_id), RunDeleted)

    def why(self, run_id: str) -> Reason:
        """Why a run waits, failed or was cancelled."""
        return self._client.call("GET", _path(run_id, "why"), Reason)

    def logs(self, run_id: str, offset: int = 0, wait_s: float = 0.0) -> LogChunk:
        """Output from a byte on."""
        query = {"offset": offset, "wait_s": wait_s}
        return self._client.call("GET", _path(run_id, "logs"), LogChunk, query=query)

    def follow(self, run_id: str, offset: int = 0, on_quiet: Callable[[], None] | None = None) -> Iterator[str]:
        """Output as it is written, until the run is over.

        Args:
            on_quiet: called about every second in which nothing was written.
        """
        while True:
            chunk = self.logs(run_id, offset, FOLLOW_WAIT_S if on_quiet is None else QUIET_S)
            if chunk.text:
                yield chunk.text
            if chunk.is_end:
                return
            if on_quiet is not None and not chunk.text:
                on_quiet()
            offset = chunk.next_offset

    def output(self, run_id: str) -> Iterator[str]:
        """All output there is now."""
        offset = 0
        while (chunk := self.logs(run_id, offset)).text:
            yield chunk.text
            offset = chunk.next_offset

    def upload_code(self, archive: bytes) -> CodeUpload:
        """Upload a code archive (zip); its digest is a run's `code`."""
        return self._client.call(
            "POST", "/projects/{project}/code", CodeUpload, content=archive, content_type="application/zip"
        )

    def log(self, run_id: str, batch: Batch, key: str = "") -> None:
        """Log metrics, params and tags together."""
        self._client.call("POST", _path(run_id, "log"), None, body=batch, key=key)

    def log_metrics(self, run_id: str, metrics: Mapping[str, float], step: int = 0, timestamp_ms: int = 0) -> None:
        """Log one point of each metric."""
        points = tuple(
            Metric(key=name, value=value, step=step, timestamp_ms=timestamp_ms) for name, value in metrics.items()
        )
        self.log_points(run_id, points)

    def log_points(self, run_id: str, points: Iterable[Metric]) -> None:
        """Log any number of points, a thousand a call."""
        every = tuple(points)
        for at in range(0, len(every), BATCH_METRICS_MAX):
            self.log(run_id, Batch(metrics=every[at : at + BATCH_METRICS_MAX]))

    def log_params(self, run_id: str, params: Mapping[str, object]) -> None:
        """Set params; each can be set once."""
        self.log(run_id, Batch(params={name: str(value) for name, value in params.items()}))

    def set_tags(self, run_id: str, tags: Mapping[str, str]) -> None:
        """Set tags, new or changed."""
        self.log(run_id, Batch(tags=dict(tags)))

    def data(self, run_id: str) -> RunData:
        """Last metrics, params and tags."""
        return self._client.call("GET", _path(run_id, "data"), RunData)

    def history(
        self, run_id: str, metric: str, after_step: int | None = None, limit: int = 1_000
    ) -> tuple[Metric, ...]:
        """Points of one metric behind a step (all, if none is given), in order."""
        query = {"key": metric, "after_step": after_step, "limit": limit}
        return self._client.call("GET", _path(run_id, "metrics"), tuple[Metric, ...], query=query)

    def artifacts(self, run_id: str, under: str = "", after: str = "") -> Page[Artifact]:
        """Files a run left, in the order of their paths."""
        query = {"under": under or None, "after": after or None}
        return self._client.call("GET", _path(run_id, "artifacts"), Page[Artifact], query=query)

    def put_artifact(self, run_id: str, path: str, content: bytes | Path) -> Artifact:
        """Keep bytes, or a file of this machine, with a run."""
        sent = _read(content) if isinstance(content, Path) else content
        return self._client.call("PUT", _artifact(run_id, path), Artifact, content=sent, content_type=_BYTES)

    def artifact(self, run_id: str, path: str) -> bytes:
        """The bytes of a file a run left."""
        return self._client.call("GET", _artifact(run_id, path), bytes)

    def download(self, run_id: str, path: str, target: Path) -> None:
        """Write a file a run left to this machine."""
        with self._client.stream("GET", _artifact(run_id, path)) as answer, target.open("wb") as file:
            for chunk in answer.iter_bytes():
                file.write(chunk)


def _path(run_id: str, rest: str = "") -> str:
    return f"/projects/{{project}}/runs/{quote(run_id, safe='')}" + (f"/{rest}" if rest else "")


def _artifact(run_id: str, path: str) -> str:
    return _path(run_id, f"artifacts/{quote(path)}")


def _read(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk
