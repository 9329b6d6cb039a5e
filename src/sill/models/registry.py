"""The registry as MLflow's clients know it: models that are named, described, tagged, renamed and searched.

It is the same registry as `service.Models`: numbers, aliases and deletion are shared. Versions are the business of
`tracked`.
"""

from collections.abc import Callable, Iterable
from typing import Any

import msgspec
from msgspec.structs import replace

from sill.core.actors import Actor
from sill.core.errors import Conflict, InvalidValue, NotFound
from sill.core.names import check_name, shorten
from sill.governance.rules import require
from sill.models import naming
from sill.models.search import find_models, latest_of
from sill.models.service import Models
from sill.models.store import MODELS, VERSIONS, create_version, drop_model, drop_version, keep_model, version_id
from sill.models.types import Freed, ModelSummary, ModelVersion, RegisteredModel, Stage
from sill.stores.blobs.sweeping import let_go
from sill.stores.database import Connection, Database, Page, Tx

RENAMED_VERSIONS_MAX = 10_000


class Registry:
    """Registered models of all projects, by MLflow's rules."""

    def __init__(self, database: Database, models: Models) -> None:
        self._database = database
        self._models = models

    async def create(
        self, actor: Actor, project: str, name: str, *, tags: dict[str, str], note: str = "", key: str = ""
    ) -> RegisteredModel:
        """A model without versions.

        Raises:
            Conflict: the name is taken.
            InvalidValue: name, tags or note are not allowed.
        """
        require(actor, "models:write", project)
        naming.check_model_name(name)
        naming.check_tags(tags)
        naming.check_note(note)

        def make(tx: Tx) -> RegisteredModel:
            made = RegisteredModel(
                project=project, name=name, note=note, tags=tags, created_us=tx.now_us, changed_us=tx.now_us
            )
            if (found := MODELS.find(tx.connection, project, name)) is not None:
                raise _taken(found, made)
            facts = {"model": name, "prompt": made.is_prompt, **fitting(tags=tags, note=note)}
            tx.emit("model.created", project, name, actor.id, **facts)
            return keep_model(tx, made)

        return await self._database.write_once(key, [project, name, tags, note], RegisteredModel, make)

    async def get(self, actor: Actor, project: str, name: str) -> ModelSummary:
        """A model with the newest version of each stage."""
        require(actor, "models:read", project)
        naming.check_model_name(name)

        def read(connection: Connection) -> ModelSummary:
            found = find(connection, project, name)
            return ModelSummary(model=found, latest=latest_of(connection, project, [name]).get(name, ()))

        return await self._database.read(read)

    async def search(
        self,
        actor: Actor,
        project: str,
        *,
        filter: str = "",
        order_by: Iterable[str] = (),
        limit: int = 100,
        after: str = "",
    ) -> Page[ModelSummary]:
        """Models that meet a filter in MLflow's grammar."""
        require(actor, "models:read", project)
        return await self._database.read(
            lambda connection: find_models(connection, project, filter, order_by, limit, after)
        )

    async def latest(self, actor: Actor, project: str, name: str, stages: Iterable[str]) -> tuple[ModelVersion, ...]:
        """The newest version of each of the stages; of all of them if none is named."""
        wanted = {naming.stage_of(stage) for stage in stages} or set(Stage)
        found = await self.get(actor, project, name)
        return tuple(version for version in found.latest if version.stage in wanted)

    async def describe(self, actor: Actor, project: str, name: str, note: str) -> ModelSummary:
        """Change what people say of a model."""
        naming.check_note(note)
        return await self._change(
            actor,
            project,
            name,
            lambda tx, found: replace(found, note=note, changed_us=tx.now_us),
            "model.updated",
        )

    async def set_tag(self, actor: Actor, project: str, name: str, key: str, value: str) -> None:
        """Set a tag of a model."""
        naming.check_tag(key, value)

        def change(_tx: Tx, found: RegisteredModel) -> RegisteredModel:
            naming.check_tags(found.tags | {key: value})
            return replace(found, tags=found.tags | {key: value})

        await self._change(actor, project, name, change, "model.tag_set", key=key, **fitting(value=value))

    async def delete_tag(self, actor: Actor, project: str, name: str, key: str) -> None:
        """Remove a tag of a model; one that is not there is no error."""
        naming.check_tag(key)

        def change(_tx: Tx, found: RegisteredModel) -> RegisteredModel:
            return replace(found, tags={name: value for name, value in found.tags.items() if name != key})

        await self._change(actor, project, name, change, "model.tag_deleted", key=key)

    async def rename(self, actor: Actor, project: str, name: str, new_name: str) -> ModelSummary:
        """Give a model, and with it all its versions, another name.

        Raises:
            Conflict: the name is taken, or an endpoint uses one of the versions.
        """
        require(actor, "models:write", project)
        naming.check_model_name(name)
        naming.check_model_name(new_name, "new_name")

        def move(tx: Tx) -> None:
            found = find(tx.connection, project, name)
            if MODELS.find(tx.connection, project, new_name) is not None:
                raise Conflict(
                    f"Registered Model (name={new_name}) already exists.", fix="Choose another name.", field="new_name"
                )
            versions = self._movable(tx.connection, actor, found, new_name)
            for one in versions:
                drop_version(tx, one)
            drop_model(tx, found)
            model = keep_model(tx, replace(found, name=new_name, changed_us=tx.now_us, revision=0))
            for one in versions:
                moved = replace(
                    one,
                    id=version_id(new_name, one.version),
                    model=new_name,
                    spec=replace(one.spec, model=new_name),
                    changed_us=tx.now_us,
                    revision=0,
                )
                create_version(tx, moved, is_prompt=model.is_prompt)
            tx.emit("model.renamed", project, new_name, actor.id, model=new_name, before=name)

        await self._database.write(move)
        return await self.get(actor, project, new_name)

    async def delete(self, actor: Actor, project: str, name: str) -> Freed:
        """Delete a model with its versions and aliases, and free what only they used.

        Raises:
            Conflict: an endpoint uses one of the versions.
        """
        require(actor, "models:write", project)
        naming.check_model_name(name)
        deletions = self._models.deletions

        def remove(tx: Tx) -> tuple[str, ...]:
            found = find(tx.connection, project, name)
            versions = VERSIONS.every(tx.connection, project, model=name)
            digests = deletions.model(tx, actor, found, versions)
            tx.emit("model.deleted", project, name, actor.id, model=name, versions=len(versions))
            return let_go(tx, digests)

        return await deletions.sweep(await self._database.write(remove))

    async def _change(
        self,
        actor: Actor,
        project: str,
        name: str,
        change: Callable[[Tx, RegisteredModel], RegisteredModel],
        event: str,
        **facts: Any,
    ) -> ModelSummary:
        require(actor, "models:write", project)
        naming.check_model_name(name)

        def work(tx: Tx) -> ModelSummary:
            found = find(tx.connection, project, name)
            changed = change(tx, found)
            if changed != found:
                changed = keep_model(tx, changed)
            tx.emit(event, project, name, actor.id, model=name, prompt=changed.is_prompt, **facts)
            return ModelSummary(model=changed, latest=latest_of(tx.connection, project, [name]).get(name, ()))

        return await self._database.write(work)

    def _movable(
        self, connection: Connection, actor: Actor, model: RegisteredModel, new_name: str
    ) -> list[ModelVersion]:
        """The versions of a model that is renamed; each is written anew.

        Raises:
            Conflict: one is in use.
            InvalidValue: there are too many, or one that passed a gate would get a name that endpoints cannot have.
        """
        versions = VERSIONS.every(connection, model.project, model=model.name)
        if len(versions) > RENAMED_VERSIONS_MAX:
            raise InvalidValue(
                f"model {shorten(model.name)!r} has {len(versions)} versions; one of more than {RENAMED_VERSIONS_MAX} "
                "keeps its name."
            )
        for one in versions:
            if not one.is_tracked:
                require(actor, "models:admin", model.project)
                check_name(new_name, "new_name")
            self._models.deletions.check_free(connection, one)
        return versions


