"""Assessments of traces: what they may be, what a change or an override makes of them, and where they are kept."""

import math
import re
from typing import Any

import msgspec
from sqlalchemy import Connection, delete, insert, select, update

from sill.core.clock import Ids
from sill.core.errors import InvalidValue, NotFound
from sill.core.names import shorten
from sill.runs.tracing import rules
from sill.runs.tracing.store import assessments
from sill.runs.tracing.types import Assessment, AssessmentChange, AssessmentKind, Trace
from sill.stores.database import Tx

NAME_LENGTH_MAX = 250
VALUE_BYTES_MAX = 1_000_000
RATIONALE_LENGTH_MAX = 100_000
PER_TRACE_MAX = 1_000
SOURCES = ("SOURCE_TYPE_UNSPECIFIED", "HUMAN", "LLM_JUDGE", "CODE")
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]{0,99}")
_YES, _NO = frozenset({"yes", "true", "pass"}), frozenset({"no", "false", "fail"})


def check(assessment: Assessment) -> Assessment:
    """The assessment itself, if it is allowed.

    Raises:
        InvalidValue: a field is outside its limits.
    """
    if assessment.id and not _ID.fullmatch(assessment.id):
        raise InvalidValue(f"assessment id {shorten(assessment.id)!r} is not allowed.", field="assessment_id")
    if not 0 < len(assessment.name) <= NAME_LENGTH_MAX or not assessment.name.isprintable():
        raise InvalidValue(
            f"assessment name {shorten(assessment.name)!r} is not allowed: 1 to {NAME_LENGTH_MAX} printable characters are.",
            field="assessment_name",
        )
    if assessment.source_type not in SOURCES:
        raise InvalidValue(
            f"Invalid assessment source type: {shorten(assessment.source_type)}. Valid source types: {list(SOURCES)}.",
            field="source_type",
        )
    if len(assessment.rationale or "") > RATIONALE_LENGTH_MAX:
        raise InvalidValue(f"a rationale has at most {RATIONALE_LENGTH_MAX} characters.", field="rationale")
    if len(msgspec.json.encode(assessment.value)) > VALUE_BYTES_MAX:
        raise InvalidValue(f"an assessment's value has at most {VALUE_BYTES_MAX} bytes of JSON.", field="value")
    rules.check_texts(assessment.metadata, "metadata")
    return assessment


def named(ids: Ids, assessment: Assessment, trace_id: str, now_ms: int) -> Assessment:
    """With an id, the trace it is about, and times where it says none."""
    return msgspec.structs.replace(
        assessment,
        id=assessment.id or ids.new("a"),
        trace_id=trace_id,
        created_ms=assessment.created_ms or now_ms,
        updated_ms=assessment.updated_ms or now_ms,
    )


def changed(known: Assessment, change: AssessmentChange, now_ms: int) -> Assessment:
    """The assessment after a change. Its source and its span stay.

    Raises:
        InvalidValue: the value is of the other kind.
    """
    if change.kind is not None and change.kind is not known.kind:
        raise InvalidValue(
            f"Cannot update {change.kind} value on {known.kind.capitalize()} assessment {known.id}.", field="assessment"
        )
    fields: dict[str, Any] = {"updated_ms": now_ms, "metadata": known.metadata | change.metadata}
    if change.kind is not None:
        fields |= {"value": change.value, "error": change.error}
    if change.name is not None:
        fields["name"] = change.name
    if change.rationale is not None:
        fields["rationale"] = change.rationale
    return check(msgspec.structs.replace(known, **fields))


def number(value: Any) -> float | None:
    """What a value counts as in metrics: a number as it is, true and yes as 1, false and no as 0."""
    if isinstance(value, bool):
        return float(value)
    if isinstance(value, int | float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, str) and value.strip().lower() in _YES | _NO:
        return float(value.strip().lower() in _YES)
    return None


def find(connection: Connection, project: str, trace_id: str, assessment_id: str) -> Assessment | None:
    """The assessment of that trace, or None."""
    t = assessments
    here = (t.c.project == project) & (t.c.trace_id == trace_id) & (t.c.id == assessment_id)
    row = connection.execute(select(t.c.content).where(here)).first()
    return None if row is None else msgspec.json.decode(row.content, type=Assessment)


def get(connection: Connection, project: str, trace_id: str, assessment_id: str) -> Assessment:
    """The assessment.

    Raises:
        NotFound: there is none, or it is another tenant's.
    """
    found = find(connection, project, trace_id, assessment_id)
    if found is None:
        raise NotFound(
            f"Assessment with ID {shorten(assessment_id)!r} not found for trace {shorten(trace_id)!r}.",
            fix="Look at the trace's assessments.",
            field="assessment_id",
        )
    return found


def put(tx: Tx, trace: Trace, assessment: Assessment) -> Assessment:
    """Keep an assessment of the trace, new or changed, whether or not it overrides another.

    Raises:
        InvalidValue: its id is that of another trace's assessment.
        NotFound: what it overrides is not there.
    """
    t = assessments
    owner = tx.execute(select(t.c.trace_id).where(t.c.project == trace.project, t.c.id == assessment.id)).first()
    if owner is not None and owner.trace_id != trace.id:
        raise InvalidValue(f"Assessment with ID {assessment.id!r} belongs to another trace.", field="assessment_id")
    if assessment.overrides and owner is None:
        _mark(tx, trace.project, get(tx.connection, trace.project, trace.id, assessment.overrides), is_valid=False)
    row = _row(trace, assessment)
    if owner is None:
        tx.execute(insert(t).values(project=trace.project, trace_id=trace.id, id=assessment.id, **row))
    else:
        tx.execute(update(t).where(t.c.project == trace.project, t.c.id == assessment.id).values(**row))
    return assessment


def remove(tx: Tx, project: str, assessment: Assessment) -> None:
    """Remove an assessment; what it overrode is valid again."""
    t = assessments
    tx.execute(delete(t).where(t.c.project == project, t.c.id == assessment.id))
    overridden = (
        find(tx.connection, project, assessment.trace_id, assessment.overrides) if assessment.overrides else None
    )
    if overridden is not None:
        _mark(tx, project, overridden, is_valid=True)


def _mark(tx: Tx, project: str, assessment: Assessment, *, is_valid: bool) -> None:
    t = assessments
    content = msgspec.json.encode(msgspec.structs.replace(assessment, is_valid=is_valid)).decode()
    here = (t.c.project == project) & (t.c.id == assessment.id)
    tx.execute(update(t).where(here).values(is_valid=int(is_valid), content=content))


def _row(trace: Trace, assessment: Assessment) -> dict[str, Any]:
    is_of_session = rules.SESSION_KEY in assessment.metadata
    return {
        "name": assessment.name,
        "kind": assessment.kind.value,
        "value": rules.dumped(assessment.value),
        "number": number(assessment.value) if assessment.kind is AssessmentKind.FEEDBACK else None,
        "is_valid": int(assessment.is_valid),
        "session": trace.metadata.get(rules.SESSION_KEY) if is_of_session else None,
        "content": msgspec.json.encode(assessment).decode(),
    }
