"""The lake's use cases: declare, append, read, query, go back, tidy, delete."""

import asyncio
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from sill.core.actors import Actor
from sill.core.clock import Clock, Ids
from sill.core.errors import InvalidValue
from sill.core.settings import Settings
from sill.governance.rules import require
from sill.lake import append as appending
from sill.lake import scan as reading
from sill.lake import sql, upkeep
from sill.lake.catalog import Parts
from sill.lake.declare import check_spec, put_spec
from sill.lake.files import Digests
from sill.lake.store import TABLES, is_quarantine, quarantine_name
from sill.lake.types import Freed, SnapshotInfo, SqlQuery, Table, TableSpec, Upkeep, UpkeepReport, WriteReport
from sill.stores.blobs import Blobs
from sill.stores.database import Database, Tx

if TYPE_CHECKING:
    import pyarrow as pa

T = TypeVar("T")

READ = "data:read"
WRITE = "data:write"
LIBRARIES = (
    *("pyarrow", "pyarrow.compute", "pyarrow.dataset", "pyarrow.parquet"),
    *("pydantic", "strictyaml", "rich.console", "pyiceberg.types", "pyiceberg.schema", "pyiceberg.table"),
    *("pyiceberg.io.pyarrow", "pyiceberg.catalog", "pyiceberg.avro.file"),
)
"""What a change of a table needs, in pieces that build on each other: half a second of CPU, and 80 MB."""
PAUSE_S = 0.05
"""Between two of them, so that whoever waits meanwhile comes in between."""
WRITERS = 4
"""Threads that change tables. Changes of one table wait for each other; here they hold up nobody else's work."""


