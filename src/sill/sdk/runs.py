"""Runs and what they log, from Python."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

from sill.runs.logged_models.types import RunLinks
from sill.runs.retention.types import RunsRestored
from sill.runs.tracking.types import RunRecord, WireBatch, WireData, WireMetric, WireRecord
from sill.runs.types import (
    NOW,
    Artifact,
    Batch,
    CodeUpload,
    Comparison,
    ComparisonSpec,
    InlineRun,
    LogChunk,
    Metric,
    Reason,
    Run,
    RunData,
    RunDeleted,
    RunSpec,
    RunSpecs,
    RunsSubmitted,
    RunUpdate,
    View,
)
from sill.sdk.client import Client
from sill.sdk.pages import Page

BATCH_METRICS_MAX = 1_000
POINTS_AT_ONCE = 10_000
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

    def submit_many(self, specs: Sequence[RunSpec], key: str = "") -> tuple[Run, ...]:
        """Queue up to 1,000 runs in one step: all of them or none."""
        body = RunSpecs(runs=tuple(specs))
        return self._client.call("POST", "/projects/{project}/runs/together", RunsSubmitted, body=body, key=key).runs

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
        view: View = View.ACTIVE,
    ) -> Page[Run]:
        """Runs that match, the newest first."""
        given = {"after": after, "state": state, "experiment": experiment, "kind": kind, "parent_id": parent_id}
        query = {"limit": limit, "view": view.value, **{name: value for name, value in given.items() if value}}
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

    def delete(self, run_id: str, *, now: bool = False) -> RunDeleted:
        """Delete a run and those under it; `now` erases them at once, with no way back."""
        return self._client.call("DELETE", _path(run_id), RunDeleted, query={"now": str(now).lower()})

    def restore(self, run_id: str) -> RunsRestored:
        """Bring a deleted run back, with those under it."""
        return self._client.call("POST", _path(run_id, "restore"), RunsRestored)

    def compare(self, run_ids: Iterable[str], *, with_equal: bool = False) -> Comparison:
        """What of the runs' params, metrics, tags and fields differs."""
        spec = ComparisonSpec(runs=tuple(run_ids), with_equal=with_equal)
        return self._client.call("POST", "/projects/{project}/runs/compare", Comparison, body=spec)

    def links(self, run_id: str) -> RunLinks:
        """Which datasets and logged models a run read, and which models it made."""
        return self._client.call("GET", _path(run_id, "links"), RunLinks)

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
        self._client.call("POST", _path(run_id, "log"), None, body=WireBatch.of(batch), key=key)

    def log_metrics(self, run_id: str, metrics: Mapping[str, float], step: int = 0, timestamp_ms: int = NOW) -> None:
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

    def search(
        self,
        filter: str = "",
        order_by: tuple[str, ...] = (),
        *,
        experiment_ids: tuple[str, ...] | None = None,
        view: View = View.ACTIVE,
        limit: int = 100,
        after: str = "",
    ) -> Page[RunRecord]:
        """Runs that meet a filter such as `metrics.loss < 0.5 and params.model = 'tree'`, with what they logged."""
        body = {"filter": filter, "order_by": order_by, "view": view, "limit": limit, "after": after}
        if experiment_ids is not None:
            body["experiment_ids"] = experiment_ids
        page: Page[WireRecord] = self._client.call(
            "POST", "/projects/{project}/runs/search", Page[WireRecord], body=body
        )
        return Page(items=tuple(found.record() for found in page.items), next=page.next)

    def data(self, run_id: str) -> RunData:
        """Last metrics, params and tags."""
        return self._client.call("GET", _path(run_id, "data"), WireData).data()

    def history(self, run_id: str, metric: str, after: str = "", limit: int = 1_000) -> Page[Metric]:
        """Points of one metric by time and step; `after` is `next` of the page before."""
        query = {"key": metric, "after": after or None, "limit": limit}
        page: Page[WireMetric] = self._client.call("GET", _path(run_id, "metrics"), Page[WireMetric], query=query)
        return Page(items=tuple(point.metric() for point in page.items), next=page.next)

    def points(self, run_id: str, metric: str) -> Iterator[Metric]:
        """All points of one metric, fetched as they are asked for."""
        after = ""
        while True:
            page = self.history(run_id, metric, after, POINTS_AT_ONCE)
            yield from page.items
            after = page.next
            if not after:
                return

    def curve(self, run_id: str, metric: str, points: int = 1_000) -> tuple[Metric, ...]:
        """About so many points of one metric by step, in which every peak is seen."""
        query = {"key": metric, "points": points}
        path = _path(run_id, "curve")
        found: tuple[WireMetric, ...] = self._client.call("GET", path, tuple[WireMetric, ...], query=query)
        return tuple(point.metric() for point in found)

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
