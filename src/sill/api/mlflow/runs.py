"""Runs for MLflow's clients: begin, change, search, delete, restore, and what they log."""

import msgspec

from sill.api.mlflow.wiring import WireRoutes
from sill.api.routing import Call
from sill.protocols.mlflow import errors
from sill.protocols.mlflow.experiments import texts_in, view_in
from sill.protocols.mlflow.runs import (
    CreateRun,
    FoundRuns,
    LogBatch,
    LogMetric,
    RunAnswer,
    RunId,
    RunText,
    SearchRuns,
    UpdatedRun,
    UpdateRun,
    batch_in,
    info_out,
    metric_in,
    run_id_in,
    run_out,
    state_in,
    time_us,
)
from sill.runs.types import Batch, ExternalStart, ExternalUpdate

ROUTES = WireRoutes(tag="runs")

RESULTS_MAX = 50_000


@ROUTES.post("/mlflow/runs/create", scope="runs:write", body=CreateRun)
async def create_run(call: Call) -> RunAnswer:
    """Begin a run that its client executes."""
    body: CreateRun = call.body
    start = ExternalStart(
        experiment_id=body.experiment_id or "0",
        name=body.run_name,
        user=body.user_id,
        start_us=time_us(body.start_time, "start_time"),
        tags=texts_in(body.tags, "tags"),
    )
    run = await call.services.external_runs.start(call.actor, call.project, start, key=call.key)
    begun = run_out(await call.services.tracking.record(call.actor, call.project, run.id))
    return RunAnswer(run=msgspec.structs.replace(begun, outputs=None))


@ROUTES.post("/mlflow/runs/update", scope="runs:write", body=UpdateRun, required=("run_id",))
async def update_run(call: Call) -> UpdatedRun:
    """Keep a run's state, end or name."""
    body: UpdateRun = call.body
    change = ExternalUpdate(
        state=state_in(body.status), end_us=time_us(body.end_time, "end_time"), name=body.run_name or ""
    )
    run = await call.services.external_runs.update(call.actor, call.project, run_id_in(body), change)
    return UpdatedRun(run_info=info_out(run))


@ROUTES.post("/mlflow/runs/delete", scope="runs:write", body=RunId, required=("run_id",))
async def delete_run(call: Call) -> None:
    """Delete a run, so that it can be restored for a while."""
    await call.services.external_runs.delete(call.actor, call.project, run_id_in(call.body))


@ROUTES.post("/mlflow/runs/restore", scope="runs:write", body=RunId, required=("run_id",))
async def restore_run(call: Call) -> None:
    """Bring a deleted run back."""
    await call.services.external_runs.restore(call.actor, call.project, run_id_in(call.body))


@ROUTES.get("/mlflow/runs/get", scope="runs:read", body=RunId, required=("run_id",))
async def get_run(call: Call) -> RunAnswer:
    """One run with the last point of each metric, params, tags, inputs and outputs."""
    return RunAnswer(run=run_out(await call.services.tracking.record(call.actor, call.project, run_id_in(call.body))))


@ROUTES.post("/mlflow/runs/search", scope="runs:read", body=SearchRuns)
async def search_runs(call: Call) -> FoundRuns:
    """Runs of experiments that match a filter."""
    body: SearchRuns = call.body
    if body.max_results > RESULTS_MAX:
        raise errors.invalid_value("max_results", body.max_results)
    page = await call.services.tracking.search(
        call.actor,
        call.project,
        body.experiment_ids,
        filter=body.filter,
        order_by=body.order_by,
        view=view_in(body.run_view_type, "run_view_type"),
        limit=body.max_results,
        after=body.page_token,
    )
    return FoundRuns(runs=tuple([run_out(record) for record in page.items]), next_page_token=page.next)


@ROUTES.post("/mlflow/runs/log-batch", scope="runs:write", body=LogBatch, required=("run_id",))
async def log_batch(call: Call) -> None:
    """Log metrics, params and tags together, or nothing of them."""
    await _log(call, batch_in(call.body))


@ROUTES.post(
    "/mlflow/runs/log-metric", scope="runs:write", body=LogMetric, required=("run_id", "key", "value", "timestamp")
)
async def log_metric(call: Call) -> None:
    """Log one point."""
    await _log(call, metric_in(call.body))


@ROUTES.post("/mlflow/runs/log-parameter", scope="runs:write", body=RunText, required=("run_id", "key"))
async def log_param(call: Call) -> None:
    """Log a param, which cannot change afterwards."""
    await _log(call, Batch(params={call.body.key: call.body.value}))


@ROUTES.post("/mlflow/runs/set-tag", scope="runs:write", body=RunText, required=("run_id", "key"))
async def set_tag(call: Call) -> None:
    """Set a tag of a run."""
    await _log(call, Batch(tags={call.body.key: call.body.value}))


@ROUTES.post("/mlflow/runs/delete-tag", scope="runs:write", body=RunText, required=("run_id", "key"))
async def delete_tag(call: Call) -> None:
    """Take a tag of a run away."""
    await call.services.tracking.delete_tag(call.actor, call.project, run_id_in(call.body), call.body.key)


async def _log(call: Call, batch: Batch) -> None:
    await call.services.tracking.log(call.actor, call.project, run_id_in(call.body), batch, key=call.key)
