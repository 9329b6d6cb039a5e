"""Routes of runs and of the code they run."""

from sill.api.routing import Call, Routes
from sill.core.values import Value
from sill.runs.retention.types import RunsRestored
from sill.runs.types import (
    CodeUpload,
    Comparison,
    ComparisonSpec,
    InlineRun,
    LogChunk,
    Reason,
    Run,
    RunDeleted,
    RunSpec,
    RunSpecs,
    RunsSubmitted,
    RunUpdate,
    View,
)
from sill.stores.database import Page

ROUTES = Routes(tag="runs")


class RunsQuery(Value, frozen=True, kw_only=True):
    """Which runs, and where the page starts."""

    after: str = ""
    limit: int = 100
    state: str = ""
    experiment: str = ""
    kind: str = ""
    parent_id: str = ""
    view: View = View.ACTIVE


class DeleteQuery(Value, frozen=True, kw_only=True):
    """Whether what is deleted is erased at once, with no way back."""

    now: bool = False


class LogsQuery(Value, frozen=True, kw_only=True):
    """From which byte on, and how long to wait for more."""

    offset: int = 0
    wait_s: float = 0.0


@ROUTES.post("/projects/{project}/runs", scope="runs:write", returns=Run, body=RunSpec, status=201)
async def submit_run(call: Call) -> Run:
    """Queue a run."""
    return await call.services.runs.submit(call.actor, call.project, call.body, key=call.key)


@ROUTES.post("/projects/{project}/runs/together", scope="runs:write", returns=RunsSubmitted, body=RunSpecs, status=201)
async def submit_runs(call: Call) -> RunsSubmitted:
    """Queue up to 1,000 runs in one step: all of them or none."""
    return RunsSubmitted(
        runs=await call.services.runs.submit_many(call.actor, call.project, call.body.runs, key=call.key)
    )


@ROUTES.post("/projects/{project}/runs/inline", scope="runs:write", returns=Run, body=InlineRun, status=201)
async def record_inline_run(call: Call) -> Run:
    """Record a run that was executed inside its parent's process."""
    return await call.services.runs.record_inline(call.actor, call.project, call.body, key=call.key)


@ROUTES.get("/projects/{project}/runs", scope="runs:read", returns=Page[Run], query=RunsQuery)
async def list_runs(call: Call) -> Page[Run]:
    """List runs, the newest first."""
    query: RunsQuery = call.query
    return await call.services.runs.runs(
        call.actor,
        call.project,
        after=query.after,
        limit=query.limit,
        state=query.state,
        experiment=query.experiment,
        kind=query.kind,
        parent_id=query.parent_id,
        view=query.view,
    )


@ROUTES.post("/projects/{project}/runs/compare", scope="runs:read", returns=Comparison, body=ComparisonSpec)
async def compare_runs(call: Call) -> Comparison:
    """Compare runs: what of their params, metrics, tags and fields differs."""
    spec: ComparisonSpec = call.body
    return await call.services.comparisons.compare(call.actor, call.project, spec.runs, with_equal=spec.with_equal)


@ROUTES.get("/projects/{project}/runs/{run_id}", scope="runs:read", returns=Run)
async def get_run(call: Call) -> Run:
    """Show a run."""
    return await call.services.runs.run(call.actor, call.project, call.path["run_id"])


@ROUTES.delete("/projects/{project}/runs/{run_id}", scope="runs:write", returns=RunDeleted, query=DeleteQuery)
async def delete_run(call: Call) -> RunDeleted:
    """Delete a run and those under it, to be restored for a while or erased now."""
    return await call.services.retention.delete_run(call.actor, call.project, call.path["run_id"], now=call.query.now)


@ROUTES.post("/projects/{project}/runs/{run_id}/restore", scope="runs:write", returns=RunsRestored)
async def restore_run(call: Call) -> RunsRestored:
    """Bring a deleted run back, with those under it."""
    return await call.services.retention.restore_run(call.actor, call.project, call.path["run_id"])


@ROUTES.post("/projects/{project}/runs/{run_id}/cancel", scope="runs:write", returns=Run)
async def cancel_run(call: Call) -> Run:
    """Cancel a run and those under it."""
    return await call.services.runs.cancel(call.actor, call.project, call.path["run_id"])


@ROUTES.post("/projects/{project}/runs/{run_id}/retry", scope="runs:write", returns=Run, status=201)
async def retry_run(call: Call) -> Run:
    """Submit the same again, as a new run."""
    return await call.services.runs.retry(call.actor, call.project, call.path["run_id"], key=call.key)


@ROUTES.post("/projects/{project}/runs/{run_id}/update", scope="runs:write", returns=Run, body=RunUpdate)
async def update_run(call: Call) -> Run:
    """Take a report of the run's own process: provenance, what it read and made."""
    return await call.services.runs.update(call.actor, call.project, call.path["run_id"], call.body)


@ROUTES.get("/projects/{project}/runs/{run_id}/why", scope="runs:read", returns=Reason)
async def explain_run(call: Call) -> Reason:
    """Say why a run waits, failed or was cancelled."""
    return await call.services.runs.why(call.actor, call.project, call.path["run_id"])


@ROUTES.get("/projects/{project}/runs/{run_id}/logs", scope="runs:read", returns=LogChunk, query=LogsQuery)
async def read_logs(call: Call) -> LogChunk:
    """Read a run's output from a byte on, waiting for more if there is none."""
    query: LogsQuery = call.query
    return await call.services.runs.logs(call.actor, call.project, call.path["run_id"], query.offset, query.wait_s)


@ROUTES.post("/projects/{project}/code", scope="runs:write", returns=CodeUpload, is_raw=True, status=201)
async def upload_code(call: Call) -> CodeUpload:
    """Upload a code archive (zip); its digest is then a run's `code`."""
    return await call.services.runs.upload_code(call.actor, call.project, call.request.stream())
