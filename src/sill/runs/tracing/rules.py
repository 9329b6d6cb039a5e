"""What a trace becomes when spans of it arrive, and what its names and texts may be. Pure."""

import json
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import msgspec

from sill.core.errors import InvalidValue
from sill.core.names import shorten
from sill.runs.tracing.types import Span, SpanStatus, Trace, TraceSelection, TraceState

KEY_LENGTH_MAX = 250
TEXT_LENGTH_MAX = 8_000
TEXTS_MAX = 500
"""Tags of one trace, and metadata likewise."""
PREVIEW_LENGTH_MAX = 1_000
GIVEN_PREVIEW_LENGTH_MAX = 100_000
SPAN_NAME_LENGTH_MAX = 10_000
IDS_MAX = 1_000
LINKS_MAX = 100
TIME_MS_MAX = 10**14

NAME_TAG = "mlflow.traceName"
SPANS_TAG = "mlflow.trace.spansLocation"
SPANS_HERE = "TRACKING_STORE"
ARTIFACTS_TAG = "mlflow.artifactLocation"
OWN_TAGS = frozenset({SPANS_TAG, ARTIFACTS_TAG, "mlflow.trace.archiveLocation", "mlflow.trace.archivalFailure"})
"""Tags that only the server sets."""
RUN_KEY = "mlflow.sourceRun"
SESSION_KEY = "mlflow.trace.session"
USER_KEY = "mlflow.trace.user"
SIZE_KEY = "mlflow.trace.sizeStats"
TOKENS_KEY = "mlflow.trace.tokenUsage"
COST_KEY = "mlflow.trace.cost"

SPAN_TYPE, INPUTS, OUTPUTS = "mlflow.spanType", "mlflow.spanInputs", "mlflow.spanOutputs"
USAGE, COST, MODEL, PROVIDER = "mlflow.chat.tokenUsage", "mlflow.llm.cost", "mlflow.llm.model", "mlflow.llm.provider"
TAG_PREFIX = "mlflow.traceTag."
"""Attributes of a root span that become tags of its trace."""
TOKEN_KEYS = ("input_tokens", "output_tokens", "total_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
COST_KEYS = ("input_cost", "output_cost", "total_cost")
_OTEL_USAGE = {"input_tokens": "gen_ai.usage.input_tokens", "output_tokens": "gen_ai.usage.output_tokens"}
_SESSIONS = ("session.id", "gen_ai.conversation.id")
_TRACE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]{0,99}")
_OPEN = (TraceState.IN_PROGRESS, TraceState.UNSPECIFIED)

Node = tuple[str, str, dict[str, Any], dict[str, Any]]
"""Of a span: its id, its parent's, its token usage and its cost (both empty if it says nothing)."""


def check_trace_id(trace_id: str) -> str:
    """The id itself, if it may name a trace.

    Raises:
        InvalidValue: it holds anything but letters, digits and `_ . -`, or more than 100 of them.
    """
    if not _TRACE_ID.fullmatch(trace_id):
        raise InvalidValue(
            f"trace id {shorten(trace_id)!r} is not allowed: letters, digits and _ . - are, at most 100.",
            field="trace_id",
        )
    return trace_id


def check_trace(trace: Trace) -> Trace:
    """The trace itself, if all a client says of it is allowed."""
    check_trace_id(trace.id)
    check_texts(trace.tags, "tags")
    check_texts(trace.metadata, "trace_metadata")
    for field, preview in (("request_preview", trace.request_preview), ("response_preview", trace.response_preview)):
        if preview is not None and len(preview) > GIVEN_PREVIEW_LENGTH_MAX:
            raise InvalidValue(
                f"{field} has {len(preview)} characters; at most {GIVEN_PREVIEW_LENGTH_MAX} are allowed.", field=field
            )
    if trace.client_request_id is not None and len(trace.client_request_id) > KEY_LENGTH_MAX:
        raise InvalidValue(f"client_request_id is longer than {KEY_LENGTH_MAX} characters.", field="client_request_id")
    if not 0 <= trace.started_ms <= TIME_MS_MAX or not 0 <= (trace.duration_ms or 0) <= TIME_MS_MAX:
        raise InvalidValue(
            f"a trace from {trace.started_ms} ms for {trace.duration_ms} ms is outside 0 to {TIME_MS_MAX} ms since 1970.",
            field="request_time",
        )
    return trace


def check_texts(texts: Mapping[str, str], field: str) -> None:
    """Check tags or metadata.

    Raises:
        InvalidValue: too many, a key that is none, or a text that is too long.
    """
    if len(texts) > TEXTS_MAX:
        raise InvalidValue(f"there are {len(texts)} {field}; at most {TEXTS_MAX} are allowed.", field=field)
    for key, value in texts.items():
        if not 0 < len(key) <= KEY_LENGTH_MAX or not key.isprintable():
            raise InvalidValue(
                f"{field} key {shorten(key)!r} is not allowed: 1 to {KEY_LENGTH_MAX} printable characters are.",
                field=field,
            )
        if len(value) > TEXT_LENGTH_MAX or "\0" in value:
            raise InvalidValue(
                f"the value of {shorten(key)!r} in {field} has {len(value)} characters; at most {TEXT_LENGTH_MAX} are "
                "allowed, and no NUL.",
                fix="Keep long texts in a span's attributes.",
                field=field,
            )


