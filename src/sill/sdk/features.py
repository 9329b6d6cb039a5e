"""Feature views from a client: declare, training sets as Arrow tables, online lookups."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from sill.features.types import FeatureView, LookupRequest, LookupResult, MaterializeReport
from sill.sdk.client import Client
from sill.sdk.pages import Page

if TYPE_CHECKING:
    import pyarrow as pa

ARROW = "application/vnd.apache.arrow.stream"
TRAINING_SET_TIMEOUT_S = 600.0


class Features:
    """The feature views of a project."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def declare(self, view: FeatureView) -> FeatureView:
        """Declare a feature view, or change it."""
        sent = msgspec.structs.replace(view, project=self._client.project)
        return self._client.call("PUT", f"/projects/{{project}}/features/{view.name}", FeatureView, body=sent)

    def view(self, name: str) -> FeatureView:
        """The declared view."""
        return self._client.call("GET", f"/projects/{{project}}/features/{name}", FeatureView)

    def views(self) -> Iterator[FeatureView]:
        """All declared views, by name."""
        after = ""
        while True:
            query = {"after": after, "limit": 100}
            page: Page[FeatureView] = self._client.call(
                "GET", "/projects/{project}/features", Page[FeatureView], query=query
            )
            yield from page.items
            if not page.next:
                return
            after = page.next

    def delete(self, name: str) -> None:
        """Forget a feature view; its tables stay."""
        self._client.call("DELETE", f"/projects/{{project}}/features/{name}", None)

    def training_set(
        self, name: str, *, spine: "pa.Table | None" = None, spine_time: str = "", snapshot_id: int = 0
    ) -> "pa.Table":
        """Features as they were known at the times of the spine, or the newest of each entity without one.

        The snapshot of the view's table they come from is in the schema's metadata, under `sill.snapshot`.
        """
        path = f"/projects/{{project}}/features/{name}/training-set"
        if spine is None:
            found: bytes = self._client.call(
                "GET", path, bytes, query={"snapshot_id": snapshot_id}, timeout_s=TRAINING_SET_TIMEOUT_S
            )
        else:
            found = self._client.call(
                "POST",
                path,
                bytes,
                query={"spine_time": spine_time, "snapshot_id": snapshot_id},
                content=_encode(spine),
                content_type=ARROW,
                timeout_s=TRAINING_SET_TIMEOUT_S,
            )
        return _decode(found)

    def materialize(self, name: str) -> MaterializeReport:
        """Put the newest features of each entity into the online store."""
        return self._client.call("POST", f"/projects/{{project}}/features/{name}/materialize", MaterializeReport)

    def lookup(self, name: str, entities: Sequence[dict[str, Any]]) -> LookupResult:
        """The newest features of each entity, in the order asked for."""
        request = LookupRequest(entities=tuple(entities))
        return self._client.call("POST", f"/projects/{{project}}/features/{name}/lookup", LookupResult, body=request)


def _encode(table: "pa.Table") -> bytes:
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    encoded: bytes = sink.getvalue().to_pybytes()
    return encoded


def _decode(content: bytes) -> "pa.Table":
    import pyarrow as pa

    with pa.ipc.open_stream(content) as reader:
        return reader.read_all()
