"""Tables of traces, their texts, spans and links, and the queries on them. Searching is left to `search`."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import BigInteger, Column, Connection, Double, Index, Table, Text, delete, insert, select, update

from sill.core.errors import NotFound
from sill.core.names import shorten
from sill.runs.tracing import rules
from sill.runs.tracing.types import Assessment, Span, Trace, TraceSelection, TraceState
from sill.runs.tracking import artifact_store
from sill.runs.tracking.tables import artifacts
from sill.stores.database import Tx, metadata
from sill.stores.database.schema import key_type
from sill.stores.database.sql import in_groups, insert_rows

TAG, METADATA = "tag", "metadata"
RUN, PROMPT = "run", "prompt"

traces = Table(
    "traces",
    metadata,
    Column("project", key_type(100), primary_key=True),
    Column("id", key_type(100), primary_key=True),
    Column("experiment_id", key_type(20), nullable=False),
    Column("started_ms", BigInteger, nullable=False),
    Column("duration_ms", BigInteger),
    Column("state", key_type(20), nullable=False),
    Column("name", Text),
    Column("session", Text),
    Column("client_request_id", key_type(rules.KEY_LENGTH_MAX)),
    Column("request_preview", Text),
    Column("response_preview", Text),
    Column("is_final", BigInteger, nullable=False),
    *(Column(key, BigInteger) for key in rules.TOKEN_KEYS),
    Index("traces_started", "project", "experiment_id", "started_ms", "id"),
)
"""`name`, `session` and the token counts stand among the texts too; here they are for metrics and orders."""
texts = Table(
    "trace_texts",
    metadata,
    Column("project", key_type(100), primary_key=True),
    Column("trace_id", key_type(100), primary_key=True),
    Column("kind", key_type(20), primary_key=True),
    Column("key", key_type(rules.KEY_LENGTH_MAX), primary_key=True),
    Column("value", Text, nullable=False),
)
spans = Table(
    "trace_spans",
    metadata,
    Column("project", key_type(100), primary_key=True),
    Column("trace_id", key_type(100), primary_key=True),
    Column("span_id", key_type(20), primary_key=True),
    Column("parent_id", key_type(20), nullable=False),
    Column("name", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("status", key_type(20), nullable=False),
    Column("start_ns", BigInteger, nullable=False),
    Column("end_ns", BigInteger, nullable=False),
    Column("model", Text),
    Column("provider", Text),
    Column("usage", Text),
    *(Column(key, Double) for key in rules.COST_KEYS),
    Column("content", Text, nullable=False),
)
"""`content` is the span as JSON."""
links = Table(
    "trace_links",
    metadata,
    Column("project", key_type(100), primary_key=True),
    Column("kind", key_type(20), primary_key=True),
    Column("target", key_type(600), primary_key=True),
    Column("trace_id", key_type(100), primary_key=True),
    Index("trace_links_trace", "project", "trace_id"),
)
"""Runs and prompt versions (`name/version`) a trace has to do with."""
assessments = Table(
    "trace_assessments",
    metadata,
    Column("project", key_type(100), primary_key=True),
    Column("trace_id", key_type(100), primary_key=True),
    Column("id", key_type(100), primary_key=True),
    Column("name", Text, nullable=False),
    Column("kind", key_type(20), nullable=False),
    Column("value", Text, nullable=False),
    Column("number", Double),
    Column("is_valid", BigInteger, nullable=False),
    Column("session", Text),
    Column("content", Text, nullable=False),
    Index("trace_assessments_id", "project", "id", unique=True),
)
"""`value` is its JSON, `number` what it counts as in metrics, `session` set if it is about the whole session."""
_OF_TRACE = (texts, spans, links, assessments)
_TRACE_COLUMNS = tuple(column.name for column in traces.columns)
_SPAN_COLUMNS = tuple(column.name for column in spans.columns)
_TEXT_COLUMNS = tuple(column.name for column in texts.columns)


class Kept(NamedTuple):
    """A trace as it is kept, and whether its client has reported the whole of it."""

    trace: Trace
    is_final: bool


def load(connection: Connection, project: str, ids: Iterable[str]) -> dict[str, Kept]:
    """Those of the traces that are there, with tags, metadata and assessments."""
    found: dict[str, Kept] = {}
    for some in in_groups(list(ids)):
        rows = connection.execute(select(traces).where(traces.c.project == project, traces.c.id.in_(some)))
        found |= _read(connection, project, list(rows))
    return found


def get(connection: Connection, project: str, trace_id: str) -> Kept:
    """The trace.

    Raises:
        NotFound: absent, or another tenant's.
    """
    found = load(connection, project, [trace_id]).get(trace_id)
    if found is None:
        raise NotFound(
            f"Trace with ID {shorten(trace_id)!r} is not found in project {project!r}.",
            fix="Search the traces of the experiment.",
            field="trace_id",
        )
    return found


def create(tx: Tx, made: Sequence[Trace], *, is_final: bool) -> None:
    """Keep new traces with tags and metadata, in two statements however many there are."""
    rows = [_row(trace) | {"is_final": int(is_final)} for trace in made]
    insert_rows(tx.connection, traces, _TRACE_COLUMNS, [tuple(row[name] for name in _TRACE_COLUMNS) for row in rows])
    told = [
        (trace.project, trace.id, kind, key, value)
        for trace in made
        for kind, given in ((TAG, trace.tags), (METADATA, trace.metadata))
        for key, value in given.items()
    ]
    insert_rows(tx.connection, texts, _TEXT_COLUMNS, told)


def save(tx: Tx, known: Trace, trace: Trace, *, is_final: bool) -> None:
    """Keep a changed trace with its tags and metadata; assessments are kept by themselves."""
    t = traces
    row = _row(trace) | {"is_final": int(is_final)}
    tx.execute(update(t).where(t.c.project == trace.project, t.c.id == trace.id).values(**row))
    for kind, before, after in ((TAG, known.tags, trace.tags), (METADATA, known.metadata, trace.metadata)):
        changed = {key: value for key, value in after.items() if before.get(key) != value}
        put_texts(tx, trace.project, trace.id, kind, changed)


def put_texts(tx: Tx, project: str, trace_id: str, kind: str, given: dict[str, str]) -> None:
    """Keep tags or metadata, new or changed."""
    if given:
        t = texts
        here = (t.c.project == project) & (t.c.trace_id == trace_id) & (t.c.kind == kind)
        tx.execute(delete(t).where(here, t.c.key.in_(given)))
        insert_rows(
            tx.connection, t, _TEXT_COLUMNS, [(project, trace_id, kind, key, value) for key, value in given.items()]
        )


def delete_tag(tx: Tx, project: str, trace_id: str, key: str) -> bool:
    """Remove a tag; True if there was one."""
    t = texts
    here = (t.c.project == project) & (t.c.trace_id == trace_id) & (t.c.kind == TAG) & (t.c.key == key)
    if key == rules.NAME_TAG:
        tx.execute(update(traces).where(traces.c.project == project, traces.c.id == trace_id).values(name=None))
    return tx.execute(delete(t).where(here)).rowcount > 0


def put_spans(tx: Tx, project: str, given: Sequence[Span]) -> None:
    """Keep spans; one that is there already is replaced."""
    t = spans
    by_trace: dict[str, list[Span]] = {}
    for span in given:
        by_trace.setdefault(span.trace_id, []).append(span)
    for trace_id, group in by_trace.items():
        for some in in_groups([span.span_id for span in group]):
            tx.execute(delete(t).where(t.c.project == project, t.c.trace_id == trace_id, t.c.span_id.in_(some)))
    rows = {(span.trace_id, span.span_id): _span_row(project, span) for span in given}
    insert_rows(tx.connection, t, _SPAN_COLUMNS, list(rows.values()))


def read_spans(connection: Connection, project: str, ids: Sequence[str]) -> dict[str, list[Span]]:
    """The spans of each trace that has any, the root first."""
    t = spans
    found: dict[str, list[Span]] = {}
    for some in in_groups(ids):
        for row in connection.execute(select(t.c.content).where(t.c.project == project, t.c.trace_id.in_(some))):
            span = msgspec.json.decode(row.content, type=Span)
            found.setdefault(span.trace_id, []).append(span)
    return {trace_id: rules.in_order(each) for trace_id, each in found.items()}


def nodes(connection: Connection, project: str, trace_id: str) -> list[rules.Node]:
    """What each span of the trace says of its tokens and its cost."""
    t = spans
    costs = [t.c[key] for key in rules.COST_KEYS]
    rows = connection.execute(
        select(t.c.span_id, t.c.parent_id, t.c.usage, *costs).where(t.c.project == project, t.c.trace_id == trace_id)
    )
    return [
        (
            row.span_id,
            row.parent_id,
            msgspec.json.decode(row.usage) if row.usage else {},
            {key: getattr(row, key) for key in rules.COST_KEYS if getattr(row, key) is not None},
        )
        for row in rows
    ]


def link(tx: Tx, project: str, kind: str, pairs: Iterable[tuple[str, str]]) -> None:
    """Keep that traces have to do with targets, given as (trace, target); known links stay."""
    t = links
    for trace_id, target in pairs:
        here = (t.c.project == project) & (t.c.kind == kind) & (t.c.target == target) & (t.c.trace_id == trace_id)
        if tx.execute(select(t.c.kind).where(here)).first() is None:
            tx.execute(insert(t).values(project=project, kind=kind, target=target, trace_id=trace_id))


def select_ids(connection: Connection, project: str, experiment_id: str, selection: TraceSelection) -> list[str]:
    """Ids of the traces meant, the oldest first."""
    t = traces
    query = select(t.c.id).where(t.c.project == project, t.c.experiment_id == experiment_id)
    if selection.until_ms is not None:
        query = query.where(t.c.started_ms <= selection.until_ms)
    if selection.limit is not None:
        query = query.limit(selection.limit)
    query = query.order_by(t.c.started_ms, t.c.id)
    if not selection.ids:
        return list(connection.execute(query).scalars())
    return [
        found
        for some in in_groups(selection.ids)
        for found in connection.execute(query.where(t.c.id.in_(some))).scalars()
    ]


def forget(tx: Tx, project: str, ids: Sequence[str]) -> tuple[int, set[str]]:
    """Remove traces and all that belongs to them; how many there were, and digests of files kept beside them."""
    count, digests = 0, set()
    for some in in_groups(ids):
        owners = select(artifacts.c.run_id).where(artifacts.c.project == project, artifacts.c.run_id.in_(some))
        for trace_id in tx.execute(owners.distinct()).scalars().all():
            digests |= artifact_store.forget(tx, project, trace_id)
        for table in _OF_TRACE:
            tx.execute(delete(table).where(table.c.project == project, table.c.trace_id.in_(some)))
        count += tx.execute(delete(traces).where(traces.c.project == project, traces.c.id.in_(some))).rowcount
    return count, digests


def forget_run(tx: Tx, project: str, run_id: str) -> set[str]:
    """Remove what links traces to a run that is gone; the traces stay in their experiment. No blobs were held."""
    t = links
    tx.execute(delete(t).where(t.c.project == project, t.c.kind == RUN, t.c.target == run_id))
    return set()


def forget_experiment(tx: Tx, project: str, experiment_id: str) -> set[str]:
    """Remove all traces of an experiment that is gone; digests of files kept beside them."""
    t = traces
    ids = tx.execute(select(t.c.id).where(t.c.project == project, t.c.experiment_id == experiment_id)).scalars()
    return forget(tx, project, ids.all())[1]


def _read(connection: Connection, project: str, rows: list[Any]) -> dict[str, Kept]:
    ids = [row.id for row in rows]
    told: dict[str, dict[str, dict[str, str]]] = {trace_id: {TAG: {}, METADATA: {}} for trace_id in ids}
    t = texts
    for row in connection.execute(select(t).where(t.c.project == project, t.c.trace_id.in_(ids)).order_by(t.c.key)):
        told[row.trace_id][row.kind][row.key] = row.value
    said: dict[str, list[Assessment]] = {trace_id: [] for trace_id in ids}
    a = assessments
    for row in connection.execute(select(a.c.content).where(a.c.project == project, a.c.trace_id.in_(ids))):
        assessment = msgspec.json.decode(row.content, type=Assessment)
        said[assessment.trace_id].append(assessment)
    return {row.id: Kept(_trace(row, told[row.id], said[row.id]), bool(row.is_final)) for row in rows}


def _trace(row: Any, told: dict[str, dict[str, str]], said: list[Assessment]) -> Trace:
    return Trace(
        id=row.id,
        project=row.project,
        experiment_id=row.experiment_id,
        started_ms=row.started_ms,
        duration_ms=row.duration_ms,
        state=TraceState(row.state),
        client_request_id=row.client_request_id,
        request_preview=row.request_preview,
        response_preview=row.response_preview,
        metadata=told[METADATA],
        tags=told[TAG],
        assessments=tuple(sorted(said, key=lambda one: (one.created_ms, one.id))),
    )


def _row(trace: Trace) -> dict[str, Any]:
    names = ("id", "project", "experiment_id", "started_ms", "duration_ms", "client_request_id")
    tokens = _counts(trace.metadata.get(rules.TOKENS_KEY, ""))
    return {
        **{name: getattr(trace, name) for name in (*names, "request_preview", "response_preview")},
        "state": trace.state.value,
        "name": trace.tags.get(rules.NAME_TAG),
        "session": trace.metadata.get(rules.SESSION_KEY),
        **{key: tokens.get(key) for key in rules.TOKEN_KEYS},
    }


def _counts(said: str) -> dict[str, int]:
    """Token counts from their JSON, those that are whole numbers."""
    try:
        counts = msgspec.json.decode(said) if said else {}
    except msgspec.DecodeError:
        return {}
    if not isinstance(counts, dict):
        return {}
    return {key: value for key, value in counts.items() if type(value) is int and 0 <= value < 2**53}


def _span_row(project: str, span: Span) -> tuple[Any, ...]:
    used, costs = rules.usage(span), rules.cost(span)
    return (
        *(project, span.trace_id, span.span_id, span.parent_id, span.name, rules.span_type(span), span.status.value),
        *(span.start_ns, span.end_ns),
        rules.text_of(span.attributes.get(rules.MODEL)) or None,
        rules.text_of(span.attributes.get(rules.PROVIDER)) or None,
        msgspec.json.encode(used).decode() if used else None,
        *(costs.get(key) for key in rules.COST_KEYS),
        msgspec.json.encode(span).decode(),
    )
