"""Use cases of datasets and logged models: what runs read and made, and the records of models."""

from collections.abc import Callable, Sequence

from sqlalchemy import Connection

from sill.core.actors import Actor
from sill.core.clock import Ids
from sill.core.errors import InvalidValue
from sill.core.names import check_id
from sill.governance.rules import require
from sill.runs import described
from sill.runs import rules as run_rules
from sill.runs import store as runs
from sill.runs.experiments import rules as experiment_rules
from sill.runs.experiments import store as experiments
from sill.runs.experiments.types import DEFAULT_ID
from sill.runs.logged_models import links, rules, search, store
from sill.runs.logged_models.types import (
    DatasetFilter,
    DatasetInput,
    DatasetSummary,
    LoggedModel,
    LoggedModelSpec,
    LoggedModelStatus,
    ModelOrder,
    ModelOutput,
    RunLinks,
)
from sill.runs.types import Lifecycle, Run
from sill.stores.database import Database, Page, Tx

PAGE_MAX = 1_000
EXPERIMENTS_PER_SEARCH_MAX = 10_000
FOLDER = "models"
"""Below an experiment's artifacts; the models' own lie there."""


class LoggedModels:
    """Logged models of all projects, and what runs read and made."""

    def __init__(self, database: Database, ids: Ids) -> None:
        self._database = database
        self._ids = ids

    async def create(self, actor: Actor, project: str, spec: LoggedModelSpec, key: str = "") -> LoggedModel:
        """Keep the record of a new model; its files follow, then `finalize`.

        Raises:
            InvalidValue: a field is outside what is allowed, or the experiment was deleted.
            NotFound: there is no such experiment.
        """
        require(actor, "runs:write", project)
        rules.check_spec(spec)
        model_id = self._ids.new("m")

        def work(tx: Tx) -> LoggedModel:
            if spec.experiment_id == DEFAULT_ID:
                experiments.ensure_default(tx, project, actor.id)
            found = experiments.get(tx.connection, project, spec.experiment_id)
            experiment = experiment_rules.check_active(found)
            model = LoggedModel(
                id=model_id,
                project=project,
                experiment_id=experiment.id,
                name=spec.name or described.made_up_name(model_id),
                run_id=spec.run_id,
                model_type=spec.model_type,
                artifact_uri=experiment_rules.artifact_uri(experiment.artifact_location, FOLDER, model_id),
                params=spec.params,
                tags=spec.tags,
            )
            tx.emit("logged_model.created", project, model_id, actor.id, name=model.name, run_id=model.run_id)
            return store.create(tx, model)

        return await self._database.write_once(key, [project, spec], LoggedModel, work)

    async def get(self, actor: Actor, project: str, model_id: str, *, allow_deleted: bool = False) -> LoggedModel:
        """One model.

        Raises:
            NotFound: there is none of that id, or it was deleted.
        """
        require(actor, "runs:read", project)

        def work(connection: Connection) -> LoggedModel:
            model = store.get(connection, project, model_id)
            if model.lifecycle is Lifecycle.DELETED and not allow_deleted:
                raise store.no_model(model_id)
            return model

        return await self._database.read(work)

    async def finalize(
        self, actor: Actor, project: str, model_id: str, status: LoggedModelStatus, message: str = ""
    ) -> LoggedModel:
        """Keep that the model's files are there, or that they failed to come."""

        def work(tx: Tx, model: LoggedModel) -> LoggedModel:
            tx.emit("logged_model.finalized", project, model_id, actor.id, status=status.value)
            return store.change(tx, model, status=status.value, status_message=message[: rules.MESSAGE_LENGTH_MAX])

        return await self._change(actor, project, model_id, work)

    async def log_params(self, actor: Actor, project: str, model_id: str, params: dict[str, str]) -> LoggedModel:
        """Set params, new or changed."""
        rules.check_params(params)

        def work(tx: Tx, model: LoggedModel) -> LoggedModel:
            store.keep_texts(tx, store.params, model, params)
            return store.change(tx, model)

        return await self._change(actor, project, model_id, work)

    async def set_tags(self, actor: Actor, project: str, model_id: str, tags: dict[str, str]) -> LoggedModel:
        """Set tags, new or changed."""
        rules.check_tags(tags)

        def work(tx: Tx, model: LoggedModel) -> LoggedModel:
            store.keep_texts(tx, store.tags, model, tags)
            return store.change(tx, model)

        return await self._change(actor, project, model_id, work)

    async def delete_tag(self, actor: Actor, project: str, model_id: str, key: str) -> LoggedModel:
        """Take a tag away.

        Raises:
            NotFound: there is none of that key.
        """

        def work(tx: Tx, model: LoggedModel) -> LoggedModel:
            store.delete_tag(tx, model, key)
            return store.change(tx, model)

        return await self._change(actor, project, model_id, work)

    async def delete(self, actor: Actor, project: str, model_id: str) -> LoggedModel:
        """Delete a model, so that it can be restored for a while."""

        def work(tx: Tx, model: LoggedModel) -> LoggedModel:
            tx.emit("logged_model.deleted", project, model_id, actor.id)
            return store.change(tx, model, lifecycle=Lifecycle.DELETED.value, deleted_us=tx.now_us)

        return await self._change(actor, project, model_id, work)

    async def restore(self, actor: Actor, project: str, model_id: str) -> LoggedModel:
        """Bring a deleted model back; one that was not deleted stays as it is."""
        require(actor, "runs:write", project)

        def work(tx: Tx) -> LoggedModel:
            model = store.get(tx.connection, project, model_id)
            if model.lifecycle is Lifecycle.ACTIVE:
                return model
            tx.emit("logged_model.restored", project, model_id, actor.id)
            return store.change(tx, model, lifecycle=Lifecycle.ACTIVE.value, deleted_us=0)

        return await self._database.write(work)

    async def search(
        self,
        actor: Actor,
        project: str,
        *,
        experiment_ids: Sequence[str],
        filter: str = "",
        datasets: Sequence[DatasetFilter] = (),
        order_by: Sequence[ModelOrder] = (),
        limit: int = 100,
        after: str = "",
    ) -> Page[LoggedModel]:
        """Models of some experiments that match a filter, the newest first unless ordered otherwise.

        Args:
            datasets: only models measured on one of these; metrics in the filter and the order are those measured there.
        Raises:
            InvalidValue: filter, order, limit or page token is not of its form.
        """
        require(actor, "runs:read", project)
        if not 1 <= limit <= PAGE_MAX:
            raise InvalidValue(f"limit {limit} is not within 1 to {PAGE_MAX}.", field="limit")
        _check_experiments(experiment_ids)
        wanted = search.parse(filter, datasets, order_by)

        def work(connection: Connection) -> Page[LoggedModel]:
            return search.page(connection, project, experiment_ids, wanted, limit, after)

        return await self._database.read(work)

    async def log_inputs(
        self,
        actor: Actor,
        project: str,
        run_id: str,
        datasets: Sequence[DatasetInput] = (),
        model_ids: Sequence[str] = (),
    ) -> None:
        """Keep what a run read: datasets, once each, and logged models.

        Raises:
            InvalidValue: a text is missing or too long, or the run was deleted.
        """
        rules.check_datasets(tuple(datasets))
        for model_id in model_ids:
            rules.check_model_id(model_id)

        def work(tx: Tx, run: Run) -> None:
            links.add_inputs(tx, project, run.id, run.experiment_id, datasets, model_ids)
            tx.emit("run.updated", project, run.id, actor.id, datasets=len(datasets), models_read=len(model_ids))

        await self._with_run(actor, project, run_id, work)

    async def log_outputs(self, actor: Actor, project: str, run_id: str, outputs: Sequence[ModelOutput]) -> None:
        """Keep which logged models a run made, and at which step.

        Raises:
            InvalidValue: an id or step is not allowed, or the run was deleted.
        """
        rules.check_outputs(outputs)

        def work(tx: Tx, run: Run) -> None:
            links.add_outputs(tx, project, run.id, outputs)
            tx.emit("run.updated", project, run.id, actor.id, models_made=len(outputs))

        await self._with_run(actor, project, run_id, work)

    async def links(self, actor: Actor, project: str, run_id: str) -> RunLinks:
        """What a run read and made."""
        require(actor, "runs:read", project)

        def work(connection: Connection) -> RunLinks:
            runs.check_exists(connection, project, check_id(run_id))
            return links.links_of(connection, project, (run_id,)).get(run_id, RunLinks())

        return await self._database.read(work)

    async def datasets(self, actor: Actor, project: str, experiment_ids: Sequence[str]) -> tuple[DatasetSummary, ...]:
        """Datasets that runs of the experiments read; at most 1,000.

        Raises:
            NotFound: there is no such experiment.
        """
        require(actor, "runs:read", project)
        _check_experiments(experiment_ids)

        def work(connection: Connection) -> tuple[DatasetSummary, ...]:
            for experiment_id in set(experiment_ids) - {DEFAULT_ID}:  # that one is there without having been made
                experiments.get(connection, project, experiment_id)
            return links.summaries(connection, project, experiment_ids)

        return await self._database.read(work)

    async def _change(
        self, actor: Actor, project: str, model_id: str, work: Callable[[Tx, LoggedModel], LoggedModel]
    ) -> LoggedModel:
        require(actor, "runs:write", project)

        def change(tx: Tx) -> LoggedModel:
            model = store.get(tx.connection, project, model_id)
            if model.lifecycle is Lifecycle.DELETED:
                raise store.no_model(model_id)
            return work(tx, model)

        return await self._database.write(change)

    async def _with_run(self, actor: Actor, project: str, run_id: str, work: Callable[[Tx, Run], None]) -> None:
        require(actor, "runs:write", project)

        def change(tx: Tx) -> None:
            run = runs.check_exists(tx.connection, project, check_id(run_id))
            run_rules.check_own(actor, run)
            work(tx, runs.check_active(run))

        await self._database.write(change)


def _check_experiments(experiment_ids: Sequence[str]) -> None:
    if not 1 <= len(experiment_ids) <= EXPERIMENTS_PER_SEARCH_MAX:
        raise InvalidValue(
            f"{len(experiment_ids)} experiment ids were given; 1 to {EXPERIMENTS_PER_SEARCH_MAX} are allowed.",
            field="experiment_ids",
        )
