"""Messages about assessments of traces."""

import json
from typing import Any

import msgspec

from sill.core.names import shorten
from sill.protocols.mlflow.errors import invalid
from sill.protocols.mlflow.times import read_time, write_time
from sill.protocols.mlflow.wire import Wire
from sill.runs.tracing.types import Assessment, AssessmentChange, AssessmentError, AssessmentKind
from sill.safety import strict_json

JSON_FORMAT = "JSON_FORMAT"


class SourceWire(Wire, frozen=True, kw_only=True):
    """Who says it."""

    source_type: str | None = None
    source_id: str | None = None


class ErrorWire(Wire, frozen=True, kw_only=True):
    """Why there is no value."""

    error_code: str | None = None
    error_message: str | None = None
    stack_trace: str | None = None


class FeedbackWire(Wire, frozen=True, kw_only=True):
    """What somebody found."""

    value: Any = None
    error: ErrorWire | None = None


class SerializedWire(Wire, frozen=True, kw_only=True):
    """A value that is neither number, text nor truth."""

    serialization_format: str | None = None
    value: str | None = None


class ExpectationWire(Wire, frozen=True, kw_only=True):
    """What was to be expected."""

    value: Any = None
    serialized_value: SerializedWire | None = None


class IssueWire(Wire, frozen=True, kw_only=True):
    """Which issue it belongs to."""

    issue_name: str | None = None


class AssessmentWire(Wire, frozen=True, kw_only=True):
    """An assessment."""

    assessment_id: str | None = None
    assessment_name: str | None = None
    trace_id: str | None = None
    span_id: str | None = None
    source: SourceWire | None = None
    create_time: str | None = None
    last_update_time: str | None = None
    feedback: FeedbackWire | None = None
    expectation: ExpectationWire | None = None
    issue: IssueWire | None = None
    rationale: str | None = None
    error: ErrorWire | None = None
    metadata: dict[str, str] | None = None
    overrides: str | None = None
    valid: bool | None = None


class CreateAssessment(Wire, frozen=True, kw_only=True):
    """Request."""

    assessment: AssessmentWire | None = None


class UpdateAssessment(Wire, frozen=True, kw_only=True):
    """Request. The mask names the fields that change, in camel case, joined by commas."""

    assessment: AssessmentWire | None = None
    update_mask: str | None = None


class AssessmentAnswer(Wire, frozen=True, kw_only=True):
    """Answer."""

    assessment: AssessmentWire


def assessment_in(told: AssessmentWire, trace_id: str) -> Assessment:
    """The assessment of that trace.

    Raises:
        InvalidValue: it is not exactly one of feedback, expectation and issue.
    """
    kind, value, error = _value(told)
    source = told.source or SourceWire()
    return Assessment(
        id=told.assessment_id or "",
        trace_id=trace_id,
        name=told.assessment_name or "",
        kind=kind,
        value=value,
        error=error,
        source_type=(source.source_type or "SOURCE_TYPE_UNSPECIFIED").upper(),
        source_id=source.source_id or "",
        span_id=told.span_id or "",
        rationale=told.rationale,
        metadata=told.metadata or {},
        overrides=told.overrides or "",
        is_valid=told.valid is not False,
        created_ms=read_time(told.create_time, "create_time") if told.create_time else 0,
        updated_ms=read_time(told.last_update_time, "last_update_time") if told.last_update_time else 0,
    )


def change_in(told: UpdateAssessment) -> AssessmentChange:
    """What changes: the fields in the mask.

    Raises:
        InvalidValue: both a feedback and an expectation change.
    """
    given = told.assessment or AssessmentWire()
    mask = {name.strip() for name in (told.update_mask or "").split(",")}
    fields: dict[str, Any] = {}
    if mask & {"feedback", "expectation"}:
        kind, value, error = _value(msgspec.structs.replace(given, issue=None))
        fields |= {"kind": kind, "value": value, "error": error}
    if mask & {"assessmentName", "assessment_name"}:
        fields["name"] = given.assessment_name or ""
    if "rationale" in mask:
        fields["rationale"] = given.rationale or ""
    if "metadata" in mask:
        fields["metadata"] = given.metadata or {}
    return AssessmentChange(**fields)


def assessment_out(known: Assessment) -> AssessmentWire:
    """The assessment as a message."""
    feedback = expectation = issue = None
    if known.kind is AssessmentKind.FEEDBACK:
        feedback = FeedbackWire(value=known.value, error=_error_out(known.error))
    elif known.kind is AssessmentKind.ISSUE:
        issue = IssueWire(issue_name=str(known.value))
    elif isinstance(known.value, list | dict):
        serialized = SerializedWire(serialization_format=JSON_FORMAT, value=json.dumps(known.value))
        expectation = ExpectationWire(serialized_value=serialized)
    else:
        expectation = ExpectationWire(value=known.value)
    return AssessmentWire(
        assessment_id=known.id,
        assessment_name=known.name,
        trace_id=known.trace_id,
        span_id=known.span_id or None,
        source=SourceWire(source_type=known.source_type, source_id=known.source_id),
        create_time=write_time(known.created_ms),
        last_update_time=write_time(known.updated_ms),
        feedback=feedback,
        expectation=expectation,
        issue=issue,
        rationale=known.rationale,
        metadata=known.metadata or None,
        overrides=known.overrides or None,
        valid=known.is_valid,
    )


def _value(told: AssessmentWire) -> tuple[AssessmentKind, Any, AssessmentError | None]:
    given = [part for part in (told.feedback, told.expectation, told.issue) if part is not None]
    if len(given) != 1:
        raise invalid("Exactly one of `expectation`, `feedback`, or `issue` should be specified.")
    if told.feedback is not None:
        return AssessmentKind.FEEDBACK, told.feedback.value, _error_in(told.feedback.error or told.error)
    if told.issue is not None:
        return AssessmentKind.ISSUE, told.issue.issue_name or "", None
    assert told.expectation is not None
    serialized = told.expectation.serialized_value
    if serialized is None:
        return AssessmentKind.EXPECTATION, told.expectation.value, None
    if serialized.serialization_format != JSON_FORMAT:
        raise invalid(
            f"Unknown serialization format: {shorten(serialized.serialization_format or '')}. Only {JSON_FORMAT} is supported."
        )
    return AssessmentKind.EXPECTATION, strict_json.decode_any((serialized.value or "null").encode()), None


def _error_in(told: ErrorWire | None) -> AssessmentError | None:
    if told is None:
        return None
    return AssessmentError(
        code=told.error_code or "", message=told.error_message or "", stack_trace=told.stack_trace or ""
    )


def _error_out(known: AssessmentError | None) -> ErrorWire | None:
    if known is None:
        return None
    return ErrorWire(
        error_code=known.code or None, error_message=known.message or None, stack_trace=known.stack_trace or None
    )
