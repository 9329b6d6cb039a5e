"""Use cases of experiments: make, look, search, rename, tag. Deleting and restoring is `runs.retention`'s."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from sqlalchemy import Connection

from sill.core.actors import PLATFORM, Actor
from sill.core.errors import InvalidValue, NotFound
from sill.core.names import shorten
from sill.core.settings import Settings
from sill.governance.rules import require
from sill.runs.experiments import rules, search, store
from sill.runs.experiments.types import Experiment, ExperimentChange, ExperimentSpec
from sill.runs.types import View
from sill.stores.database import Database, Page, Tx

T = TypeVar("T")

PAGE_MAX = 50_000
"""As many as MLflow's clients ask for at most."""


class Experiments:
    """Experiments of all projects. The default one is there from the first use of a project on."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._roots = settings.artifact_roots

    async def create(self, actor: Actor, project: str, spec: ExperimentSpec, key: str = "") -> Experiment:
        """Make an experiment.

        Raises:
            InvalidValue: name, tag or artifact location is not allowed.
            Forbidden: the artifact location is a place that the operator did not list.
            Conflict: the name is taken, by a deleted experiment perhaps.
        """
        require(actor, "runs:write", project)
        rules.check_experiment_name(spec.name)
        rules.check_experiment_tags(spec.tags)
        location = rules.check_location(spec.artifact_location, self._roots) if spec.artifact_location else ""

        def work(tx: Tx) -> Experiment:
            return store.create(tx, project, spec.name, location, spec.tags, actor.id)

        return await self._database.write_once(key, [project, spec], Experiment, work)

    async def get(self, actor: Actor, project: str, experiment_id: str) -> Experiment:
        """One experiment, deleted or not."""
        require(actor, "runs:read", project)
        return await self._read(project, lambda connection: store.get(connection, project, experiment_id))

    async def by_name(self, actor: Actor, project: str, name: str) -> Experiment:
        """One experiment by its name, deleted or not.

        Raises:
            NotFound: there is none of that name.
        """
        require(actor, "runs:read", project)

        def work(connection: Connection) -> Experiment:
            found = store.find_by_name(connection, project, name)
            if found is None:
                raise NotFound(
                    f"Could not find experiment with name {shorten(name)!r}.",
                    fix="List the experiments of the project.",
                )
            return found

        return await self._read(project, work)

    async def search(
        self,
        actor: Actor,
        project: str,
        *,
        view: View = View.ACTIVE,
        filter: str = "",
        order_by: Sequence[str] = (),
        limit: int = 1_000,
        after: str = "",
    ) -> Page[Experiment]:
        """Experiments that match a filter, the newest first unless ordered otherwise.

        Raises:
            InvalidValue: filter, order, limit or page token is not of its form.
        """
        require(actor, "runs:read", project)
        if not 1 <= limit <= PAGE_MAX:
            raise InvalidValue(f"limit {limit} is not within 1 to {PAGE_MAX}.", field="limit")

        def work(connection: Connection) -> Page[Experiment]:
            return search.page(connection, project, view, filter, order_by, limit, after)

        return await self._read(project, work)

    async def rename(self, actor: Actor, project: str, experiment_id: str, name: str) -> Experiment:
        """Give an experiment another name. Errors as `change`."""
        rules.check_experiment_name(name)
        return await self.change(actor, project, experiment_id, ExperimentChange(name=name))

    async def set_tags(self, actor: Actor, project: str, experiment_id: str, tags: dict[str, str]) -> Experiment:
        """Set tags, new or changed. Errors as `change`."""
        return await self.change(actor, project, experiment_id, ExperimentChange(set_tags=tags))

    async def delete_tag(self, actor: Actor, project: str, experiment_id: str, key: str) -> Experiment:
        """Take a tag away. Errors as `change`."""
        return await self.change(actor, project, experiment_id, ExperimentChange(delete_tags=(key,)))

    async def change(self, actor: Actor, project: str, experiment_id: str, change: ExperimentChange) -> Experiment:
        """Rename an experiment, set tags and take tags away, all or nothing. Runs keep the name they were made under.

        Raises:
            InvalidValue: name or tag is not allowed, or tags are for an experiment that was deleted.
            Conflict: the name is taken.
            Refused: the experiment to be renamed was deleted.
            NotFound: there is no such experiment, or no such tag to take away.
        """
        require(actor, "runs:write", project)
        if change.name:
            rules.check_experiment_name(change.name)
        rules.check_experiment_tags(change.set_tags)

        def work(tx: Tx) -> Experiment:
            store.ensure_default(tx, project, actor.id)
            experiment = store.get(tx.connection, project, experiment_id)
            if change.name:
                rules.check_may_rename(experiment)
                experiment = store.rename(tx, experiment, change.name)
            if change.set_tags or change.delete_tags:
                rules.check_active(experiment)
                rules.check_experiment_tags(experiment.tags | change.set_tags)
                store.set_tags(tx, experiment, change.set_tags)
                for key in change.delete_tags:
                    store.delete_tag(tx, experiment, key)
                experiment = store.change(tx, experiment)
            tags = sorted({*change.set_tags, *change.delete_tags})
            tx.emit("experiment.changed", project, experiment_id, actor.id, name=experiment.name, tags=tags)
            return experiment

        return await self._database.write(work)

    async def _read(self, project: str, work: Callable[[Connection], T]) -> T:
        """What `work` reads; the default experiment is there before somebody looks for it."""

        def look(connection: Connection) -> T | None:
            return work(connection) if store.has_default(connection, project) else None

        found = await self._database.read(look)
        if found is None:
            await self._database.write(lambda tx: store.ensure_default(tx, project, PLATFORM.id))
            found = await self._database.read(work)
        return found
