"""Use cases of tracking: log a batch, read it back, keep and hand out artifacts."""

import asyncio
from collections.abc import AsyncIterator
from typing import BinaryIO

from sqlalchemy import Connection

from sill.core.actors import Actor
from sill.core.clock import Clock
from sill.core.errors import InvalidValue, NotFound, Refused
from sill.core.names import check_id, shorten
from sill.governance.rules import require
from sill.runs import rules
from sill.runs.store import check_exists
from sill.runs.tracking import store
from sill.runs.tracking.rules import STEP_MAX, check_batch, check_key
from sill.runs.types import Artifact, Batch, Logged, Metric, Run, RunData
from sill.safety.paths import check_relative
from sill.stores.blobs.port import Blobs
from sill.stores.database import Database, Page, Tx

ARTIFACT_BYTES_MAX = 4 * 1024**3
ARTIFACTS_MAX = 10_000
HISTORY_MAX = 25_000
PAGE_MAX = 1_000
CHUNK_BYTES = 1024 * 1024


class Tracking:
    """What runs log, of all projects."""

    def __init__(self, database: Database, blobs: Blobs, clock: Clock) -> None:
        self._database = database
        self._blobs = blobs
        self._clock = clock

    async def log(self, actor: Actor, project: str, run_id: str, batch: Batch, key: str = "") -> Logged:
        """Keep metrics, params and tags together, or nothing of them.

        Raises:
            InvalidValue: one is outside its limits.
            Conflict: a param has another value already.
        """
        require(actor, "runs:write", project)
        check_batch(batch)

        def work(tx: Tx) -> Logged:
            self._writable(tx.connection, actor, project, run_id)
            store.log(tx, project, run_id, batch)
            return Logged(metrics=len(batch.metrics), params=len(batch.params), tags=len(batch.tags))

        if not key:
            return await self._database.write(work)
        return await self._database.write_once(key, [project, run_id, batch], Logged, work)

    async def data(self, actor: Actor, project: str, run_id: str) -> RunData:
        """Last value of each metric, params and tags."""
        require(actor, "runs:read", project)

        def work(connection: Connection) -> RunData:
            check_exists(connection, project, check_id(run_id))
            return store.data(connection, project, run_id)

        return await self._database.read(work)

    async def history(
        self, actor: Actor, project: str, run_id: str, metric: str, after_step: int = -STEP_MAX - 1, limit: int = 1_000
    ) -> tuple[Metric, ...]:
        """Points of one metric behind a step, in order. Ask again after the last step, until nothing comes."""
        require(actor, "runs:read", project)
        check_key(metric, "key")
        if not 1 <= limit <= HISTORY_MAX:
            raise InvalidValue(f"limit {limit} is not within 1 to {HISTORY_MAX}.", field="limit")

        def work(connection: Connection) -> tuple[Metric, ...]:
            check_exists(connection, project, check_id(run_id))
            return store.history(connection, project, run_id, metric, after_step, limit)

        return await self._database.read(work)

    async def put_artifact(
        self, actor: Actor, project: str, run_id: str, path: str, body: AsyncIterator[bytes]
    ) -> Artifact:
        """Keep a file under a path; one that is there already is replaced.

        Raises:
            InvalidValue: the path is not allowed.
            TooLarge: more than 4 GiB.
            Refused: the run has too many artifacts.
        """
        require(actor, "runs:write", project)
        check_relative(path)
        await self._database.read(lambda connection: self._writable(connection, actor, project, run_id))
        digest, size = await self._blobs.put_stream(body, ARTIFACT_BYTES_MAX)
        artifact = Artifact(path=path, size_bytes=size, digest=digest)

        def work(tx: Tx) -> Artifact:
            run = self._writable(tx.connection, actor, project, run_id)
            if store.count_artifacts(tx.connection, project, run_id) >= ARTIFACTS_MAX:
                raise Refused(
                    f"run {run_id} has {ARTIFACTS_MAX} artifacts; no more are kept.", fix="Pack some together."
                )
            store.keep_artifact(tx, project, run_id, artifact)
            tx.emit("run.artifact_kept", project, run.id, actor.id, path=path, digest=digest, size_bytes=size)
            return artifact

        return await self._database.write(work)

    async def artifacts(
        self, actor: Actor, project: str, run_id: str, *, under: str = "", after: str = "", limit: int = 1_000
    ) -> Page[Artifact]:
        """A run's artifacts in the order of their paths; `under` one folder only."""
        require(actor, "runs:read", project)
        if under:
            check_relative(under)
        if not 1 <= limit <= PAGE_MAX:
            raise InvalidValue(f"limit {limit} is not within 1 to {PAGE_MAX}.", field="limit")

        def work(connection: Connection) -> Page[Artifact]:
            check_exists(connection, project, check_id(run_id))
            found = store.find_artifacts(connection, project, run_id, under=under, after=after, limit=limit + 1)
            return Page(items=tuple(found[:limit]), next=found[limit - 1].path if len(found) > limit else "")

        return await self._database.read(work)

    async def open_artifact(
        self, actor: Actor, project: str, run_id: str, path: str
    ) -> tuple[Artifact, AsyncIterator[bytes]]:
        """An artifact and its bytes, verified before the first is handed out.

        Raises:
            NotFound: there is none at that path.
            Damaged: the stored bytes are not those that were kept.
        """
        require(actor, "runs:read", project)
        check_relative(path)

        def work(connection: Connection) -> Artifact:
            check_exists(connection, project, check_id(run_id))
            found = store.find_artifact(connection, project, run_id, path)
            if found is None:
                raise NotFound(f"run {run_id} has no artifact {shorten(path)!r}.", fix="List its artifacts.")
            return found

        artifact = await self._database.read(work)
        file = await asyncio.to_thread(self._blobs.open, artifact.digest)
        return artifact, pieces(file)

    def _writable(self, connection: Connection, actor: Actor, project: str, run_id: str) -> Run:
        run = check_exists(connection, project, check_id(run_id))
        rules.check_own(actor, run)
        return run


async def pieces(file: BinaryIO) -> AsyncIterator[bytes]:
    """The file's bytes, a MiB at a time; it is closed at the end."""
    with file:
        while piece := await asyncio.to_thread(file.read, CHUNK_BYTES):
            yield piece
