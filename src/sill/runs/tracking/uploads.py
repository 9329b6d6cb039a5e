"""Large artifacts uploaded in pieces, in any order and at once: begun, filled, completed or given up.

Each piece is a blob, and known by its digest; the last step puts them together without holding them in memory. What was
begun and neither completed nor given up is forgotten after a day, when its project begins the next one.
"""

import asyncio
from collections.abc import AsyncIterator

from msgspec.structs import replace
from sqlalchemy import Connection

from sill.core.actors import Actor
from sill.core.clock import Ids
from sill.core.errors import Conflict, InvalidValue, Limited, NotFound
from sill.governance.rules import require
from sill.runs.tracking.artifacts import ARTIFACT_BYTES_MAX, Artifacts, pieces
from sill.runs.types import Artifact, Part, Upload
from sill.safety.paths import check_relative
from sill.stores.blobs.port import Blobs
from sill.stores.blobs.sweeping import Sweeper, check_not_swept, let_go
from sill.stores.database import Database, Documents, Tx

UPLOADS: Documents[Upload] = Documents("artifact_uploads", Upload, key="id", columns=("owner",), noun="upload")
PARTS_MAX = 10_000
OPEN_MAX = 1_000
"""Uploads that are open in a project at once."""
KEPT_US = 24 * 3_600 * 1_000_000


class Uploads:
    """Uploads in pieces, of all projects."""

    def __init__(self, database: Database, blobs: Blobs, ids: Ids, artifacts: Artifacts, sweeper: Sweeper) -> None:
        self._database = database
        self._blobs = blobs
        self._ids = ids
        self._artifacts = artifacts
        self._sweeper = sweeper

    async def begin(self, actor: Actor, project: str, owner: str, path: str, parts: int) -> Upload:
        """Begin an upload of so many pieces.

        Raises:
            InvalidValue: the path is not allowed, or there are too many pieces.
            NotFound: there is no such owner.
            Limited: too many uploads are open.
        """
        require(actor, "runs:write", project)
        check_relative(path)
        if not 1 <= parts <= PARTS_MAX:
            raise InvalidValue(f"{parts} parts are not within 1 to {PARTS_MAX}.", field="num_parts")
        upload = Upload(
            id=self._ids.new("up"), project=project, owner=owner, path=path, parts_expected=parts, actor=actor.id
        )

        def keep(tx: Tx) -> tuple[Upload, tuple[str, ...]]:
            self._artifacts.check(tx.connection, actor, project, owner, path)
            old = [one for one in UPLOADS.every(tx.connection, project) if one.created_us < tx.now_us - KEPT_US]
            unused = tuple(digest for one in old for digest in _drop(tx, one))
            if UPLOADS.count(tx.connection, project) >= OPEN_MAX:
                raise Limited(f"{OPEN_MAX} uploads are open in the project.", fix="Complete some, or give them up.")
            return UPLOADS.create(tx, replace(upload, created_us=tx.now_us)), unused

        begun, unused = await self._database.write(keep)
        await self._sweeper.sweep(unused)
        return begun

    async def put_part(
        self, actor: Actor, project: str, upload_id: str, number: int, body: AsyncIterator[bytes]
    ) -> Part:
        """Keep one piece; one of the same number is replaced. Pieces are numbered from 1."""
        require(actor, "runs:write", project)
        upload = await self._database.read(lambda connection: _own(connection, actor, project, upload_id))
        if not 1 <= number <= upload.parts_expected:
            raise InvalidValue(f"part {number} is not within 1 to {upload.parts_expected}.", field="part_number")
        since_us = self._database.clock.now_us()
        digest, size = await self._blobs.put_stream(body, ARTIFACT_BYTES_MAX)
        part = Part(number=number, digest=digest, size_bytes=size)

        def keep(tx: Tx) -> tuple[str, ...]:
            check_not_swept(tx.connection, (digest,), since_us)
            found = _own(tx.connection, actor, project, upload_id)
            replaced = {one.digest for one in found.parts if one.number == number} - {digest}
            parts = (*(one for one in found.parts if one.number != number), part)
            UPLOADS.replace(tx, replace(found, parts=parts))
            return let_go(tx, replaced)

        await self._sweeper.sweep(await self._database.write(keep))
        return part

    async def complete(
        self, actor: Actor, project: str, upload_id: str, path: str, named: tuple[tuple[int, str], ...]
    ) -> Artifact:
        """Put the pieces together.

        Args:
            path: what the upload was begun for.
            named: number and digest of each piece, as the client knows them.
        Raises:
            Conflict: a piece is missing, or is another than the client says.
            TooLarge: together they are.
        """
        require(actor, "runs:write", project)
        upload = await self._database.read(lambda connection: _own(connection, actor, project, upload_id))
        parts = _whole(upload, path, named)
        since_us = self._database.clock.now_us()
        if len(parts) == 1:
            digest, size = parts[0].digest, parts[0].size_bytes
        else:
            digest, size = await self._blobs.put_stream(self._joined(parts), ARTIFACT_BYTES_MAX)
        made = await self._artifacts.keep(
            actor, project, upload.owner, Artifact(path=upload.path, size_bytes=size, digest=digest), since_us
        )
        await self._drop(actor, project, upload_id)
        return made

    async def abort(self, actor: Actor, project: str, upload_id: str) -> None:
        """Give an upload up, and free its pieces."""
        require(actor, "runs:write", project)
        await self._drop(actor, project, upload_id)

    async def _drop(self, actor: Actor, project: str, upload_id: str) -> None:
        unused = await self._database.write(lambda tx: _drop(tx, _own(tx.connection, actor, project, upload_id)))
        await self._sweeper.sweep(unused)

    async def _joined(self, parts: list[Part]) -> AsyncIterator[bytes]:
        for part in parts:
            async for piece in pieces(await asyncio.to_thread(self._blobs.open, part.digest), part.size_bytes):
                yield piece


