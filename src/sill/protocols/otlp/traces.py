"""`ExportTraceServiceRequest` as spans, from protobuf and from JSON. Source: opentelemetry-proto 1.x, trace/v1."""

import re
from typing import Any

from sill.core.errors import InvalidValue, TooLarge
from sill.protocols import protobuf
from sill.protocols.otlp import values
from sill.runs.tracing.types import Span, SpanEvent, SpanKind, SpanLink, SpanStatus
from sill.safety import strict_json

SPANS_MAX = 50_000
"""In one request."""
TIME_NS_MAX = 2**63 - 1
PROTOBUF, JSON = "application/x-protobuf", "application/json"
KINDS = tuple(SpanKind)
STATUSES = tuple(SpanStatus)
_TRACE_BYTES, _SPAN_BYTES = 16, 8
_HEX = re.compile(r"[0-9a-fA-F]+")


def decode(body: bytes, media: str) -> tuple[Span, ...]:
    """The spans of a request body of type `PROTOBUF` or `JSON`.

    Raises:
        InvalidValue: it is not one.
        TooLarge: it holds more than `SPANS_MAX` spans.
    """
    found = _from_json(strict_json.decode_any(body)) if media == JSON else _from_protobuf(memoryview(body))
    if not found:
        raise InvalidValue("the request holds no spans.", fix="Send OTLP as its exporters do.")
    return tuple(found)


def encode_answer(media: str) -> bytes:
    """The body that says all was taken."""
    return b"{}" if media == JSON else b""


def _from_protobuf(message: memoryview) -> list[Span]:
    found: list[Span] = []
    for field in protobuf.fields(message):
        if field.number != 1:
            continue
        resource: dict[str, Any] = {}
        scopes: list[memoryview] = []
        for part in protobuf.fields(protobuf.content(field)):
            if part.number == 1:
                for attribute in protobuf.fields(protobuf.content(part)):
                    if attribute.number == 1:
                        values.read_attributes(protobuf.content(attribute), resource)
            elif part.number == 2:
                scopes.append(protobuf.content(part))
        for scope in scopes:
            for part in protobuf.fields(scope):
                if part.number == 2:
                    _count(found)
                    found.append(_span(protobuf.content(part), resource))
    return found


def _span(message: memoryview, resource: dict[str, Any]) -> Span:
    given: dict[str, Any] = {"trace_id": b"", "span_id": b"", "parent": b"", "kind": 0, "start": 0, "end": 0}
    attributes: dict[str, Any] = {}
    events: list[SpanEvent] = []
    links: list[SpanLink] = []
    name, status, said = "", 0, ""
    for field in protobuf.fields(message):
        match field.number:
            case 1 | 2 | 4:
                given[{1: "trace_id", 2: "span_id", 4: "parent"}[field.number]] = bytes(protobuf.content(field))
            case 5:
                name = values.check_text(protobuf.text(field))
            case 6 | 7 | 8:
                given[{6: "kind", 7: "start", 8: "end"}[field.number]] = protobuf.number(field)
            case 9:
                values.read_attributes(protobuf.content(field), attributes)
            case 11:
                events.append(_event(protobuf.content(field)))
            case 13:
                links.append(_link(protobuf.content(field)))
            case 15:
                status, said = _status(protobuf.content(field))
    return Span(
        trace_id=_trace_id(given["trace_id"].hex()),
        span_id=_span_id(given["span_id"].hex()),
        parent_id=_span_id(given["parent"].hex()) if given["parent"] else "",
        name=name,
        kind=_named(KINDS, given["kind"], "kind"),
        start_ns=_time(given["start"]),
        end_ns=_time(given["end"]),
        status=_named(STATUSES, status, "status.code"),
        message=said,
        attributes=attributes,
        events=tuple(events),
        links=tuple(links),
        resource=resource,
    )


def _event(message: memoryview) -> SpanEvent:
    name, time_ns = "", 0
    attributes: dict[str, Any] = {}
    for field in protobuf.fields(message):
        if field.number == 1:
            time_ns = _time(protobuf.number(field))
        elif field.number == 2:
            name = values.check_text(protobuf.text(field))
        elif field.number == 3:
            values.read_attributes(protobuf.content(field), attributes)
    return SpanEvent(name=name, time_ns=time_ns, attributes=attributes)


def _link(message: memoryview) -> SpanLink:
    trace_id, span_id = b"", b""
    attributes: dict[str, Any] = {}
    for field in protobuf.fields(message):
        if field.number == 1:
            trace_id = bytes(protobuf.content(field))
        elif field.number == 2:
            span_id = bytes(protobuf.content(field))
        elif field.number == 4:
            values.read_attributes(protobuf.content(field), attributes)
    return SpanLink(trace_id=_trace_id(trace_id.hex()), span_id=_span_id(span_id.hex()), attributes=attributes)


