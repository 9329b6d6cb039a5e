"""Versions as MLflow's clients know them: an address, described, tagged, staged, searched, found by alias.

A tracked version holds no files of its own: they are where its source says, and what the platform may do with them was
judged once, when it was registered. Numbers, aliases and deletion are those of `service.Models`.
"""

from collections.abc import Callable, Iterable
from typing import Any

from msgspec.structs import replace

from sill.core.actors import Actor
from sill.core.addresses import Address
from sill.core.errors import InvalidValue, NotFound
from sill.core.names import shorten
from sill.governance.lineage import add_edge
from sill.governance.rules import require
from sill.models import naming
from sill.models.origins import Origin, check_source
from sill.models.placing import LoggedModels, Placing, named
from sill.models.registry import find, fitting
from sill.models.search import find_versions, latest_of
from sill.models.service import Models
from sill.models.store import VERSIONS, create_version, keep_model, replace_version, version_id
from sill.models.types import (
    PROMPT_TAG,
    AliasChange,
    Freed,
    Loadability,
    ModelVersion,
    NamedVersion,
    RegisteredModel,
    Stage,
    TrackedSpec,
    VersionSpec,
    VersionState,
)
from sill.runs.training.types import Evaluation
from sill.runtimes.types import Signature
from sill.stores.database import Connection, Database, Page, Tx

RUN_ID_LENGTH_MAX = 256
LINK_LENGTH_MAX = 500
LATEST = "latest"
_PROMPT = Loadability(is_loadable=False, reason="it is a prompt.")
_NO_BUNDLE = Signature(inputs=(), outputs=())
_NO_EVALUATION = Evaluation(metric="", rows=0, metrics={})


class Tracked:
    """Versions of all projects, by MLflow's rules."""

    def __init__(self, database: Database, models: Models, placing: Placing, logged: LoggedModels) -> None:
        self._database = database
        self._models = models
        self._logged = logged
        self._placing = placing

    async def create(self, actor: Actor, project: str, spec: TrackedSpec, key: str = "") -> NamedVersion:
        """A new version of a model, at the address its source names.

        Raises:
            InvalidValue: the source is not one that is taken, or names nothing that is there.
            NotFound: there is no such model.
        """
        require(actor, "models:write", project)
        origin = _check(spec)
        is_prompt = PROMPT_TAG in spec.tags
        storage, run_id = await self._placing.storage(project, spec, origin)
        judged = _PROMPT if is_prompt else await self._placing.judge(project, storage, run_id)

        def keep(tx: Tx) -> ModelVersion:
            model = find(tx.connection, project, spec.model)
            number = model.latest + 1
            keep_model(tx, replace(model, latest=number, changed_us=tx.now_us))
            made = create_version(
                tx, _made(tx, actor, project, spec, number, storage, run_id, judged), is_prompt=model.is_prompt
            )
            if spec.model_id:
                self._logged.note_version(tx, project, spec.model_id, spec.model, number)
            _link(tx, made)
            facts = {"model": spec.model, "version": number, "run": run_id, "prompt": is_prompt or model.is_prompt}
            facts |= fitting(tags=spec.tags, note=spec.note)
            tx.emit("model.version_tracked", project, made.id, actor.id, **facts)
            return made

        return NamedVersion(version=await self._database.write_once(key, [project, spec], ModelVersion, keep))

    async def get(self, actor: Actor, project: str, name: str, version: int) -> NamedVersion:
        """One version with its aliases."""
        require(actor, "models:read", project)
        naming.check_model_name(name)
        return await self._database.read(lambda connection: named(connection, project, name, version))

    async def by_alias(self, actor: Actor, project: str, name: str, alias: str) -> NamedVersion:
        """The version an alias points to; `latest` is the newest.

        Raises:
            InvalidValue: the model has no such alias.
        """
        require(actor, "models:read", project)
        naming.check_model_name(name)
        naming.check_alias_name(alias)

        def read(connection: Connection) -> NamedVersion:
            model = find(connection, project, name)
            if alias.lower() == LATEST:
                versions = latest_of(connection, project, [name]).get(name, ())
                if not versions:
                    raise NotFound(f"Latest version not found for model {name}.", fix="Register one.")
                return named(connection, project, name, versions[-1].version)
            if alias not in model.aliases:
                raise InvalidValue(
                    f"Registered model alias {shorten(alias)} not found.", fix="Read the model.", field="alias"
                )
            return named(connection, project, name, model.aliases[alias])

        return await self._database.read(read)

    async def set_alias(self, actor: Actor, project: str, name: str, alias: str, version: int) -> RegisteredModel:
        """Point an alias to a version."""
        naming.check_model_name(name)
        naming.check_new_alias(alias)
        await self.get(actor, project, name, version)
        return await self._models.point_alias(actor, project, name, alias, AliasChange(version=version))

    async def delete_alias(self, actor: Actor, project: str, name: str, alias: str) -> None:
        """Remove an alias; one that is not there is no error."""
        require(actor, "models:write", project)
        naming.check_model_name(name)
        naming.check_alias_name(alias)
        model = await self._database.read(lambda connection: find(connection, project, name))
        if alias in model.aliases:
            await self._models.delete_alias(actor, project, name, alias)

    async def search(
        self,
        actor: Actor,
        project: str,
        *,
        filter: str = "",
        order_by: Iterable[str] = (),
        limit: int = 10_000,
        after: str = "",
    ) -> Page[ModelVersion]:
        """Versions that meet a filter in MLflow's grammar."""
        require(actor, "models:read", project)
        return await self._database.read(
            lambda connection: find_versions(connection, project, filter, order_by, limit, after)
        )

    async def describe(self, actor: Actor, project: str, name: str, version: int, note: str) -> NamedVersion:
        """Change what people say of a version."""
        naming.check_note(note)

        def change(tx: Tx, found: ModelVersion) -> ModelVersion:
            return replace(found, note=note, changed_us=tx.now_us)

        return await self._change(actor, project, name, version, change, "model.version_updated")

    async def set_tag(self, actor: Actor, project: str, name: str, version: int, key: str, value: str) -> None:
        """Set a tag of a version."""
        naming.check_tag(key, value)

        def change(_tx: Tx, found: ModelVersion) -> ModelVersion:
            naming.check_tags(found.tags | {key: value})
            return replace(found, tags=found.tags | {key: value})

        facts = {"key": key, **fitting(value=value)}
        await self._change(actor, project, name, version, change, "model.version_tag_set", **facts)

    async def delete_tag(self, actor: Actor, project: str, name: str, version: int, key: str) -> None:
        """Remove a tag of a version; one that is not there is no error."""
        naming.check_tag(key)

        def change(_tx: Tx, found: ModelVersion) -> ModelVersion:
            return replace(found, tags={name: value for name, value in found.tags.items() if name != key})

        await self._change(actor, project, name, version, change, "model.version_tag_deleted", key=key)

    async def set_stage(
        self, actor: Actor, project: str, name: str, version: int, stage: str, *, archive: bool = False
    ) -> NamedVersion:
        """Move a version to a stage.

        Args:
            archive: move those that are in the stage now to Archived; only for Staging and Production.
        """
        to = naming.stage_of(stage)
        if archive and to not in (Stage.STAGING, Stage.PRODUCTION):
            raise InvalidValue(
                f"Model version transition cannot archive existing model versions because '{stage}' is not an Active "
                "stage. Valid stages are ['Staging', 'Production'].",
                field="archive_existing_versions",
            )

        def change(tx: Tx, found: ModelVersion) -> ModelVersion:
            model = find(tx.connection, project, name)
            for other in VERSIONS.every(tx.connection, project, model=name) if archive else ():
                if other.stage is to and other.version != version:
                    moved = replace(other, stage=Stage.ARCHIVED, changed_us=tx.now_us)
                    replace_version(tx, moved, is_prompt=model.is_prompt)
            keep_model(tx, replace(model, changed_us=tx.now_us))
            return replace(found, stage=to, changed_us=tx.now_us)

        return await self._change(
            actor, project, name, version, change, "model.stage_moved", stage=to.value, archived=archive
        )

    async def delete(self, actor: Actor, project: str, name: str, version: int) -> Freed:
        """Delete a version, and with it the aliases that point to it."""
        await self.get(actor, project, name, version)
        return await self._models.delete_version(actor, project, name, version, with_aliases=True)

    async def _change(
        self,
        actor: Actor,
        project: str,
        name: str,
        version: int,
        change: Callable[[Tx, ModelVersion], ModelVersion],
        event: str,
        **facts: Any,
    ) -> NamedVersion:
        require(actor, "models:write", project)
        naming.check_model_name(name)

        def work(tx: Tx) -> NamedVersion:
            found = named(tx.connection, project, name, version)
            is_prompt = find(tx.connection, project, name).is_prompt
            changed = change(tx, found.version)
            if changed != found.version:
                changed = replace_version(tx, changed, is_prompt=is_prompt)
            more = {"model": name, "version": version, "prompt": is_prompt, **facts}
            tx.emit(event, project, changed.id, actor.id, **more)
            return replace(found, version=changed)

        return await self._database.write(work)


