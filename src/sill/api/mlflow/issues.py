"""Issues for MLflow's clients."""

from sill.api.mlflow.wiring import WireRoutes
from sill.api.routing import Call
from sill.protocols.mlflow import issues as messages

ROUTES = WireRoutes(tag="issues")


@ROUTES.post(
    "/mlflow/issues",
    version=3,
    scope="runs:write",
    body=messages.CreateIssue,
    required=("name", "description", "experiment_id"),
)
async def create_issue(call: Call) -> messages.IssueAnswer:
    """Note an issue."""
    made = await call.services.issues.create(call.actor, call.project, messages.spec_in(call.body))
    return messages.IssueAnswer(issue=messages.issue_out(made))


@ROUTES.get("/mlflow/issues/{issue_id}", version=3, scope="runs:read")
async def get_issue(call: Call) -> messages.IssueAnswer:
    """One issue."""
    found = await call.services.issues.get(call.actor, call.project, call.path["issue_id"])
    return messages.IssueAnswer(issue=messages.issue_out(found))


@ROUTES.patch("/mlflow/issues/{issue_id}", version=3, scope="runs:write", body=messages.UpdateIssue)
async def update_issue(call: Call) -> messages.IssueAnswer:
    """Change an issue."""
    change = messages.change_in(call.body)
    kept = await call.services.issues.change(call.actor, call.project, call.path["issue_id"], change)
    return messages.IssueAnswer(issue=messages.issue_out(kept))


@ROUTES.post("/mlflow/issues/search", version=3, scope="runs:read", body=messages.SearchIssues)
async def search_issues(call: Call) -> messages.FoundIssues:
    """Issues that match a filter."""
    body: messages.SearchIssues = call.body
    page = await call.services.issues.search(
        call.actor,
        call.project,
        experiment_id=body.experiment_id or "",
        filter=body.filter_string or "",
        limit=body.max_results or messages.MAX_RESULTS,
        after=body.page_token or "",
    )
    return messages.FoundIssues(issues=tuple(map(messages.issue_out, page.items)), next_page_token=page.next)