def check_ids(ids: Iterable[str], most: int = IDS_MAX) -> tuple[str, ...]:
    """The trace ids, each once.

    Raises:
        InvalidValue: more than `most`.
    """
    each = tuple(dict.fromkeys(ids))
    if len(each) > most:
        raise InvalidValue(f"{len(each)} traces are named; at most {most} at once are.", field="trace_ids")
    return each


def check_selection(selection: TraceSelection) -> TraceSelection:
    """The selection itself, if it says either which traces or up to when, in MLflow's words otherwise."""
    if selection.until_ms is None and not selection.ids:
        raise InvalidValue("Either `max_timestamp_millis` or `trace_ids` must be specified.")
    if selection.until_ms is not None and selection.ids:
        raise InvalidValue("Only one of `max_timestamp_millis` and `trace_ids` can be specified.")
    if selection.ids and selection.limit is not None:
        raise InvalidValue("`max_traces` can't be specified if `trace_ids` is specified.")
    if selection.limit is not None and selection.limit <= 0:
        raise InvalidValue(f"`max_traces` must be a positive integer, received {selection.limit}.")
    check_ids(selection.ids)
    return selection


def check_spans(spans: Iterable[Span]) -> None:
    """Check what the decoder did not: the length of names."""
    for span in spans:
        if len(span.name) > SPAN_NAME_LENGTH_MAX:
            raise InvalidValue(f"a span's name is longer than {SPAN_NAME_LENGTH_MAX} characters.", field="name")


def is_whole(trace: Trace, spans: list[Span]) -> bool:
    """True unless the client said how many spans there are and more are to come."""
    try:
        expected = json.loads(trace.metadata.get(SIZE_KEY, "{}"))
        return len(spans) >= int(expected.get("num_spans", 0))
    except (ValueError, TypeError, AttributeError):
        return True


def in_order(spans: Iterable[Span]) -> list[Span]:
    """The root first, then by their start."""
    return sorted(spans, key=lambda span: (bool(span.parent_id), span.start_ns, span.span_id))


def with_spans(trace: Trace, spans: list[Span], nodes: list[Node], *, is_new: bool, is_final: bool) -> Trace:
    """The trace after spans of it have arrived.

    Args:
        nodes: of all its spans, these included.
        is_new: nothing was known of it before.
        is_final: its client has reported the whole; what that said stands.
    """
    root = next((span for span in spans if not span.parent_id), None)
    said, sums = _who(spans), _sums(nodes)
    metadata = said | sums | trace.metadata if is_final else said | trace.metadata | sums
    changed: dict[str, Any] = {} if is_final else _times(trace, spans, is_new)
    if trace.state in _OPEN and root is not None:
        changed["state"] = TraceState.ERROR if root.status is SpanStatus.ERROR else TraceState.OK
    if root is not None and trace.request_preview is None:
        changed["request_preview"] = preview(root.attributes.get(INPUTS), "user")
    if root is not None and trace.response_preview is None:
        changed["response_preview"] = preview(root.attributes.get(OUTPUTS), "assistant")
    tags = trace.tags | _resource_tags(spans) | (_root_tags(root) if root else {}) | {SPANS_TAG: SPANS_HERE}
    return msgspec.structs.replace(trace, metadata=metadata, tags=tags, **changed)


def merged(known: Trace, told: Trace) -> Trace:
    """What was known of a trace, and above it what its client now tells of the whole."""
    return msgspec.structs.replace(
        known,
        experiment_id=told.experiment_id,
        started_ms=told.started_ms,
        duration_ms=told.duration_ms,
        state=told.state,
        client_request_id=told.client_request_id,
        request_preview=told.request_preview if told.request_preview is not None else known.request_preview,
        response_preview=told.response_preview if told.response_preview is not None else known.response_preview,
        metadata=known.metadata | told.metadata,
        tags=known.tags | told.tags,
    )


def span_type(span: Span) -> str:
    """What the span says it is (`LLM`, `TOOL` …)."""
    return text_of(span.attributes.get(SPAN_TYPE)) or "UNKNOWN"


def text_of(value: Any) -> str:
    """The value, if it is text; else nothing."""
    return value if isinstance(value, str) else ""


def usage(span: Span) -> dict[str, Any]:
    """How many tokens the span says it used, by MLflow's attribute or OpenTelemetry's; empty if it says nothing."""
    said = span.attributes.get(USAGE)
    if isinstance(said, dict):
        return {key: int(said[key]) for key in TOKEN_KEYS if _is_number(said.get(key))}
    found = {
        key: int(span.attributes[name]) for key, name in _OTEL_USAGE.items() if _is_number(span.attributes.get(name))
    }
    return {**found, "total_tokens": sum(found.values())} if found else {}


