"""Use cases of artifacts: files that runs, logged models, traces and projects keep, in one place.

Bytes are blobs, kept once whoever they belong to; this is the index that says whose they are. Whether an owner exists,
and who may write to it, is asked of the stage that keeps it (`on_owner`).
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import BinaryIO

from sqlalchemy import Connection

from sill.core.actors import Actor
from sill.core.errors import InvalidValue, NotFound, RangeInvalid, Refused
from sill.core.names import check_id, shorten
from sill.governance.rules import require
from sill.runs import rules
from sill.runs import store as runs
from sill.runs.tracking import artifact_store as store
from sill.runs.tracking.places import ROOT, Place, place_of
from sill.runs.types import Artifact, ArtifactEntry, ArtifactsDeleted, ByteRange
from sill.safety.paths import check_relative
from sill.stores.blobs.port import Blobs
from sill.stores.blobs.sweeping import Sweeper, check_not_swept, let_go
from sill.stores.database import Database, Page, Tx

ARTIFACT_BYTES_MAX = 64 * 1024**3
ARTIFACTS_MAX = 10_000
"""Most artifacts of one run, logged model or trace."""
ROOT_ARTIFACTS_MAX = 1_000_000
PAGE_MAX = 1_000
CHUNK_BYTES = 1024 * 1024
RUN = "run-"
OwnerCheck = Callable[[Connection, Actor, str, str, bool], None]
"""Asked before an owner's artifacts are read or changed: (connection, actor, project, owner, whether it is a change).

