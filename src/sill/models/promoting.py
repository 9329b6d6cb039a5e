"""Makes a tracked version one that can serve: its file becomes a signed bundle of the runtime that its flavour names.

No gate judges such a version: somebody who may change the model says that it is to serve, and the judge of its rollout
watches it like any other. What would have to be unpickled is refused, with what to do instead.
"""

import asyncio
from typing import NamedTuple

from msgspec.structs import replace

from sill.core.actors import Actor
from sill.core.clock import Clock
from sill.core.errors import InvalidValue, Refused, UnsupportedType
from sill.core.names import shorten
from sill.governance.rules import require
from sill.models import flavors
from sill.models.bundle import check_files, check_spec
from sill.models.inspecting import Inspections
from sill.models.placing import Placing, Seen, named
from sill.models.registration import REASON_LENGTH_MAX
from sill.models.registry import find
from sill.models.service import Models
from sill.models.store import replace_version
from sill.models.types import PROMPT_TAG, Loadability, ModelVersion, VersionSpec
from sill.runtimes.types import Signature
from sill.stores.blobs.sweeping import check_not_swept
from sill.stores.database import Connection, Database, Tx


class Promotions:
    """Promotes tracked versions of all projects."""

    def __init__(
        self, database: Database, clock: Clock, models: Models, placing: Placing, inspections: Inspections
    ) -> None:
        self._database = database
        self._clock = clock
        self._models = models
        self._placing = placing
        self._inspections = inspections

    async def promote(self, actor: Actor, project: str, name: str, version: int) -> ModelVersion:
        """The version, able to serve. One that is already, or that a gate judges, stays as it is.

        Raises:
            Refused: its files would have to be unpickled, are not here, or are not what its flavour says; the version
                says so from now on.
            PluginMissing: the library of its runtime is not installed here.
        """
        require(actor, "models:write", project)
        found = await self._database.read(lambda connection: _candidate(connection, project, name, version))
        if found.is_prompt or not found.version.is_tracked or found.version.may_serve:
            return found.version
        return await self._promoted(actor, found.version)

    async def _promoted(self, actor: Actor, found: ModelVersion) -> ModelVersion:
        project, name, version = found.project, found.model, found.version
        started_us = self._clock.now_us()
        judged, seen = await self._placing.seen(project, found.address, found.spec.run_id)
        try:
            if not judged.is_loadable:
                raise Refused(f"version {version} of model {name!r} cannot serve: {judged.reason}")
            spec, manifest = await self._bundled(found, judged, seen)
        except (Refused, InvalidValue, UnsupportedType) as wrong:
            why = wrong.message
            await self._database.write(lambda tx: self._keep_refusal(tx, actor, found, why))
            raise Refused(why, fix=wrong.fix or "Log the model in a format that is data alone.") from wrong

        def keep(tx: Tx) -> ModelVersion:
            check_not_swept(tx.connection, spec.files.values(), started_us)
            now = named(tx.connection, project, name, version).version
            tx.emit("model.promoted", project, now.id, actor.id, model=name, version=version, runtime=spec.runtime)
            changed = replace(now, spec=spec, manifest=manifest, loadable=True, loadable_reason="")
            return replace_version(tx, replace(changed, changed_us=tx.now_us))

        return await self._database.write(keep)

    async def _bundled(self, version: ModelVersion, judged: Loadability, seen: Seen) -> tuple[VersionSpec, str]:
        """What is kept of a promoted version, and the digest of its signed manifest."""
        check_files(dict(seen.files))
        spec = replace(version.spec, files=dict(seen.files), runtime=judged.runtime)
        manifest = await asyncio.to_thread(self._models.sign, spec)
        signature = (await self._inspections.loaded(spec.runtime, spec.files)).signature
        named_columns = flavors.features_of(seen.text)
        if not signature.features and _fits(signature, named_columns):
            signature = replace(signature, features=named_columns)
        spec = replace(spec, signature=signature)
        check_spec(spec)
        return spec, manifest

    def _keep_refusal(self, tx: Tx, actor: Actor, found: ModelVersion, why: str) -> None:
        now = named(tx.connection, found.project, found.model, found.version).version
        reason = shorten(why, REASON_LENGTH_MAX)
        replace_version(tx, replace(now, loadable=False, loadable_reason=reason))
        facts = {"model": found.model, "version": found.version, "reason": reason}
        tx.emit("model.promotion_refused", found.project, found.id, actor.id, **facts)


class _Candidate(NamedTuple):
    version: ModelVersion
    is_prompt: bool


def _candidate(connection: Connection, project: str, name: str, version: int) -> _Candidate:
    found = named(connection, project, name, version).version
    is_prompt = find(connection, project, name).is_prompt or PROMPT_TAG in found.tags
    return _Candidate(found, is_prompt)


def _fits(signature: Signature, columns: tuple[str, ...]) -> bool:
    """Whether the columns can be those of the model's one tensor."""
    one = signature.inputs[0].shape if len(signature.inputs) == 1 else ()
    return bool(columns) and len(set(columns)) == len(columns) and len(one) == 2 and one[1] in (-1, len(columns))