def _status(message: memoryview) -> tuple[int, str]:
    code, said = 0, ""
    for field in protobuf.fields(message):
        if field.number == 2:
            said = values.check_text(protobuf.text(field))
        elif field.number == 3:
            code = protobuf.number(field)
    return code, said


def _from_json(request: Any) -> list[Span]:
    found: list[Span] = []
    for one in values.a_list(values.an_object(request, "body").get("resourceSpans"), "resourceSpans"):
        group = values.an_object(one, "resourceSpans")
        resource = values.attributes_from_json(
            values.an_object(group.get("resource") or {}, "resource").get("attributes")
        )
        for scope in values.a_list(group.get("scopeSpans"), "scopeSpans"):
            for span in values.a_list(values.an_object(scope, "scopeSpans").get("spans"), "spans"):
                _count(found)
                found.append(_span_from_json(values.an_object(span, "spans"), resource))
    return found


def _span_from_json(given: dict[str, Any], resource: dict[str, Any]) -> Span:
    status = values.an_object(given.get("status") or {}, "status")
    parent = values.a_text(given.get("parentSpanId") or "", "parentSpanId")
    return Span(
        trace_id=_trace_id(values.a_text(given.get("traceId", ""), "traceId")),
        span_id=_span_id(values.a_text(given.get("spanId", ""), "spanId")),
        parent_id=_span_id(parent) if parent else "",
        name=values.check_text(values.a_text(given.get("name", ""), "name")),
        kind=_named(KINDS, given.get("kind", 0), "kind", "SPAN_KIND_"),
        start_ns=_time(given.get("startTimeUnixNano", 0)),
        end_ns=_time(given.get("endTimeUnixNano", 0)),
        status=_named(STATUSES, status.get("code", 0), "status.code", "STATUS_CODE_"),
        message=values.check_text(values.a_text(status.get("message") or "", "status.message")),
        attributes=values.attributes_from_json(given.get("attributes")),
        events=tuple(_event_from_json(each) for each in values.a_list(given.get("events"), "events")),
        links=tuple(_link_from_json(each) for each in values.a_list(given.get("links"), "links")),
        resource=resource,
    )


def _event_from_json(value: Any) -> SpanEvent:
    given = values.an_object(value, "events")
    return SpanEvent(
        name=values.check_text(values.a_text(given.get("name", ""), "events.name")),
        time_ns=_time(given.get("timeUnixNano", 0)),
        attributes=values.attributes_from_json(given.get("attributes")),
    )


def _link_from_json(value: Any) -> SpanLink:
    given = values.an_object(value, "links")
    return SpanLink(
        trace_id=_trace_id(values.a_text(given.get("traceId", ""), "links.traceId")),
        span_id=_span_id(values.a_text(given.get("spanId", ""), "links.spanId")),
        attributes=values.attributes_from_json(given.get("attributes")),
    )


def _named(names: tuple[Any, ...], given: Any, field: str, prefix: str = "") -> Any:
    """The enum's member of that number, or of that name behind the prefix."""
    if isinstance(given, str) and prefix and given.startswith(prefix):
        given = next((at for at, name in enumerate(names) if name.value == given.removeprefix(prefix)), -1)
    if isinstance(given, bool) or not isinstance(given, int) or not 0 <= given < len(names):
        raise InvalidValue(f"{field} {given!r} is not known.", fix=f"0 to {len(names) - 1} are.", field=field)
    return names[given]


def _trace_id(given: str) -> str:
    return f"tr-{_checked_id(given, _TRACE_BYTES, 'trace id')}"


def _span_id(given: str) -> str:
    return _checked_id(given, _SPAN_BYTES, "span id")


def _checked_id(given: str, size: int, noun: str) -> str:
    if len(given) != 2 * size or not _HEX.fullmatch(given) or not int(given, 16):
        raise InvalidValue(
            f"a {noun} has {size} bytes, not all zero; {given[:40]!r} was sent.", field=noun.replace(" ", "_")
        )
    return given.lower()


def _time(given: Any) -> int:
    return values.an_integer(given, "time_unix_nano", 0, TIME_NS_MAX)


def _count(found: list[Span]) -> None:
    if len(found) >= SPANS_MAX:
        raise TooLarge(f"the request holds more than {SPANS_MAX} spans.", fix="Send them in several requests.")
