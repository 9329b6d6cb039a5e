"""Tables from Python: rows go in and come out as Arrow tables, or go in as lists of dicts."""

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from sill.lake.types import (
    Freed,
    RollbackRequest,
    SnapshotInfo,
    SqlQuery,
    Table,
    TableSpec,
    Upkeep,
    UpkeepReport,
    WriteReport,
)
from sill.sdk.client import Client

if TYPE_CHECKING:
    import pyarrow as pa

ARROW = "application/vnd.apache.arrow.stream"
_TABLES = "/projects/{project}/tables"


class Tables:
    """Calls about tables."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def list(self) -> tuple[Table, ...]:
        """All tables of the project."""
        return self._client.call("GET", _TABLES, tuple[Table, ...])

    def declare(self, spec: TableSpec) -> Table:
        """Declare a table, or change its rules."""
        return self._client.call("PUT", f"{_TABLES}/{spec.name}", Table, body=spec)

    def get(self, name: str) -> Table:
        """One table as it stands."""
        return self._client.call("GET", f"{_TABLES}/{name}", Table)

    def delete(self, name: str) -> Freed:
        """Delete a table and its files."""
        return self._client.call("DELETE", f"{_TABLES}/{name}", Freed)

    def append(
        self,
        name: str,
        rows: "pa.Table | Sequence[Mapping[str, Any]]",
        *,
        mode: Literal["append", "overwrite"] = "append",
        source: str = "",
        key: str = "",
    ) -> WriteReport:
        """Write rows under the table's rules, in one commit, once.

        Args:
            rows: an Arrow table, or dicts of column → value; a column a dict lacks is missing in that row.
            source: where the rows come from; kept with each as `_source`.
            key: the same key writes the same rows once, however often it is called.
        """
        return self._client.call(
            "POST",
            f"{_TABLES}/{name}/rows",
            WriteReport,
            query={"mode": mode, "source": source},
            content=_stream(rows),
            content_type=ARROW,
            key=key,
        )

    def rows(
        self,
        name: str,
        *,
        snapshot: int = 0,
        columns: Sequence[str] = (),
        where: Mapping[str, Any] | None = None,
        limit: int = 0,
    ) -> "pa.Table":
        """Rows of a table, all of them when `limit` is 0; `where` as `{"age": {"ge": 18}, "plan": "pro"}`."""
        query = {
            "snapshot": snapshot,
            "columns": ",".join(columns),
            "where": json.dumps(where) if where else "",
            "limit": limit,
            "format": "arrow",
        }
        return _table(self._client.call("GET", f"{_TABLES}/{name}/rows", bytes, query=query))

    def quarantine(self, name: str, limit: int = 0) -> "pa.Table":
        """Rows the table would not take, each with its `_reason`."""
        query = {"limit": limit, "format": "arrow"}
        return _table(self._client.call("GET", f"{_TABLES}/{name}/quarantine", bytes, query=query))

    def snapshots(self, name: str) -> tuple[SnapshotInfo, ...]:
        """The states the table can be read at, the oldest first."""
        return self._client.call("GET", f"{_TABLES}/{name}/snapshots", tuple[SnapshotInfo, ...])

    def roll_back(self, name: str, snapshot_id: int) -> Table:
        """Make an earlier snapshot the current one."""
        request = RollbackRequest(snapshot_id=snapshot_id)
        return self._client.call("POST", f"{_TABLES}/{name}/rollback", Table, body=request)

    def maintain(self, name: str, *, compact: bool = True, keep_s: float = 5 * 86_400.0) -> UpkeepReport:
        """Join small files, forget snapshots older than `keep_s` seconds, free what nothing needs."""
        asked = Upkeep(compact=compact, keep_s=keep_s)
        return self._client.call("POST", f"{_TABLES}/{name}/maintain", UpkeepReport, body=asked)

    def sql(self, query: str, *, snapshots: Mapping[str, int] | None = None, limit: int = 10_000) -> "pa.Table":
        """The result of one SELECT over the project's tables; `snapshots` pins tables to a state."""
        asked = SqlQuery(query=query, snapshots=dict(snapshots or {}), limit=limit)
        return _table(
            self._client.call("POST", "/projects/{project}/sql", bytes, body=asked, query={"format": "arrow"})
        )


def _stream(rows: "pa.Table | Sequence[Mapping[str, Any]]") -> bytes:
    import pyarrow as pa

    table = rows if isinstance(rows, pa.Table) else _from_dicts(rows)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    result: bytes = sink.getvalue().to_pybytes()
    return result


def _from_dicts(rows: Sequence[Mapping[str, Any]]) -> "pa.Table":
    import pyarrow as pa

    names = dict.fromkeys(name for row in rows for name in row)
    return pa.table({name: pa.array([row.get(name) for row in rows]) for name in names})


def _table(stream: bytes) -> "pa.Table":
    import pyarrow as pa

    return pa.ipc.open_stream(pa.BufferReader(stream)).read_all()