def cost(span: Span) -> dict[str, Any]:
    """What the span says it cost, in USD; empty if it says nothing."""
    said = span.attributes.get(COST)
    return {key: float(said[key]) for key in COST_KEYS if _is_number(said.get(key))} if isinstance(said, dict) else {}


def counts(span: Span) -> bool:
    """True if the span says something of tokens or cost."""
    return bool(usage(span) or cost(span))


def totals(nodes: list[Node], place: Literal[2, 3]) -> dict[str, Any]:
    """Sums over the tree of spans; a span that says something speaks for all below it, which are not counted again.

    Args:
        place: 2 for token usage, 3 for cost.
    """
    by_id = {node[0]: node for node in nodes}
    sums: dict[str, Any] = {}
    for node in nodes:
        if node[place] and not _is_below(node, by_id, place):
            for key, value in node[place].items():
                sums[key] = sums.get(key, 0) + value
    return sums


def preview(value: Any, role: str) -> str | None:
    """What a request or response shows in a list: its last message of a role, or its JSON, shortened."""
    if value is None:
        return None
    text = _last_message(value, role) or dumped(value)
    return text if len(text) <= PREVIEW_LENGTH_MAX else text[: PREVIEW_LENGTH_MAX - 3] + "..."


def dumped(value: Any) -> str:
    """An attribute's value as the JSON text that MLflow's clients keep it as."""
    return json.dumps(value, ensure_ascii=False)


def unwrapped(attributes: dict[str, Any]) -> dict[str, Any]:
    """The attributes with those that are JSON text opened: exporters of MLflow's clients send values as JSON text.

    Only texts, lists and objects are opened: the text "1" stays a text.
    """
    return {key: _opened(value) for key, value in attributes.items()}


def _opened(value: Any) -> Any:
    if not isinstance(value, str) or value[:1] not in ('"', "[", "{"):
        return value
    try:
        opened = msgspec.json.decode(value)
    except (msgspec.DecodeError, RecursionError):
        return value
    return opened if isinstance(opened, str | list | dict) and "\0" not in str(opened) else value


def _times(trace: Trace, spans: list[Span], is_new: bool) -> dict[str, Any]:
    first = min(span.start_ns for span in spans) // 1_000_000
    ends = [span.end_ns for span in spans if span.end_ns]
    last = max(ends) // 1_000_000 if ends else None
    if not is_new:
        if trace.duration_ms is not None:
            last = max(last or 0, trace.started_ms + trace.duration_ms)
        first = min(first, trace.started_ms)
    return {"started_ms": first, "duration_ms": None if last is None else max(0, last - first)}


def _sums(nodes: list[Node]) -> dict[str, str]:
    """Token usage and cost of the whole trace, as metadata."""
    found = {TOKENS_KEY: totals(nodes, 2), COST_KEY: totals(nodes, 3)}
    return {key: json.dumps(sums) for key, sums in found.items() if sums}


def _who(spans: list[Span]) -> dict[str, str]:
    """Session and user that spans name, as metadata."""
    found = {}
    for key, names in ((SESSION_KEY, _SESSIONS), (USER_KEY, ("user.id",))):
        said = next((text for span in spans for name in names if (text := text_of(span.attributes.get(name)))), "")
        if said and len(said) <= KEY_LENGTH_MAX:
            found[key] = said
    return found


def _resource_tags(spans: list[Span]) -> dict[str, str]:
    """What sent the spans, as tags; names of MLflow's own and of the SDK's are left out."""
    resource = next((span.resource for span in spans if span.resource), {})
    return _fitting(
        {key: value for key, value in resource.items() if not key.startswith(("telemetry.sdk.", "mlflow."))}
    )


def _root_tags(root: Span) -> dict[str, str]:
    named = {
        key.removeprefix(TAG_PREFIX): value for key, value in root.attributes.items() if key.startswith(TAG_PREFIX)
    }
    return _fitting({key: value for key, value in named.items() if key not in OWN_TAGS})


def _fitting(tags: dict[str, Any]) -> dict[str, str]:
    """Those that may be tags, as texts."""
    texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in tags.items()}
    found = {}
    for key, value in texts.items():
        try:
            check_texts({key: value}, "tags")
        except InvalidValue:
            continue  # they stay attributes of the span
        found[key] = value
    return found


def _is_below(node: Node, by_id: dict[str, Node], place: Literal[2, 3]) -> bool:
    """True if a span above this one says something itself."""
    seen = {node[0]}
    above = by_id.get(node[1])
    while above is not None and above[0] not in seen:
        if above[place]:
            return True
        seen.add(above[0])
        above = by_id.get(above[1])
    return False


def _last_message(value: Any, role: str) -> str:
    if not isinstance(value, dict):
        return ""
    messages = value.get("messages")
    choices = value.get("choices")
    if not isinstance(messages, list) and isinstance(choices, list):
        messages = [choice.get("message") for choice in choices if isinstance(choice, dict)]
    for message in reversed(messages if isinstance(messages, list) else []):
        if isinstance(message, dict) and message.get("role") == role and isinstance(message.get("content"), str):
            return str(message["content"])
    return ""


def _is_number(value: Any) -> bool:
    return (
        isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and abs(value) < 2**53
    )
