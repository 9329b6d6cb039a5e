"""The registry: registers versions behind the gate, keeps aliases, hands out verified files."""

import asyncio
from typing import BinaryIO

from msgspec.structs import replace

from sill.core.actors import PLATFORM, Actor
from sill.core.clock import Clock
from sill.core.errors import Conflict, Damaged, Forbidden, InvalidValue, NotFound, Refused
from sill.core.names import check_name
from sill.governance.rules import require
from sill.governance.service import Governance
from sill.models import manifest, registration
from sill.models.bundle import CARD_FILE, check_sizes, check_spec, runtime_of
from sill.models.deletion import Deletions, Holder
from sill.models.rules import CHAMPION
from sill.models.store import (
    MODELS,
    VERSIONS,
    champion_of,
    drop_model,
    newest_accepted,
    version_id,
    versions_page,
)
from sill.models.types import (
    MANIFEST_FILE,
    AliasChange,
    Approval,
    Freed,
    ModelVersion,
    RegisteredModel,
    VersionSpec,
    VersionState,
)
from sill.safety.formats import check_onnx
from sill.safety.signing import Signer
from sill.stores.blobs import Blobs
from sill.stores.blobs.sweeping import Sweeper, check_not_swept, let_go
from sill.stores.database import Connection, Database, Page, Tx

ALIASES_MAX = 50