def _check(spec: TrackedSpec) -> Origin:
    naming.check_model_name(spec.model)
    naming.check_tags(spec.tags)
    naming.check_note(spec.note)
    for field, value, most in (
        ("run_id", spec.run_id, RUN_ID_LENGTH_MAX),
        ("run_link", spec.run_link, LINK_LENGTH_MAX),
        ("model_id", spec.model_id, RUN_ID_LENGTH_MAX),
    ):
        if len(value) > most or not value.isprintable():
            raise InvalidValue(
                f"{field} {shorten(value)!r} has more than {most} characters, or such as cannot be printed.",
                field=field,
            )
    return check_source(spec.source, run_id=spec.run_id, is_prompt=PROMPT_TAG in spec.tags)


def _made(
    tx: Tx,
    actor: Actor,
    project: str,
    spec: TrackedSpec,
    number: int,
    storage: str,
    run_id: str,
    judged: Loadability,
) -> ModelVersion:
    return ModelVersion(
        id=version_id(spec.model, number),
        project=project,
        model=spec.model,
        version=number,
        spec=VersionSpec(
            model=spec.model, files={}, signature=_NO_BUNDLE, evaluation=_NO_EVALUATION, run_id=run_id, note=spec.note
        ),
        state=VersionState.TRACKED,
        manifest="",
        created_us=tx.now_us,
        changed_us=tx.now_us,
        actor=actor.id,
        source=spec.source,
        storage=storage,
        run_link=spec.run_link,
        model_id=spec.model_id,
        note=spec.note,
        tags=spec.tags,
        loadable=judged.is_loadable,
        loadable_reason=judged.reason,
        flavors=judged.flavors,
    )


def _link(tx: Tx, version: ModelVersion) -> None:
    """Lineage, if a run of ours made it."""
    if version.spec.run_id.startswith("run-"):
        run = Address(project=version.project, kind="runs", name=version.spec.run_id)
        target = Address(project=version.project, kind="models", name=version.model, version=str(version.version))
        add_edge(tx, version.project, str(run), str(target), "registered")
