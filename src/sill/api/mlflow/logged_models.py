"""Logged models, datasets, inputs and outputs of runs for MLflow's clients."""

import json
from typing import Any

from sill.api.mlflow.wiring import WireRoutes
from sill.api.routing import Call
from sill.protocols.mlflow import errors
from sill.protocols.mlflow.experiments import texts_in
from sill.protocols.mlflow.inputs import (
    EXPERIMENTS_MAX,
    FoundDatasets,
    LogInputs,
    LogOutputs,
    SearchDatasets,
    inputs_in,
    outputs_in,
    summary_out,
)
from sill.protocols.mlflow.logged_models import (
    MAX_RESULTS,
    CreateLoggedModel,
    FinalizeLoggedModel,
    FoundLoggedModels,
    GetLoggedModel,
    LoggedModelAnswer,
    ModelParams,
    ModelTags,
    SearchLoggedModels,
    filters_in,
    logged_model_out,
    order_in,
    spec_in,
    status_in,
)
from sill.protocols.mlflow.runs import LogModel, run_id_in
from sill.runs.types import Batch

ROUTES = WireRoutes(tag="logged models")

HISTORY_TAG = "mlflow.log-model.history"
"""The tag in which clients before logged models kept a run's models, as a JSON list."""
_MODEL_FIELDS = ("artifact_path", "flavors", "utc_time_created", "run_id")


@ROUTES.post("/mlflow/logged-models", scope="runs:write", body=CreateLoggedModel, required=("experiment_id",))
async def create_logged_model(call: Call) -> LoggedModelAnswer:
    """Keep the record of a new model; its files follow."""
    spec = spec_in(call.body)
    return _answer(await call.services.logged_models.create(call.actor, call.project, spec, key=call.key))


@ROUTES.get("/mlflow/logged-models/{model_id}", scope="runs:read", body=GetLoggedModel)
async def get_logged_model(call: Call) -> LoggedModelAnswer:
    """One model."""
    found = await call.services.logged_models.get(
        call.actor, call.project, call.path["model_id"], allow_deleted=call.body.allow_deleted
    )
    return _answer(found)


@ROUTES.patch("/mlflow/logged-models/{model_id}", scope="runs:write", body=FinalizeLoggedModel, required=("status",))
async def finalize_logged_model(call: Call) -> LoggedModelAnswer:
    """Keep that the model's files are there, or that they failed to come."""
    status = status_in(call.body.status)
    model = await call.services.logged_models.finalize(call.actor, call.project, call.path["model_id"], status)
    return _answer(model)


@ROUTES.delete("/mlflow/logged-models/{model_id}", scope="runs:write")
async def delete_logged_model(call: Call) -> None:
    """Delete a model, so that it can be restored for a while."""
    await call.services.logged_models.delete(call.actor, call.project, call.path["model_id"])


@ROUTES.post("/mlflow/logged-models/{model_id}/params", scope="runs:write", body=ModelParams)
async def log_model_params(call: Call) -> None:
    """Set params of a model."""
    params = texts_in(call.body.params, "params")
    await call.services.logged_models.log_params(call.actor, call.project, call.path["model_id"], params)


@ROUTES.patch("/mlflow/logged-models/{model_id}/tags", scope="runs:write", body=ModelTags)
async def set_model_tags(call: Call) -> None:
    """Set tags of a model."""
    tags = texts_in(call.body.tags, "tags")
    await call.services.logged_models.set_tags(call.actor, call.project, call.path["model_id"], tags)


@ROUTES.delete("/mlflow/logged-models/{model_id}/tags/{tag_key}", scope="runs:write")
async def delete_model_tag(call: Call) -> None:
    """Take a tag of a model away."""
    model_id, key = call.path["model_id"], call.path["tag_key"]
    await call.services.logged_models.delete_tag(call.actor, call.project, model_id, key)


@ROUTES.post("/mlflow/logged-models/search", scope="runs:read", body=SearchLoggedModels)
async def search_logged_models(call: Call) -> FoundLoggedModels:
    """Models of experiments that match a filter."""
    body: SearchLoggedModels = call.body
    if not body.experiment_ids:
        raise errors.missing_value("experiment_ids")
    page = await call.services.logged_models.search(
        call.actor,
        call.project,
        experiment_ids=body.experiment_ids,
        filter=body.filter,
        datasets=filters_in(body.datasets),
        order_by=order_in(body.order_by),
        limit=body.max_results or MAX_RESULTS,
        after=body.page_token,
    )
    return FoundLoggedModels(models=tuple(logged_model_out(model) for model in page.items), next_page_token=page.next)


@ROUTES.post("/mlflow/runs/log-inputs", scope="runs:write", body=LogInputs, required=("run_id",))
async def log_inputs(call: Call) -> None:
    """Keep which datasets and models a run read."""
    inputs = inputs_in(call.body)
    await call.services.logged_models.log_inputs(
        call.actor, call.project, run_id_in(call.body), inputs.datasets, inputs.models
    )


@ROUTES.post("/mlflow/runs/outputs", scope="runs:write", body=LogOutputs, required=("run_id", "models"))
async def log_outputs(call: Call) -> None:
    """Keep which models a run made."""
    outputs = outputs_in(call.body)
    await call.services.logged_models.log_outputs(call.actor, call.project, run_id_in(call.body), outputs)


@ROUTES.post("/mlflow/experiments/search-datasets", scope="runs:read", body=SearchDatasets)
async def search_datasets(call: Call) -> FoundDatasets:
    """Datasets that runs of experiments read."""
    given = call.body.experiment_ids
    if not given:
        raise errors.invalid("SearchDatasets request must specify at least one experiment_id.")
    if len(given) > EXPERIMENTS_MAX:
        raise errors.invalid(
            f"SearchDatasets request cannot specify more than {EXPERIMENTS_MAX} experiment_ids. Received {len(given)} "
            "experiment_ids."
        )
    found = await call.services.logged_models.datasets(call.actor, call.project, given)
    return FoundDatasets(dataset_summaries=tuple(summary_out(summary) for summary in found))


@ROUTES.post("/mlflow/runs/log-model", scope="runs:write", body=LogModel, required=("run_id", "model_json"))
async def log_model(call: Call) -> None:
    """Add a model to the run's list of models, as clients before logged models did."""
    model = _model_of(call.body.model_json)
    run_id = run_id_in(call.body)
    tracking = call.services.tracking
    record = await tracking.record(call.actor, call.project, run_id)
    known = json.loads(record.tags.get(HISTORY_TAG, "[]"))
    tags = {HISTORY_TAG: json.dumps([*known, model])}
    await tracking.log(call.actor, call.project, run_id, Batch(tags=tags), key=call.key)


def _model_of(text: str) -> dict[str, Any]:
    """The model's description without its environment, as MLflow keeps it in the tag."""
    try:
        model = json.loads(text)
    except (ValueError, RecursionError) as wrong:
        raise errors.invalid("Malformed model info. It is not a valid JSON.") from wrong
    if not isinstance(model, dict):
        raise errors.invalid("Malformed model info. It is not a JSON object.")
    missing = sorted(set(_MODEL_FIELDS) - set(model))
    if missing:
        raise errors.invalid(f"Model json is missing mandatory fields: {missing}")
    return {name: value for name, value in model.items() if name not in ("env_vars",)}


def _answer(model: Any) -> LoggedModelAnswer:
    return LoggedModelAnswer(model=logged_model_out(model))