class Models:
    """Registered models of all projects."""

    def __init__(self, database: Database, blobs: Blobs, clock: Clock, signer: Signer, governance: Governance) -> None:
        self._database = database
        self._governance = governance
        self._blobs = blobs
        self._clock = clock
        self._signer = signer
        self._public_key = signer.public_key_pem()
        self.deletions = Deletions(Sweeper(database, blobs))

    def public_key_pem(self) -> str:
        """The key that every manifest is signed with, for those who load bundles."""
        return self._public_key

    def on_delete(self, holder: Holder) -> None:
        """Let a later stage say that it uses a version, so that it is not deleted under it."""
        self.deletions.holders.append(holder)

    async def register(self, actor: Actor, project: str, spec: VersionSpec, key: str = "") -> ModelVersion:
        """A new version: its files checked, its manifest signed, its gate judged, its lineage kept.

        Raises:
            InvalidValue: a name, path, digest, tensor or address is not of the form it must have, or a blob is missing.
            UnsupportedType: a file of a kind or format that is not listed.
            TooLarge: a file or the bundle.
            Forbidden: the bundle carries code, and the actor is no admin of models.
        """
        require(actor, "models:write", project)
        check_name(spec.model, "model")
        check_spec(spec)
        if runtime_of(spec).runs_code:
            require(actor, "models:admin", project)  # code of the project's own, run in a confined process
        registration.check_inputs(actor, project, spec)
        await self._governance.project(PLATFORM, project)
        started_us = self._clock.now_us()
        digest = await asyncio.to_thread(self.sign, spec)

        def keep(tx: Tx) -> ModelVersion:
            check_not_swept(tx.connection, spec.files.values(), started_us)
            return registration.register(tx, actor, project, spec, digest)

        return await self._database.write_once(key, spec, ModelVersion, keep)

    async def model(self, actor: Actor, project: str, name: str) -> RegisteredModel:
        """A registered model."""
        require(actor, "models:read", project)
        return await self._database.read(lambda connection: MODELS.get(connection, project, name))

    async def models(self, actor: Actor, project: str, *, after: str = "", limit: int = 100) -> Page[RegisteredModel]:
        """The models of a project."""
        require(actor, "models:read", project)
        return await self._database.read(lambda connection: MODELS.page(connection, project, after=after, limit=limit))

    async def version(self, actor: Actor, project: str, model: str, version: int) -> ModelVersion:
        """One version."""
        require(actor, "models:read", project)
        return await self._database.read(lambda connection: self.version_in(connection, project, model, version))

    def model_in(self, connection: Connection, project: str, name: str) -> RegisteredModel | None:
        """The model, or None; inside another stage's read or write."""
        return MODELS.find(connection, project, name)

    def version_in(self, connection: Connection, project: str, model: str, version: int) -> ModelVersion:
        """One version, inside another stage's read or write."""
        return VERSIONS.get(connection, project, version_id(model, version))

    def newest_in(self, connection: Connection, project: str, model: str) -> tuple[int, int]:
        """The newest accepted version and the champion, 0 for none; inside another stage's read or write."""
        found = MODELS.find(connection, project, model)
        champion = champion_of(connection, found, CHAMPION) if found is not None else None
        return newest_accepted(connection, project, model), champion.version if champion is not None else 0

    async def versions(
        self, actor: Actor, project: str, model: str, *, after: str = "", limit: int = 100
    ) -> Page[ModelVersion]:
        """Versions of a model, newest first."""
        require(actor, "models:read", project)

        def page(connection: Connection) -> Page[ModelVersion]:
            MODELS.get(connection, project, model)
            return versions_page(connection, project, model, after, limit)

        return await self._database.read(page)

    async def approve(
        self, actor: Actor, project: str, model: str, version: int, approval: Approval, key: str = ""
    ) -> ModelVersion:
        """A person's word on a version that passed its gate and awaits it.

        Raises:
            Forbidden: a run asks, not a person.
            Conflict: the version awaits nobody.
        """
        require(actor, "models:admin", project)
        if actor.run_id:
            raise Forbidden("a run may not approve a model: a person must.", fix="Approve with your own token.")
        reason = approval.reason[: registration.REASON_LENGTH_MAX]

        def decide(tx: Tx) -> ModelVersion:
            found = self.version_in(tx.connection, project, model, version)
            if found.state is not VersionState.AWAITING_APPROVAL:
                raise Conflict(
                    f"version {version} of model {model!r} is {found.state}, it awaits no approval.",
                    fix="Read the version again.",
                )
            state = VersionState.ACCEPTED if approval.approved else VersionState.REJECTED
            word = f"{'approved' if approval.approved else 'refused'} by {actor.id}: {reason or 'no reason given'}"
            report = replace(found.gate_report, reason=word) if found.gate_report else None
            decided = VERSIONS.replace(tx, replace(found, state=state, gate_report=report))
            registration.tell(tx, actor, decided)
            return decided

        return await self._database.write_once(key, [model, version, approval], ModelVersion, decide)

    async def set_alias(
        self, actor: Actor, project: str, model: str, alias: str, change: AliasChange, key: str = ""
    ) -> RegisteredModel:
        """Point an alias to a version; with `expected`, only if it points to that one now.

        Raises:
            Conflict: it points elsewhere.
            Refused: `champion` to a version that was not accepted.
        """
        check_name(alias, "alias")
        return await self.point_alias(actor, project, model, alias, change, key)

    async def point_alias(
        self, actor: Actor, project: str, model: str, alias: str, change: AliasChange, key: str = ""
    ) -> RegisteredModel:
        """`set_alias` for callers whose protocol has its own grammar for aliases, and has checked it."""
        require(actor, "models:write", project)

        def point(tx: Tx) -> RegisteredModel:
            found = MODELS.get(tx.connection, project, model)
            now = found.aliases.get(alias, 0)
            if change.expected is not None and now != change.expected:
                raise Conflict(
                    f"alias {alias!r} of model {model!r} points to version {now}, expected {change.expected}.",
                    fix="Read the model again and repeat the change.",
                    version=now,
                )
            version = self.version_in(tx.connection, project, model, change.version)
            if alias == CHAMPION and version.state not in (VersionState.ACCEPTED, VersionState.TRACKED):
                raise Refused(
                    f"version {change.version} is {version.state}; the champion must be accepted.",
                    fix="Choose an accepted version.",
                )
            return self.set_alias_in(tx, project, model, alias, change.version, actor.id)

        return await self._database.write_once(key, [model, alias, change], RegisteredModel, point)

    def set_alias_in(self, tx: Tx, project: str, model: str, alias: str, version: int, actor: str) -> RegisteredModel:
        """Point an alias to a version inside another stage's transaction."""
        found = MODELS.get(tx.connection, project, model)
        before = found.aliases.get(alias, 0)
        if before == version:
            return found
        if not before and len(found.aliases) >= ALIASES_MAX:
            raise InvalidValue(f"model {model!r} has {ALIASES_MAX} aliases, more are not allowed.", fix="Delete one.")
        changed = MODELS.replace(tx, replace(found, aliases=found.aliases | {alias: version}))
        facts = {"alias": alias, "version": version, "before": before, "prompt": found.is_prompt}
        tx.emit("model.alias_moved", project, model, actor, model=model, **facts)
        return changed

    async def delete_alias(self, actor: Actor, project: str, model: str, alias: str) -> RegisteredModel:
        """Remove an alias; the version stays."""
        require(actor, "models:write", project)

        def remove(tx: Tx) -> RegisteredModel:
            found = MODELS.get(tx.connection, project, model)
            if alias not in found.aliases:
                raise NotFound(f"model {model!r} has no alias {alias!r}.", fix="Read the model again.")
            kept = {name: version for name, version in found.aliases.items() if name != alias}
            facts = {"alias": alias, "version": 0, "prompt": found.is_prompt}
            tx.emit("model.alias_moved", project, model, actor.id, model=model, **facts)
            return MODELS.replace(tx, replace(found, aliases=kept))

        return await self._database.write(remove)

    async def file(self, actor: Actor, project: str, model: str, version: int, path: str) -> bytes:
        """One file of a version, checked against the signed manifest.

        Raises:
            NotFound: the bundle has no such file.
            Damaged: the manifest or the file is not what was registered.
        """
        found = await self.version(actor, project, model, version)
        return await asyncio.to_thread(self.file_of, found, path)

    def file_of(self, version: ModelVersion, path: str) -> bytes:
        """`file` for threads that have the version already."""
        if path == MANIFEST_FILE and version.manifest:
            return self._signed(version)
        digest, name = self._digest_of(version, path)
        return self._blob(digest, name)

    def sign(self, spec: VersionSpec) -> str:
        """Digest of the signed manifest of a version's files, which were looked at before. Blocks; errors as `register`."""
        self._check_files(spec)
        return self._blobs.put_bytes(manifest.make(self._signer, spec.files, self._clock.now_us()))

    def open_file(self, version: ModelVersion, path: str) -> tuple[BinaryIO, int]:
        """A file of a version, open for reading, with its size; errors as `file`. Blocks."""
        digest, name = self._digest_of(version, path)
        try:
            return self._blobs.open(digest), self._blobs.size(digest)
        except (Damaged, NotFound) as wrong:
            raise _damaged(name, digest) from wrong

    def sizes_of(self, version: ModelVersion) -> dict[str, int]:
        """Bytes of each file of a version, with its manifest. Blocks."""
        files = version.spec.files | ({MANIFEST_FILE: version.manifest} if version.manifest else {})
        return {path: self._blobs.size(digest) for path, digest in files.items()}

    def _signed(self, version: ModelVersion) -> bytes:
        """The signed manifest, verified."""
        signed = self._blob(version.manifest, f"file {MANIFEST_FILE!r} of {version.id}")
        manifest.verified(self._public_key, signed, f"{MANIFEST_FILE} of version {version.id}")
        return signed

    def _digest_of(self, version: ModelVersion, path: str) -> tuple[str, str]:
        """The digest that the signed manifest names for a file, and what messages call the file."""
        name = f"file {path!r} of version {version.version} of model {version.model!r}"
        if path not in version.spec.files:
            known = ", ".join(sorted((*version.spec.files, MANIFEST_FILE)))
            told = f"its files are at {version.source}" if version.is_tracked else f"files: {known}"
            raise NotFound(f"there is no {name}; {told}.", fix="Ask for one that is there.")
        files = manifest.verified(self._public_key, self._signed(version), f"{MANIFEST_FILE} of version {version.id}")
        if files.get(path) != version.spec.files[path]:
            raise Damaged(f"{name} is not the one its signed manifest names.", fix="Restore it from a backup.")
        return files[path], name

    async def card(self, actor: Actor, project: str, model: str, version: int) -> str:
        """The model card, Markdown."""
        return (await self.file(actor, project, model, version, CARD_FILE)).decode("utf-8", "replace")

    async def delete_model(self, actor: Actor, project: str, model: str) -> None:
        """Forget a model whose versions were all deleted.

        Raises:
            Conflict: it has versions.
        """
        require(actor, "models:admin", project)

        def remove(tx: Tx) -> None:
            count = VERSIONS.count(tx.connection, project, model=model)
            if count:
                raise Conflict(f"model {model!r} has {count} versions.", fix="Delete them first.")
            drop_model(tx, MODELS.get(tx.connection, project, model))
            tx.emit("model.deleted", project, model, actor.id, model=model)

        await self._database.write(remove)

    async def delete_version(
        self, actor: Actor, project: str, model: str, version: int, *, with_aliases: bool = False
    ) -> Freed:
        """Delete a version, and every blob that only it used.

        Args:
            with_aliases: aliases that point to it go with it; otherwise they hold it.
        Raises:
            Conflict: an alias points to it, or an endpoint uses it.
        """
        require(actor, "models:write", project)

        def remove(tx: Tx) -> tuple[str, ...]:
            found = self.version_in(tx.connection, project, model, version)
            unused = let_go(tx, self.deletions.version(tx, actor, found, with_aliases=with_aliases))
            facts = {"model": model, "version": version, "blobs": len(unused)}
            tx.emit("model.version_deleted", project, found.id, actor.id, **facts)
            return unused

        return await self.deletions.sweep(await self._database.write(remove))

    def _check_files(self, spec: VersionSpec) -> None:
        """Refuses files that were not uploaded, are too large, or are not what their runtime loads. Blocks."""
        files = spec.files
        missing = [path for path, digest in files.items() if not self._blobs.exists(digest)]
        if missing:
            raise InvalidValue(
                f"no blob was uploaded for {', '.join(sorted(missing))}.", fix="Upload the files first.", field="files"
            )
        check_sizes({path: self._blobs.size(digest) for path, digest in files.items()})
        for path in files:
            if path.endswith(".onnx"):
                with self._blobs.open(files[path]) as opened:
                    check_onnx(opened)

        def opened_file(path: str) -> BinaryIO:
            if path not in files:
                raise InvalidValue(f"the bundle has no {path}.", fix="Add it to its files.", field="files")
            return self._blobs.open(files[path])

        runtime_of(spec).check(opened_file)

    def _blob(self, digest: str, name: str) -> bytes:
        try:
            return self._blobs.get(digest)
        except (Damaged, NotFound) as wrong:
            raise _damaged(name, digest) from wrong


def _damaged(name: str, digest: str) -> Damaged:
    return Damaged(f"{name} is damaged or gone.", fix="Restore it from a backup.", digest=digest)
