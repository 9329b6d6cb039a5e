"""Uploads, reading of sources, and declared ingestions. What is read goes into a table elsewhere (`lake`)."""

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol
from urllib.parse import quote

import msgspec

from sill.core.actors import PLATFORM, Actor
from sill.core.errors import InvalidValue, NotFound, SillError
from sill.core.settings import Settings
from sill.governance.rules import require
from sill.safety.addresses import PORTS, Allowed
from sill.safety.outbound import Outbound
from sill.sources.alignment import stack
from sill.sources.databases import PORTS as DATABASE_PORTS
from sill.sources.failures import check_size
from sill.sources.fetching import Fetcher
from sill.sources.limits import DEFAULT_LIMITS, ReadLimits
from sill.sources.reading import read_source
from sill.sources.rules import check_file_name, check_ingestion, check_source
from sill.sources.store import INGESTIONS, UPLOADS, UploadRecord
from sill.sources.types import IngestionSpec, Preview, PreviewColumn, Source, Upload
from sill.sources.unify import Unified, settle
from sill.stores.blobs.port import Blobs
from sill.stores.database import Database, Page, Tx

if TYPE_CHECKING:
    import pyarrow as pa

PREVIEW_ROWS_MAX = 1_000
PREVIEW_CELL_LENGTH_MAX = 2_000


class Secrets(Protocol):
    """Where the value of a secret comes from."""

    async def secret(self, actor: Actor, project: str, name: str) -> str:
        """The value, for the platform only."""
        ...


class Sources:
    """The only place that decides what is read, and for whom."""

    def __init__(
        self,
        database: Database,
        blobs: Blobs,
        outbound: Outbound,
        governance: Secrets,
        settings: Settings,
        *,
        limits: ReadLimits = DEFAULT_LIMITS,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self._database = database
        self._blobs = blobs
        self._outbound = outbound
        self._secrets = governance
        self._settings = settings
        self._limits = limits
        self._environ = environ
        self._allowed = Allowed(settings.outbound_allow, PORTS | DATABASE_PORTS)

    async def upload(self, actor: Actor, project: str, name: str, body: AsyncIterator[bytes]) -> Upload:
        """Keep a file that a client sends; the same content is kept once.

        Raises:
            InvalidValue: the name is not allowed, or the file is empty.
            TooLarge: it is longer than `upload_bytes_max`.
        """
        require(actor, "data:write", project)
        check_file_name(name)
        digest, size_bytes = await self._blobs.put_stream(body, self._settings.upload_bytes_max)

        def keep(tx: Tx) -> UploadRecord:
            record = UploadRecord(
                project=project, digest=digest, name=name, size_bytes=size_bytes, created_us=tx.now_us
            )
            tx.emit("source.uploaded", project, digest, actor.id, name=name, size_bytes=size_bytes)
            return UPLOADS.put(tx, record)

        await self._database.write(keep)
        return Upload(digest=digest, name=name, size_bytes=size_bytes, url=f"upload://{digest}/{quote(name, safe='')}")

    def read(self, actor: Actor, project: str, source: Source) -> "pa.Table":
        """The rows of a source in our form, with `_source` and `_source_row`. Blocks: call it in a thread.

        Raises:
            InvalidValue: what the source holds cannot be taken; the message says where and why.
            UnsupportedType: a kind of file that is not read.
            TooLarge, NotFound, Forbidden, Unavailable: as the way there says.
        """
        _require_secret(actor, project, source)
        return self._read(actor, project, source).table

    def gather(self, actor: Actor, project: str, spec: IngestionSpec) -> "pa.Table":
        """The rows of all sources of an ingestion, aligned by column name. Blocks: call it in a thread."""
        require(actor, "data:read", project)
        if not spec.sources:
            raise InvalidValue(
                f"ingestion {spec.name!r} has no sources; it runs function {spec.function!r}.", fix="Start it as a run."
            )
        tables: list[pa.Table] = []
        for source in spec.sources:
            # Who declared the ingestion had the right to its secrets; who executes it need not.
            tables.append(self._read(actor, project, source).table)
            check_size(f"ingestion {spec.name}", sum(table.nbytes for table in tables), self._limits)
        return settle(_meta_last(stack(tables)))

    async def preview(self, actor: Actor, project: str, source: Source, rows: int = 20) -> Preview:
        """The first rows of a source, its columns, and what was unified.

        Raises:
            InvalidValue: `rows` is out of range; else as `read`.
        """
        if not 1 <= rows <= PREVIEW_ROWS_MAX:
            raise InvalidValue(f"rows {rows} is not within 1 to {PREVIEW_ROWS_MAX}.", field="rows")
        _require_secret(actor, project, source)
        unified = await asyncio.to_thread(self._read, actor, project, source)
        return await asyncio.to_thread(_to_preview, unified, rows)

    async def declare(self, actor: Actor, spec: IngestionSpec) -> IngestionSpec:
        """Keep an ingestion; the same declaration again changes nothing.

        Raises:
            InvalidValue: it could not be executed.
            Conflict: `spec.revision` is given and is not the current one.
        """
        require(actor, "data:write", spec.project)
        check_ingestion(spec)
        for source in spec.sources:
            _require_secret(actor, spec.project, source)
        return await self._database.write(lambda tx: _declare(tx, actor, spec))

    async def ingestion(self, actor: Actor, project: str, name: str) -> IngestionSpec:
        """The declared ingestion.

        Raises:
            NotFound: there is none of the name.
        """
        require(actor, "data:read", project)
        return await self._database.read(lambda connection: INGESTIONS.get(connection, project, name))

    async def ingestions(self, actor: Actor, project: str, *, after: str = "", limit: int = 100) -> Page[IngestionSpec]:
        """Declared ingestions by name."""
        require(actor, "data:read", project)
        return await self._database.read(lambda c: INGESTIONS.page(c, project, after=after, limit=limit))

    async def delete_ingestion(self, actor: Actor, project: str, name: str) -> None:
        """Forget an ingestion; what it read stays in its table.

        Raises:
            NotFound: there is none of the name.
        """
        require(actor, "data:write", project)

        def remove(tx: Tx) -> None:
            INGESTIONS.delete(tx, project, name)
            tx.emit("ingestion.deleted", project, name, actor.id)

        await self._database.write(remove)

    def _read(self, actor: Actor, project: str, source: Source) -> Unified:
        require(actor, "data:read", project)
        check_source(source)
        secret = asyncio.run(self._secrets.secret(PLATFORM, project, source.secret)) if source.secret else ""
        folder = self._settings.home / "tmp"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="source-", dir=folder) as workspace:
            fetcher = Fetcher(
                Path(workspace),
                lambda digest: self._open_upload(project, digest),
                self._outbound,
                self._limits,
                self._environ,
                self._settings.blob_url,
            )
            try:
                return _located(source, read_source(source, secret, fetcher, self._allowed, self._limits))
            except SillError as wrong:
                if not secret:
                    raise
                raise redacted(wrong, secret) from None

    def _open_upload(self, project: str, digest: str) -> BinaryIO:
        if self._database.read_sync(lambda connection: UPLOADS.find(connection, project, digest)) is None:
            raise NotFound(f"no upload {digest} in project {project!r}.", fix="Upload the file again.")
        return self._blobs.open(digest)


