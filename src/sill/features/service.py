"""Feature views: declared once, read as training sets and looked up online from the same rows."""

import asyncio
import weakref
from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec
from sqlalchemy import Connection

from sill.core.actors import PLATFORM, Actor
from sill.core.clock import Clock
from sill.core.errors import InvalidValue, NotFound, Refused
from sill.features import online as online_rows
from sill.features.joins import US_PER_S, join_as_of, newest_rows
from sill.features.rules import check_columns, check_view, named_tables
from sill.features.store import MATERIALIZATIONS, VIEWS, Materialization
from sill.features.types import FeatureView, LookupRequest, LookupResult, MaterializeReport
from sill.governance.rules import require
from sill.lake.service import Lake
from sill.lake.types import SqlQuery
from sill.stores.database import Database, Page, Tx
from sill.stores.kv import Online

if TYPE_CHECKING:
    import pyarrow as pa

SQL_ROWS_MAX = 100_000
"""Rows a view's SQL may yield; the same default as `Settings.sql_rows_max`."""
ENTITIES_PER_LOOKUP_MAX = 10_000
_TRUNCATED = b"sill.truncated"


class Features:
    """The only place that decides about feature views.

    A view is a capability: who may read features reads what the view yields, and needs no right to the tables behind it.
    Who declares one needs both.
    """

    def __init__(
        self, database: Database, lake: Lake, online: Online, clock: Clock, *, sql_rows_max: int = SQL_ROWS_MAX
    ) -> None:
        self._database = database
        self._lake = lake
        self._online = online
        self._clock = clock
        self._sql_rows_max = sql_rows_max
        self._filling: weakref.WeakValueDictionary[str, asyncio.Lock] = weakref.WeakValueDictionary()
        lake.on_delete(_holder)

    async def declare(self, actor: Actor, view: FeatureView) -> FeatureView:
        """Keep a view; the same declaration again changes nothing. Checked against the rows, if there are any yet.

        Raises:
            InvalidValue: it could not be read.
            Refused: its SQL is not one SELECT over the project's tables.
            Conflict: `view.revision` is given and is not the current one.
        """
        require(actor, "features:write", view.project)
        require(actor, "data:read", view.project)
        check_view(view)
        await self._try(view)
        return await self._database.write(lambda tx: _declare(tx, actor, view))

    async def view(self, actor: Actor, project: str, name: str) -> FeatureView:
        """The declared view.

        Raises:
            NotFound: there is none of the name.
        """
        require(actor, "features:read", project)
        return await self._database.read(lambda connection: VIEWS.get(connection, project, name))

    async def views(self, actor: Actor, project: str, *, after: str = "", limit: int = 100) -> Page[FeatureView]:
        """Declared views by name."""
        require(actor, "features:read", project)
        return await self._database.read(lambda c: VIEWS.page(c, project, after=after, limit=limit))

    async def delete(self, actor: Actor, project: str, name: str) -> None:
        """Forget a view and what of it lies in the online store; its tables stay.

        Raises:
            NotFound: there is none of the name.
        """
        require(actor, "features:write", project)

        def remove(tx: Tx) -> str:
            VIEWS.delete(tx, project, name)
            kept = MATERIALIZATIONS.find(tx.connection, project, name)
            if kept is not None:
                MATERIALIZATIONS.delete(tx, project, name)
            tx.emit("view.deleted", project, name, actor.id)
            return kept.namespace if kept else ""

        namespace = await self._database.write(remove)
        if namespace:
            await asyncio.to_thread(self._online.drop, namespace)

    async def training_set(
        self,
        actor: Actor,
        project: str,
        view: str,
        *,
        spine: "pa.Table | None" = None,
        spine_time: str = "",
        snapshot_id: int = 0,
    ) -> "tuple[pa.Table, int]":
        """Features as they were known, and the snapshot of the view's table they come from.

        Args:
            spine: rows with the entity's columns (labels, perhaps), each of which gets its features behind it.
            spine_time: the spine's time column; without it each row gets the newest features.
            snapshot_id: read the view's table as it was then; 0: as it is now. Other tables of its SQL are read as they
                are now.
        Raises:
            NotFound: no such view, table or snapshot.
            InvalidValue: a column is missing or cannot be compared.
            Refused: the view yields more rows than SQL may.
        """
        declared = await self.view(actor, project, view)
        if spine_time and not declared.time:
            raise InvalidValue(
                f"view {view!r} has no time column, so it cannot be read at a time.",
                fix="Declare `time`, or leave spine_time out.",
                field="spine_time",
            )
        snapshots = await self._snapshots(declared, snapshot_id)
        rows = await self._rows(declared, snapshots)
        if spine is None:
            found = await asyncio.to_thread(newest_rows, rows, declared.entity, declared.time)
        else:
            found = await asyncio.to_thread(
                join_as_of,
                spine,
                rows,
                declared.entity,
                spine_time=spine_time,
                time=declared.time,
                ttl_s=declared.ttl_s,
            )
        return found, snapshots[declared.table]

    async def materialize(self, actor: Actor, project: str, view: str) -> MaterializeReport:
        """Put the newest row of each entity into the online store, if the tables moved since it was done last.

        Raises:
            NotFound: no such view, or its table has no rows.
        """
        require(actor, "features:write", project)
        declared = await self.view(PLATFORM, project, view)
        snapshots = await self._snapshots(declared)
        mark = await self._fresh(declared, snapshots)
        return MaterializeReport(view=view, entities=mark.entities, snapshot_id=mark.snapshot_id)

    async def lookup(self, actor: Actor, project: str, view: str, request: LookupRequest) -> LookupResult:
        """The newest features of each entity, in the order asked for; empty where the entity is not known or too old.

        Raises:
            NotFound: no such view, or its table has no rows.
            InvalidValue: too many entities, or one that is not of the view's columns and types.
        """
        declared = await self.view(actor, project, view)
        if not 1 <= len(request.entities) <= ENTITIES_PER_LOOKUP_MAX:
            raise InvalidValue(
                f"{len(request.entities)} entities are asked for; 1 to {ENTITIES_PER_LOOKUP_MAX:,} are allowed.",
                field="entities",
            )
        snapshots = await self._snapshots(declared)
        mark = await self._fresh(declared, snapshots)
        namespace = online_rows.namespace_of(declared, snapshots)
        oldest_us = self._clock.now_us() - declared.ttl_s * US_PER_S if declared.ttl_s else -(2**63)
        rows = await asyncio.to_thread(
            online_rows.find_rows, self._online, namespace, declared, mark, request.entities, oldest_us
        )
        return LookupResult(rows=rows, snapshot_id=snapshots[declared.table])

    async def _snapshots(self, view: FeatureView, snapshot_id: int = 0) -> dict[str, int]:
        """The snapshots to read, so that all reads of one call see one state."""
        main = await self._lake.table(PLATFORM, view.project, view.table)
        found = {view.table: snapshot_id or main.snapshot_id}
        if view.sql:
            tables = {table.name: table for table in await self._lake.tables(PLATFORM, view.project)}
            named = named_tables(view, tables)
            found |= {name: tables[name].snapshot_id for name in named if name != view.table and name in tables}
        if not found[view.table]:
            raise NotFound(f"table {view.table!r} of view {view.name!r} has no rows yet.", fix="Fill it first.")
        return found

    async def _rows(self, view: FeatureView, snapshots: Mapping[str, int]) -> "pa.Table":
        """All rows of the view at the snapshots: entity, time and features."""
        if not view.sql:
            pinned = snapshots[view.table]
            return check_columns(view, await self._lake.scan(PLATFORM, view.project, view.table, snapshot_id=pinned))
        pins = {name: snapshot for name, snapshot in snapshots.items() if snapshot}
        query = SqlQuery(query=view.sql, snapshots=pins, limit=self._sql_rows_max)
        rows = await self._lake.sql(PLATFORM, view.project, query)
        if _TRUNCATED in (rows.schema.metadata or {}):
            raise Refused(
                f"view {view.name!r} yields more than {self._sql_rows_max:,} rows.",
                fix="Select fewer rows in `sql`, leave `sql` empty, or raise SILL_SQL_ROWS_MAX.",
            )
        return check_columns(view, rows)

    async def _try(self, view: FeatureView) -> None:
        """Read one row, so that a view that cannot work is refused when it is declared."""
        if view.sql:
            await self._lake.check_sql(view.sql)
        try:
            snapshots = await self._snapshots(view)
        except NotFound:
            return  # the table comes later
        if view.sql:
            pins = {name: snapshot for name, snapshot in snapshots.items() if snapshot}
            query = SqlQuery(query=view.sql, snapshots=pins, limit=1)
            check_columns(view, await self._lake.sql(PLATFORM, view.project, query))
        else:
            check_columns(view, await self._lake.scan(PLATFORM, view.project, view.table, limit=1))

    async def _fresh(self, view: FeatureView, snapshots: Mapping[str, int]) -> online_rows.Mark:
        """The mark of the view's state in the online store, which is filled first if it is not there."""
        namespace = online_rows.namespace_of(view, snapshots)
        mark = await asyncio.to_thread(online_rows.find_mark, self._online, namespace)
        if mark is not None:
            return mark
        lock = self._filling.get(namespace)
        if lock is None:
            lock = self._filling[namespace] = asyncio.Lock()
        async with lock:  # one fills, the others wait for it and find the mark
            mark = await asyncio.to_thread(online_rows.find_mark, self._online, namespace)
            return mark or await self._fill(view, namespace, snapshots)

    async def _fill(self, view: FeatureView, namespace: str, snapshots: Mapping[str, int]) -> online_rows.Mark:
        rows = await self._rows(view, snapshots)
        snapshot_id = snapshots[view.table]
        count = await asyncio.to_thread(online_rows.fill, self._online, namespace, view, rows, snapshot_id)

        def keep(tx: Tx) -> str:
            former = MATERIALIZATIONS.find(tx.connection, view.project, view.name)
            MATERIALIZATIONS.put(
                tx,
                Materialization(
                    project=view.project,
                    name=view.name,
                    namespace=namespace,
                    snapshot_id=snapshot_id,
                    entities=count,
                    at_us=tx.now_us,
                ),
            )
            return former.namespace if former and former.namespace != namespace else ""

        former = await self._database.write(keep)
        if former:
            await asyncio.to_thread(self._online.drop, former)
        mark = await asyncio.to_thread(online_rows.find_mark, self._online, namespace)
        if mark is None:
            raise Refused(
                f"the online store did not keep view {view.name!r} ({count:,} entities).",
                fix="Give it more memory, or set SILL_ONLINE_URL.",
            )
        return mark


def _holder(connection: Connection, project: str, table: str) -> str:
    """Which view is declared on a table, for the lake to ask before it deletes one."""
    return ", ".join(f"feature view {view.name!r}" for view in VIEWS.every(connection, project, table=table))


def _declare(tx: Tx, actor: Actor, view: FeatureView) -> FeatureView:
    current = VIEWS.find(tx.connection, view.project, view.name)
    if current is None:
        kept = VIEWS.create(tx, view)
    elif msgspec.structs.replace(view, revision=current.revision) == current and view.revision in (0, current.revision):
        return current
    else:
        kept = VIEWS.replace(tx, view, expected_revision=view.revision or current.revision)
    tx.emit("view.declared", view.project, view.name, actor.id, table=view.table, revision=kept.revision)
    return kept
