"""Routes of experiments, of logged models, and of how long what was deleted can be restored."""

from sill.api.routing import Call, Routes
from sill.core.values import Value
from sill.runs.experiments.types import Experiment, ExperimentChange, ExperimentDeleted, ExperimentSpec
from sill.runs.logged_models.types import DatasetSummary, RunLinks, WireModel
from sill.runs.retention.types import RetentionPolicy, RetentionSpec
from sill.runs.types import View
from sill.stores.database import Page

ROUTES = Routes(tag="experiments")


class SearchQuery(Value, frozen=True, kw_only=True):
    """Which experiments, in which order (keys with commas between them), and where the page starts."""

    view: View = View.ACTIVE
    filter: str = ""
    order_by: str = ""
    limit: int = 100
    after: str = ""


class ModelsQuery(Value, frozen=True, kw_only=True):
    """Logged models of which experiment, and where the page starts."""

    experiment_id: str = "0"
    filter: str = ""
    limit: int = 100
    after: str = ""


class DeleteQuery(Value, frozen=True, kw_only=True):
    """Whether what is deleted is erased at once, with no way back."""

    now: bool = False


@ROUTES.get("/projects/{project}/experiments", scope="runs:read", returns=Page[Experiment], query=SearchQuery)
async def search_experiments(call: Call) -> Page[Experiment]:
    """Search experiments, the newest first unless ordered otherwise."""
    query: SearchQuery = call.query
    return await call.services.experiments.search(
        call.actor,
        call.project,
        view=query.view,
        filter=query.filter,
        order_by=[key.strip() for key in query.order_by.split(",") if key.strip()],
        limit=query.limit,
        after=query.after,
    )


@ROUTES.post("/projects/{project}/experiments", scope="runs:write", returns=Experiment, body=ExperimentSpec, status=201)
async def create_experiment(call: Call) -> Experiment:
    """Make an experiment."""
    return await call.services.experiments.create(call.actor, call.project, call.body, key=call.key)


@ROUTES.get("/projects/{project}/experiments/{experiment_id}", scope="runs:read", returns=Experiment)
async def get_experiment(call: Call) -> Experiment:
    """Show an experiment."""
    return await call.services.experiments.get(call.actor, call.project, call.path["experiment_id"])


@ROUTES.post(
    "/projects/{project}/experiments/{experiment_id}/change",
    scope="runs:write",
    returns=Experiment,
    body=ExperimentChange,
)
async def change_experiment(call: Call) -> Experiment:
    """Rename an experiment, set tags and take tags away."""
    return await call.services.experiments.change(call.actor, call.project, call.path["experiment_id"], call.body)


@ROUTES.delete(
    "/projects/{project}/experiments/{experiment_id}",
    scope="runs:write",
    returns=ExperimentDeleted,
    query=DeleteQuery,
)
async def delete_experiment(call: Call) -> ExperimentDeleted:
    """Delete an experiment with its runs, to be restored for a while or erased now."""
    return await call.services.retention.delete_experiment(
        call.actor, call.project, call.path["experiment_id"], now=call.query.now
    )


@ROUTES.post("/projects/{project}/experiments/{experiment_id}/restore", scope="runs:write", returns=Experiment)
async def restore_experiment(call: Call) -> Experiment:
    """Bring a deleted experiment back, with all its runs."""
    return await call.services.retention.restore_experiment(call.actor, call.project, call.path["experiment_id"])


@ROUTES.get(
    "/projects/{project}/experiments/{experiment_id}/datasets", scope="runs:read", returns=tuple[DatasetSummary, ...]
)
async def list_datasets(call: Call) -> tuple[DatasetSummary, ...]:
    """List the datasets that runs of an experiment read."""
    return await call.services.logged_models.datasets(call.actor, call.project, (call.path["experiment_id"],))


@ROUTES.get("/projects/{project}/logged-models", scope="runs:read", returns=Page[WireModel], query=ModelsQuery)
async def search_logged_models(call: Call) -> Page[WireModel]:
    """Search the logged models of an experiment, the newest first."""
    query: ModelsQuery = call.query
    page = await call.services.logged_models.search(
        call.actor,
        call.project,
        experiment_ids=(query.experiment_id,),
        filter=query.filter,
        limit=query.limit,
        after=query.after,
    )
    return Page(items=tuple(WireModel.of(model) for model in page.items), next=page.next)


@ROUTES.get("/projects/{project}/logged-models/{model_id}", scope="runs:read", returns=WireModel)
async def get_logged_model(call: Call) -> WireModel:
    """Show a logged model."""
    return WireModel.of(await call.services.logged_models.get(call.actor, call.project, call.path["model_id"]))


@ROUTES.delete("/projects/{project}/logged-models/{model_id}", scope="runs:write", returns=WireModel)
async def delete_logged_model(call: Call) -> WireModel:
    """Delete a logged model, to be restored for a while."""
    return WireModel.of(await call.services.logged_models.delete(call.actor, call.project, call.path["model_id"]))


@ROUTES.post("/projects/{project}/logged-models/{model_id}/restore", scope="runs:write", returns=WireModel)
async def restore_logged_model(call: Call) -> WireModel:
    """Bring a deleted logged model back."""
    return WireModel.of(await call.services.logged_models.restore(call.actor, call.project, call.path["model_id"]))


@ROUTES.get("/projects/{project}/runs/{run_id}/links", scope="runs:read", returns=RunLinks)
async def get_run_links(call: Call) -> RunLinks:
    """Show which datasets and logged models a run read, and which models it made."""
    return await call.services.logged_models.links(call.actor, call.project, call.path["run_id"])


@ROUTES.get("/projects/{project}/retention", scope="runs:read", returns=RetentionPolicy)
async def get_retention(call: Call) -> RetentionPolicy:
    """Show how long deleted runs, experiments and logged models can be restored."""
    return await call.services.retention.policy(call.actor, call.project)


@ROUTES.put("/projects/{project}/retention", scope="runs:admin", returns=RetentionPolicy, body=RetentionSpec)
async def set_retention(call: Call) -> RetentionPolicy:
    """Say how long deleted runs, experiments and logged models can be restored."""
    return await call.services.retention.set_policy(call.actor, call.project, call.body)