def _located(source: Source, unified: Unified) -> Unified:
    """For an upload, `_source` as `upload://DIGEST/NAME`: a name alone would not say which bytes the rows came from."""
    if not source.url.startswith("upload://"):
        return unified
    import pyarrow as pa
    import pyarrow.compute as pc

    place = unified.table.schema.get_field_index("_source")
    upload = source.url.rpartition("/")[0]
    full = pc.binary_join_element_wise(pa.scalar(upload), unified.table.column(place), "/")
    return unified._replace(table=unified.table.set_column(place, "_source", full))


def redacted(wrong: SillError, secret: str) -> SillError:
    """The error without the secret, however an address spells it and wherever a message was cut off."""
    message, fix = wrong.message, wrong.fix
    for spelled in sorted({secret, quote(secret, safe=""), quote(secret)}, key=len, reverse=True):
        for known in (spelled, *(f"{spelled[:length]}…" for length in range(len(spelled) - 1, 0, -1))):
            message, fix = message.replace(known, "{secret}"), fix.replace(known, "{secret}")
    return type(wrong)(message, fix=fix, field=wrong.field)


def _require_secret(actor: Actor, project: str, source: Source) -> None:
    """Naming a secret in an address sends it there, so it takes the right to the project's secrets."""
    if source.secret:
        require(actor, "secrets:read", project)


def _declare(tx: Tx, actor: Actor, spec: IngestionSpec) -> IngestionSpec:
    current = INGESTIONS.find(tx.connection, spec.project, spec.name)
    if current is None:
        kept = INGESTIONS.create(tx, spec)
    elif msgspec.structs.replace(spec, revision=current.revision) == current and spec.revision in (0, current.revision):
        return current
    else:
        kept = INGESTIONS.replace(tx, spec, expected_revision=spec.revision or current.revision)
    tx.emit("ingestion.declared", spec.project, spec.name, actor.id, table=spec.table, every=spec.every)
    return kept


def _meta_last(table: "pa.Table") -> "pa.Table":
    names = [name for name in table.column_names if name not in ("_source", "_source_row")]
    return table.select([*names, "_source", "_source_row"])


def _to_preview(unified: Unified, rows: int) -> Preview:
    table = unified.table
    originals = {new: old for old, new in unified.names.items()}
    columns = tuple(
        PreviewColumn(
            name=field.name,
            type=str(field.type),
            original=originals.get(field.name, ""),
            missing=table.column(field.name).null_count,
        )
        for field in table.schema
    )
    first = tuple({name: _json(value) for name, value in row.items()} for row in table.slice(0, rows).to_pylist())
    return Preview(columns=columns, rows=first, rows_total=table.num_rows, notes=unified.notes)


def _json(value: Any) -> Any:
    """A value as JSON can carry it, cut where a preview needs no more."""
    if isinstance(value, str):
        return value[:PREVIEW_CELL_LENGTH_MAX]
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    if isinstance(value, list):
        return value[:100]
    return value if value is None or isinstance(value, bool | int | float) else msgspec.to_builtins(value)