def forget_owner(tx: Tx, project: str, owner: str) -> set[str]:
    """Remove the uploads that were begun for an owner that is gone; digests of their pieces."""
    found = UPLOADS.every(tx.connection, project, owner=owner)
    for upload in found:
        UPLOADS.delete(tx, project, upload.id)
    return {part.digest for upload in found for part in upload.parts}


def _own(connection: Connection, actor: Actor, project: str, upload_id: str) -> Upload:
    """The upload, to the one who began it; to everybody else there is none.

    Raises:
        NotFound: absent, or somebody else's.
    """
    found = UPLOADS.find(connection, project, upload_id)
    if found is None or found.actor != actor.id:
        raise NotFound(f"no upload {upload_id[:80]!r} in project {project!r}.", fix="Begin a new one.")
    return found


def _whole(upload: Upload, path: str, named: tuple[tuple[int, str], ...]) -> list[Part]:
    """All pieces in order.

    Raises:
        InvalidValue: the upload was begun for another path.
        Conflict: a piece is missing, or is another than the client says.
    """
    if path != upload.path:
        raise InvalidValue("the upload was begun for another path.", fix="Name the same.", field="path")
    parts = sorted(upload.parts, key=lambda part: part.number)
    if [(part.number, part.digest) for part in parts] != sorted(named) or len(parts) != upload.parts_expected:
        raise Conflict(
            f"{len(parts)} of {upload.parts_expected} parts of {path[:80]!r} came, {len(named)} were named, or one differs.",
            fix="Send the missing parts again; name each with the ETag it was answered with.",
        )
    return parts


def _drop(tx: Tx, upload: Upload) -> tuple[str, ...]:
    """Forget an upload; the digests of its pieces that nothing else holds."""
    UPLOADS.delete(tx, upload.project, upload.id)
    return let_go(tx, {part.digest for part in upload.parts})