class Lake:
    """Iceberg tables of all projects. One for each process; several processes may share database and blobs."""

    def __init__(self, database: Database, blobs: Blobs, clock: Clock, ids: Ids, settings: Settings) -> None:
        self._database = database
        self._settings = settings
        self._parts = Parts(database, blobs, clock, ids, Digests())
        self._writers = ThreadPoolExecutor(WRITERS, thread_name_prefix="sill-lake")
        self._holders: list[upkeep.Holder] = []

    async def prepare(self) -> None:
        """Load what the first change of a table would load, so that it is quick and nobody waits beside it."""
        for name in LIBRARIES:
            if name not in sys.modules:
                await asyncio.get_running_loop().run_in_executor(self._writers, import_module, name)
                await asyncio.sleep(PAUSE_S)

    def on_delete(self, holder: upkeep.Holder) -> None:
        """Let a later stage say that it uses a table, so that it is not deleted under it."""
        self._holders.append(holder)

    async def declare(self, actor: Actor, spec: TableSpec, key: str = "") -> Table:
        """Make a table, or change the rules of one that is there; its rows stay as they are."""
        require(actor, WRITE, spec.project)
        check_spec(spec)
        return await self._database.write_once(key, ["declare", spec], Table, lambda tx: put_spec(tx, actor, spec))

    async def table(self, actor: Actor, project: str, name: str) -> Table:
        """A table.

        Raises:
            NotFound: it is not there.
        """
        require(actor, READ, project)
        return await self._database.read(lambda connection: TABLES.get(connection, project, name))

    async def tables(self, actor: Actor, project: str) -> tuple[Table, ...]:
        """The project's tables, without those of quarantined rows."""
        require(actor, READ, project)
        found = await self._database.read(lambda connection: TABLES.every(connection, project))
        return tuple(table for table in found if not is_quarantine(table.name))

    async def delete(self, actor: Actor, project: str, name: str) -> Freed:
        """Take a table away with the rows it quarantined; its files go at once.

        Raises:
            NotFound: it is not there.
            Conflict: something uses it; the message names it.
        """
        require(actor, WRITE, project)
        return await self._change(upkeep.delete, actor, project, name, tuple(self._holders))

    async def append(
        self,
        actor: Actor,
        project: str,
        table: str,
        data: "pa.Table",
        *,
        key: str = "",
        mode: Literal["append", "overwrite"] = "append",
        source: str = "",
        also: Callable[[Tx], object] | None = None,
        means: object = None,
    ) -> WriteReport:
        """Write a batch under the table's rules, in one commit; a missing table is made.

        Args:
            key: makes it exactly once: a repeat with the same rows answers as the first did.
            mode: `overwrite` puts the batch in the place of all rows; older snapshots keep them.
            source: what `_source` says of rows that do not say it themselves.
            also: done in the transaction that commits the rows: both or neither. A repeat of the key does not do it again.
            means: what the key stands for, if the rows of a repeat may differ (in a time, say); the rows if not given.
        Raises:
            InvalidValue, TooLarge: the batch's shape or values cannot be taken.
            Refused: the quality gate refused the batch whole.
            Conflict: the key was used for other rows, or others kept changing the table.
        """
        require(actor, WRITE, project)
        return await self._change(appending.append, actor, project, table, data, key, mode, source, also, means)

    async def scan(
        self,
        actor: Actor,
        project: str,
        table: str,
        *,
        snapshot_id: int = 0,
        columns: Sequence[str] = (),
        where: Mapping[str, Any] | None = None,
        limit: int = 0,
    ) -> "pa.Table":
        """Rows of a table, now or at a snapshot; see `lake.scan.scan`."""
        found = await self.table(actor, project, table)
        return await asyncio.to_thread(
            reading.scan, self._parts, found, snapshot_id=snapshot_id, columns=columns, where=where, limit=limit
        )

    async def quarantine(self, actor: Actor, project: str, table: str, limit: int = 0) -> "pa.Table":
        """Rows the table would not take, as text, each with its `_reason`; no columns if there are none."""
        import pyarrow as pa

        await self.table(actor, project, table)
        name = quarantine_name(table)
        found = await self._database.read(lambda connection: TABLES.find(connection, project, name))
        if found is None:
            return pa.table({})
        return await asyncio.to_thread(reading.scan, self._parts, found, limit=limit)

    async def snapshots(self, actor: Actor, project: str, table: str) -> tuple[SnapshotInfo, ...]:
        """The states the table can be read at, the oldest first."""
        found = await self.table(actor, project, table)
        return await asyncio.to_thread(reading.snapshots, self._parts, found)

    async def rollback(self, actor: Actor, project: str, table: str, snapshot_id: int, key: str = "") -> Table:
        """Make an earlier snapshot the current one."""
        require(actor, WRITE, project)
        return await self._change(upkeep.rollback, actor, project, table, snapshot_id, key)

    async def maintain(self, actor: Actor, project: str, table: str, asked: Upkeep | None = None) -> UpkeepReport:
        """Join small files, let old snapshots go, remove files nothing points to."""
        require(actor, WRITE, project)
        return await self._change(upkeep.maintain, actor, project, table, asked or Upkeep())

    async def sweep(self, actor: Actor, project: str) -> Freed:
        """Remove what tables that are gone left behind."""
        require(actor, WRITE, project)
        return await self._change(lambda parts: upkeep.sweep(parts, project))

    async def sql(self, actor: Actor, project: str, query: SqlQuery) -> "pa.Table":
        """The result of one SELECT over the project's tables; see `lake.sql`.

        The schema's metadata has `lake.sql.TRUNCATED` when there were more rows than the limit.
        """
        require(actor, READ, project)
        most = self._settings.sql_rows_max
        if not 1 <= query.limit <= most:
            raise InvalidValue(f"limit {query.limit} is not within 1 to {most}.", field="limit")
        bounds = sql.Bounds(seconds=self._settings.sql_seconds_max, rows=query.limit)
        return await asyncio.to_thread(sql.query, query.query, self._loader(project, query.snapshots), bounds)

    async def check_sql(self, query: str) -> None:
        """Returns if a query is one SELECT that is allowed, whether or not its tables are there yet.

        Raises:
            InvalidValue: it is not SQL.
            Refused: it is SQL that is not allowed.
        """
        await asyncio.to_thread(sql.table_names, query)

    async def _change(self, work: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._writers, work, self._parts, *arguments)

    def _loader(self, project: str, pinned: Mapping[str, int]) -> Any:
        def load(name: str) -> "pa.Table":
            found = self._database.read_sync(lambda connection: TABLES.get(connection, project, name))
            sql.check_size(found)
            return reading.scan(self._parts, found, snapshot_id=pinned.get(name, 0))

        return load
