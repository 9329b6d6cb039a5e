"""Messages about issues."""

from typing import Annotated, Any

import msgspec

from sill.protocols.mlflow.errors import invalid
from sill.protocols.mlflow.wire import Wire
from sill.runs.tracing.types import Issue, IssueChange, IssueSeverity, IssueSpec, IssueStatus

MAX_RESULTS = 100
Count = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]


class CreateIssue(Wire, frozen=True, kw_only=True):
    """Request."""

    experiment_id: str | None = None
    name: str | None = None
    description: str | None = None
    status: str | None = None
    severity: str | None = None
    root_causes: tuple[str, ...] | None = None
    source_run_id: str | None = None
    created_by: str | None = None
    categories: tuple[str, ...] | None = None


class UpdateIssue(Wire, frozen=True, kw_only=True):
    """Request."""

    name: str | None = None
    description: str | None = None
    status: str | None = None
    severity: str | None = None


class IssueWire(Wire, frozen=True, kw_only=True):
    """An issue."""

    issue_id: str
    experiment_id: str
    name: str
    description: str
    status: str
    severity: str | None = None
    root_causes: tuple[str, ...] = ()
    source_run_id: str | None = None
    created_timestamp: int
    last_updated_timestamp: int
    created_by: str | None = None
    categories: tuple[str, ...] = ()


class IssueAnswer(Wire, frozen=True, kw_only=True):
    """Answer."""

    issue: IssueWire


class SearchIssues(Wire, frozen=True, kw_only=True):
    """Request."""

    experiment_id: str | None = None
    filter_string: str | None = None
    max_results: Count | None = None
    page_token: str | None = None


class FoundIssues(Wire, frozen=True, kw_only=True, omit_defaults=False):
    """Answer."""

    issues: tuple[IssueWire, ...]
    next_page_token: str


def spec_in(told: CreateIssue) -> IssueSpec:
    """The issue to note.

    Raises:
        InvalidValue: status or severity is not known.
    """
    return IssueSpec(
        experiment_id=told.experiment_id or "",
        name=told.name or "",
        description=told.description or "",
        status=_one_of(IssueStatus, told.status, "status") or IssueStatus.PENDING,
        severity=_one_of(IssueSeverity, told.severity, "severity"),
        root_causes=told.root_causes or (),
        categories=told.categories or (),
        source_run_id=told.source_run_id or "",
        created_by=told.created_by or "",
    )


def change_in(told: UpdateIssue) -> IssueChange:
    """What changes; an empty text leaves a field as it is."""
    return IssueChange(
        name=told.name or None,
        description=told.description or None,
        status=_one_of(IssueStatus, told.status, "status"),
        severity=_one_of(IssueSeverity, told.severity, "severity"),
    )


def issue_out(issue: Issue) -> IssueWire:
    """The issue as a message."""
    spec = issue.spec
    return IssueWire(
        issue_id=issue.id,
        experiment_id=issue.experiment_id,
        name=spec.name,
        description=spec.description,
        status=spec.status.value,
        severity=spec.severity.value if spec.severity else None,
        root_causes=spec.root_causes,
        source_run_id=spec.source_run_id or None,
        created_timestamp=issue.created_us // 1_000,
        last_updated_timestamp=issue.updated_us // 1_000,
        created_by=spec.created_by or None,
        categories=spec.categories,
    )


def _one_of(kind: Any, value: str | None, field: str) -> Any:
    known = [member.value for member in kind]
    if value and value not in known:
        raise invalid(f"Invalid value for parameter '{field}'; one of {known} is.")
    return kind(value) if value else None
