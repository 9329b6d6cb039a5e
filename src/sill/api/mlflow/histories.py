"""Histories of metrics for MLflow's clients: one run's in pages, several runs' at once, and thinned out for charts."""

from sill.api.mlflow.wiring import WireRoutes
from sill.api.routing import Call
from sill.protocols.mlflow import errors
from sill.protocols.mlflow.runs import (
    BulkPoints,
    GetHistoryBulk,
    GetHistoryInterval,
    GetMetricHistory,
    Points,
    metric_out,
    points_out,
    run_id_in,
)

ROUTES = WireRoutes(tag="histories")

PAGE = 25_000
"""Points of a page if the client does not say; its client asks on until there is no token."""
RUNS_MAX = 100
POINTS_PER_RUN_MAX = 2_500


@ROUTES.get("/mlflow/metrics/get-history", scope="runs:read", body=GetMetricHistory, required=("run_id", "metric_key"))
async def get_history(call: Call) -> Points:
    """All points of a metric, a page at a time."""
    body: GetMetricHistory = call.body
    page = await call.services.tracking.history(
        call.actor,
        call.project,
        run_id_in(body),
        body.metric_key or "",
        limit=min(body.max_results or PAGE, PAGE),
        after=body.page_token,
    )
    return Points(metrics=tuple([metric_out(point) for point in page.items]), next_page_token=page.next)


@ROUTES.get("/mlflow/metrics/get-history-bulk", scope="runs:read", body=GetHistoryBulk)
async def get_history_bulk(call: Call) -> BulkPoints:
    """Points of one metric of several runs."""
    body: GetHistoryBulk = call.body
    if not body.run_id:
        raise errors.invalid("GetMetricHistoryBulk request must specify at least one run_id.")
    if len(body.run_id) > RUNS_MAX:
        raise errors.invalid(
            f"GetMetricHistoryBulk request cannot specify more than {RUNS_MAX} run_ids. Received {len(body.run_id)} "
            "run_ids."
        )
    if body.metric_key is None:
        raise errors.invalid("GetMetricHistoryBulk request must specify a metric_key.")
    limit = min(PAGE if body.max_results is None else body.max_results, PAGE)
    found = await call.services.tracking.history_bulk(call.actor, call.project, body.run_id, body.metric_key, limit)
    return BulkPoints(metrics=points_out(found))


@ROUTES.get(
    "/mlflow/metrics/get-history-bulk-interval",
    scope="runs:read",
    body=GetHistoryInterval,
    required=("run_ids", "metric_key"),
)
async def get_history_interval(call: Call) -> Points:
    """Points of one metric of several runs, between two steps, thinned out."""
    body: GetHistoryInterval = call.body
    if len(body.run_ids) > RUNS_MAX:
        raise errors.invalid(
            f"GetMetricHistoryBulkInterval request must specify at most {RUNS_MAX} run_ids. Received "
            f"{len(body.run_ids)} run_ids.{errors.SEE_DOCS}"
        )
    points = POINTS_PER_RUN_MAX if body.max_results is None else body.max_results
    if not 1 <= points <= POINTS_PER_RUN_MAX:
        raise errors.invalid(f"max_results must be between 1 and {POINTS_PER_RUN_MAX}.{errors.SEE_DOCS}")
    if (body.start_step is None) != (body.end_step is None):
        raise errors.invalid("If either start step or end step are specified, both must be specified.")
    if body.start_step is not None and body.end_step is not None and body.start_step > body.end_step:
        raise errors.invalid(
            f"end_step must be greater than start_step. Found start_step={body.start_step} and end_step={body.end_step}."
        )
    found = await call.services.tracking.history_sampled(
        call.actor,
        call.project,
        body.run_ids,
        body.metric_key or "",
        start_step=body.start_step,
        end_step=body.end_step,
        points=points,
    )
    return Points(metrics=points_out(found))