def find(connection: Connection, project: str, name: str) -> RegisteredModel:
    """The model.

    Raises:
        NotFound: absent, or another tenant's.
    """
    found = MODELS.find(connection, project, name)
    if found is None:
        raise NotFound(f"Registered Model with name={shorten(name)} not found", fix="List the models of the project.")
    return found


IN_EVENT_MAX = 2_000


def fitting(**facts: str | dict[str, str]) -> dict[str, Any]:
    """The facts for an event, if they are short; events carry no payload."""
    return facts if len(msgspec.json.encode(facts)) <= IN_EVENT_MAX else {}


def _taken(found: RegisteredModel, wanted: RegisteredModel) -> Conflict:
    """Why a name is not free, in the words that MLflow's client looks for."""
    if found.is_prompt and not wanted.is_prompt:
        text = (
            f"Tried to create a registered model with name {found.name!r}, but the name is already taken by a prompt."
        )
        return Conflict(text, fix="MLflow does not allow creating a model and a prompt with the same name.")
    if wanted.is_prompt and not found.is_prompt:
        text = (
            f"Tried to create a prompt with name {found.name!r}, but the name is already taken by a registered model."
        )
        return Conflict(text, fix="MLflow does not allow creating a model and a prompt with the same name.")
    kind = "Prompt" if found.is_prompt else "Registered Model"
    return Conflict(f"{kind} (name={found.name}) already exists.", fix="Choose another name.", field="name")