Raises NotFound if there is no such owner, and whatever forbids the change."""


class Artifacts:
    """Artifacts of all projects."""

    def __init__(self, database: Database, blobs: Blobs, sweeper: Sweeper) -> None:
        self._database = database
        self._blobs = blobs
        self._sweeper = sweeper
        self._checks: dict[str, OwnerCheck] = {RUN: _check_run, ROOT: _check_root}

    def on_owner(self, prefix: str, check: OwnerCheck) -> None:
        """Let another stage answer for the owners whose ids begin so."""
        self._checks[prefix] = check

    async def put(self, actor: Actor, project: str, owner: str, path: str, body: AsyncIterator[bytes]) -> Artifact:
        """Keep a file under a path; one that is there already is replaced, and its bytes freed.

        Raises:
            InvalidValue: the path is not allowed, or a folder or file is in its way.
            NotFound: there is no such owner.
            TooLarge: more than 64 GiB.
            Refused: the owner has too many artifacts.
        """
        require(actor, "runs:write", project)
        check_relative(path)
        await self._database.read(lambda connection: self.check(connection, actor, project, owner, path))
        since_us = self._database.clock.now_us()
        digest, size = await self._blobs.put_stream(body, ARTIFACT_BYTES_MAX)
        return await self.keep(actor, project, owner, Artifact(path=path, size_bytes=size, digest=digest), since_us)

    async def keep(self, actor: Actor, project: str, owner: str, artifact: Artifact, since_us: int) -> Artifact:
        """Keep bytes that became a blob after `since_us` under a path. Errors as `put`.

        Raises:
            Conflict: the last thing that held the same bytes was deleted meanwhile; send them again.
        """

        def work(tx: Tx) -> tuple[str, ...]:
            check_not_swept(tx.connection, (artifact.digest,), since_us)
            self.check(tx.connection, actor, project, owner, artifact.path)
            replaced = store.keep(tx, project, owner, artifact)
            facts = {"path": artifact.path, "digest": artifact.digest, "size_bytes": artifact.size_bytes}
            tx.emit("run.artifact_kept", project, owner or project, actor.id, **facts)
            return let_go(tx, {replaced} - {""})

        await self._sweeper.sweep(await self._database.write(work))
        return artifact

    def check(self, connection: Connection, actor: Actor, project: str, owner: str, path: str) -> None:
        """Returns if a file may be kept at the path. Errors as `put`."""
        self._check_owner(connection, actor, project, owner, is_change=True)
        most = ARTIFACTS_MAX if owner else ROOT_ARTIFACTS_MAX
        if store.count(connection, project, owner) >= most:
            raise Refused(f"{owner or project} has {most} artifacts; no more are kept.", fix="Pack some together.")
        if found := store.in_the_way(connection, project, owner, path):
            raise InvalidValue(
                f"path {shorten(path)!r} cannot be a file: {shorten(found)!r} is one.",
                fix="Choose another path.",
                field="path",
            )

    async def list(
        self, actor: Actor, project: str, owner: str, *, under: str = "", after: str = "", limit: int = PAGE_MAX
    ) -> Page[Artifact]:
        """All artifacts of an owner in the order of their paths; `under` one folder only."""
        require(actor, "runs:read", project)
        if under:
            check_relative(under)
        if not 1 <= limit <= PAGE_MAX:
            raise InvalidValue(f"limit {limit} is not within 1 to {PAGE_MAX}.", field="limit")

        def work(connection: Connection) -> Page[Artifact]:
            self._check_owner(connection, actor, project, owner)
            found = store.listed(connection, project, owner, under=under, after=after, limit=limit + 1)
            return Page(items=tuple(found[:limit]), next=found[limit - 1].path if len(found) > limit else "")

        return await self._database.read(work)

    async def children(self, actor: Actor, project: str, owner: str, folder: str = "") -> tuple[ArtifactEntry, ...]:
        """Files and folders right in a folder; nothing of a folder that is not there."""
        require(actor, "runs:read", project)
        if folder:
            check_relative(folder)

        def work(connection: Connection) -> tuple[ArtifactEntry, ...]:
            self._check_owner(connection, actor, project, owner)
            return tuple(store.children(connection, project, owner, folder, ARTIFACTS_MAX))

        return await self._database.read(work)

    async def find(self, actor: Actor, project: str, owner: str, path: str) -> Artifact:
        """Where an artifact's bytes are, and how many.

        Raises:
            NotFound: there is none at that path.
        """
        require(actor, "runs:read", project)
        check_relative(path)

        def work(connection: Connection) -> Artifact:
            self._check_owner(connection, actor, project, owner)
            found = store.find(connection, project, owner, path)
            if found is None:
                raise NotFound(f"no artifact {shorten(path)!r} of {owner or project}.", fix="List its artifacts.")
            return found

        return await self._database.read(work)

    async def open(self, artifact: Artifact, part: ByteRange | None = None) -> AsyncIterator[bytes]:
        """The bytes of an artifact that `find` found, or a part of them; verified before the first is handed out.

        Raises:
            RangeInvalid: the part does not lie within the file.
            Damaged: the stored bytes are not those that were kept.
        """
        if part is None:
            return pieces(await asyncio.to_thread(self._blobs.open, artifact.digest), artifact.size_bytes)
        if not 0 <= part.start < part.end <= artifact.size_bytes:
            raise RangeInvalid(f"bytes {part.start} to {part.end} are not within {artifact.size_bytes}.", field="range")
        file = await asyncio.to_thread(self._blobs.open_range, artifact.digest, part.start, part.end)
        return pieces(file, part.end - part.start)

    async def delete(
        self, actor: Actor, project: str, owner: str, path: str = "", *, is_missing_ok: bool = False
    ) -> ArtifactsDeleted:
        """Delete a file, a folder, or all artifacts of an owner, and free what nothing else uses.

        Args:
            is_missing_ok: nothing at that path is no error.
        Raises:
            NotFound: there is nothing at that path.
        """
        require(actor, "runs:write", project)
        if path:
            check_relative(path)
        elif owner == ROOT:
            raise InvalidValue("the root of a project's artifacts cannot be deleted.", fix="Name a file or folder.")

        def work(tx: Tx) -> tuple[int, tuple[str, ...]]:
            self._check_owner(tx.connection, actor, project, owner, is_change=True)
            before = store.count(tx.connection, project, owner)
            digests = store.forget(tx, project, owner, path)
            if path and not digests and not is_missing_ok:
                raise NotFound(f"no artifact {shorten(path)!r} of {owner or project}.", fix="List its artifacts.")
            files = before - store.count(tx.connection, project, owner)
            tx.emit("run.artifacts_deleted", project, owner or project, actor.id, path=path, files=files)
            return files, let_go(tx, digests)

        files, unused = await self._database.write(work)
        return ArtifactsDeleted(files=files, bytes_freed=await self._sweeper.sweep(unused))

    async def excerpt(self, project: str, path: str, bytes_max: int) -> bytes | None:
        """The file at a path of the artifact proxy, for other stages; None if there is none, or a larger one."""
        found = await self._at(project, path)
        if found is None or found.size_bytes > bytes_max:
            return None
        return await asyncio.to_thread(self._blobs.get, found.digest)

    async def digest(self, project: str, path: str) -> str:
        """The blob of the file at a path of the artifact proxy, for other stages; empty if there is none."""
        found = await self._at(project, path)
        return "" if found is None else found.digest

    async def digests(self, project: str, folder: str, count_max: int) -> dict[str, str]:
        """The blobs of the files below a folder of the artifact proxy, by their paths from there; the first so many."""
        place = place_of(folder)
        if not isinstance(place, Place):
            return {}
        owner, under = place
        found = await self._database.read(
            lambda connection: store.listed(connection, project, owner, under=under, limit=count_max)
        )
        start = len(under) + 1 if under else 0
        return {one.path[start:]: one.digest for one in found}

    async def _at(self, project: str, path: str) -> Artifact | None:
        place = place_of(path)
        if not isinstance(place, Place):
            return None
        return await self._database.read(lambda connection: store.find(connection, project, *place))

    def _check_owner(
        self, connection: Connection, actor: Actor, project: str, owner: str, *, is_change: bool = False
    ) -> None:
        prefix = owner[: owner.index("-") + 1] if "-" in owner else ROOT
        if prefix not in self._checks or (prefix == ROOT and owner):
            raise NotFound(f"nothing with the id {shorten(owner)!r} in project {project!r}.", fix="Check the id.")
        self._checks[prefix](connection, actor, project, owner, is_change)


async def pieces(file: BinaryIO, size_bytes: int = ARTIFACT_BYTES_MAX) -> AsyncIterator[bytes]:
    """The file's bytes from where it stands on, at most so many, a MiB at a time; it is closed at the end."""
    with file:
        left = size_bytes
        while left and (piece := await asyncio.to_thread(file.read, min(left, CHUNK_BYTES))):
            left -= len(piece)
            yield piece


def _check_run(connection: Connection, actor: Actor, project: str, owner: str, is_change: bool) -> None:
    run = runs.check_exists(connection, project, check_id(owner, "run_id"))
    if is_change:
        rules.check_own(actor, run)
        runs.check_active(run)


def _check_root(_connection: Connection, actor: Actor, project: str, _owner: str, is_change: bool) -> None:
    """What belongs to the project itself is open to all who may touch the project's runs."""
    require(actor, "runs:write" if is_change else "runs:read", project)
