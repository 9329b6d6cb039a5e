"""Experiments for MLflow's clients."""

from sill.api.mlflow.wiring import WireRoutes
from sill.api.routing import Call
from sill.protocols.mlflow import errors
from sill.protocols.mlflow.experiments import (
    MAX_RESULTS,
    CreatedExperiment,
    CreateExperiment,
    ExperimentAnswer,
    ExperimentId,
    ExperimentName,
    ExperimentTag,
    FoundExperiments,
    SearchExperiments,
    UpdateExperiment,
    experiment_out,
    texts_in,
    view_in,
)
from sill.runs.experiments.types import ExperimentSpec

ROUTES = WireRoutes(tag="experiments")


@ROUTES.post(
    "/mlflow/experiments/create",
    scope="runs:write",
    body=CreateExperiment,
    required=("name",),
    conflict=errors.RESOURCE_ALREADY_EXISTS,
)
async def create_experiment(call: Call) -> CreatedExperiment:
    """Make an experiment."""
    body: CreateExperiment = call.body
    spec = ExperimentSpec(
        name=body.name or "", artifact_location=body.artifact_location, tags=texts_in(body.tags, "tags")
    )
    made = await call.services.experiments.create(call.actor, call.project, spec, key=call.key)
    return CreatedExperiment(experiment_id=made.id)


@ROUTES.get("/mlflow/experiments/get", scope="runs:read", body=ExperimentId, required=("experiment_id",))
async def get_experiment(call: Call) -> ExperimentAnswer:
    """One experiment."""
    found = await call.services.experiments.get(call.actor, call.project, call.body.experiment_id)
    return ExperimentAnswer(experiment=experiment_out(found))


@ROUTES.get("/mlflow/experiments/get-by-name", scope="runs:read", body=ExperimentName, required=("experiment_name",))
async def get_experiment_by_name(call: Call) -> ExperimentAnswer:
    """One experiment, by its name."""
    found = await call.services.experiments.by_name(call.actor, call.project, call.body.experiment_name)
    return ExperimentAnswer(experiment=experiment_out(found))


@ROUTES.get("/mlflow/experiments/search", scope="runs:read", body=SearchExperiments)
@ROUTES.post("/mlflow/experiments/search", scope="runs:read", body=SearchExperiments)
async def search_experiments(call: Call) -> FoundExperiments:
    """Experiments that match a filter."""
    body: SearchExperiments = call.body
    page = await call.services.experiments.search(
        call.actor,
        call.project,
        view=view_in(body.view_type, "view_type"),
        filter=body.filter,
        order_by=body.order_by,
        limit=MAX_RESULTS if body.max_results is None else body.max_results,
        after=body.page_token,
    )
    return FoundExperiments(experiments=tuple(experiment_out(found) for found in page.items), next_page_token=page.next)


@ROUTES.post(
    "/mlflow/experiments/update",
    scope="runs:write",
    body=UpdateExperiment,
    required=("experiment_id", "new_name"),
    conflict=errors.BAD_REQUEST,
)
async def rename_experiment(call: Call) -> None:
    """Give an experiment another name."""
    body: UpdateExperiment = call.body
    await call.services.experiments.rename(call.actor, call.project, body.experiment_id or "", body.new_name or "")


@ROUTES.post("/mlflow/experiments/delete", scope="runs:write", body=ExperimentId, required=("experiment_id",))
async def delete_experiment(call: Call) -> None:
    """Delete an experiment with its runs, so that it can be restored for a while."""
    await call.services.retention.delete_experiment(call.actor, call.project, call.body.experiment_id)


@ROUTES.post("/mlflow/experiments/restore", scope="runs:write", body=ExperimentId, required=("experiment_id",))
async def restore_experiment(call: Call) -> None:
    """Bring a deleted experiment back, with the runs that were deleted with it."""
    await call.services.retention.restore_experiment(call.actor, call.project, call.body.experiment_id)


@ROUTES.post(
    "/mlflow/experiments/set-experiment-tag",
    scope="runs:write",
    body=ExperimentTag,
    required=("experiment_id", "key"),
)
async def set_experiment_tag(call: Call) -> None:
    """Set a tag of an experiment."""
    body: ExperimentTag = call.body
    tags = {body.key or "": body.value}
    await call.services.experiments.set_tags(call.actor, call.project, body.experiment_id or "", tags)


@ROUTES.post(
    "/mlflow/experiments/delete-experiment-tag",
    scope="runs:write",
    body=ExperimentTag,
    required=("experiment_id", "key"),
)
async def delete_experiment_tag(call: Call) -> None:
    """Take a tag of an experiment away."""
    body: ExperimentTag = call.body
    await call.services.experiments.delete_tag(call.actor, call.project, body.experiment_id or "", body.key or "")
