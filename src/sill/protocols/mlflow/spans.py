"""Spans as MLflow's server writes them: in the protobuf form of a whole trace, and in the form of `traces.json`."""

import base64
from typing import Any

from sill.runs.tracing.rules import dumped
from sill.runs.tracing.types import Span

REQUEST_ID = "mlflow.traceRequestId"
"""The attribute by which MLflow's spans name their trace."""
INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1


def span_out(span: Span) -> dict[str, Any]:
    """The span as OpenTelemetry's message in protobuf's JSON form, field names as in the proto."""
    parent = {"parent_span_id": _base64(span.parent_id)} if span.parent_id else {}
    ended = {"end_time_unix_nano": span.end_ns} if span.end_ns else {}
    message = {"message": span.message} if span.message else {}
    return {
        "trace_id": _base64(span.trace_id.removeprefix("tr-")),
        "span_id": _base64(span.span_id),
        **parent,
        "name": span.name,
        "kind": f"SPAN_KIND_{span.kind}",
        "start_time_unix_nano": span.start_ns,
        **ended,
        "attributes": _pairs(_attributes(span)),
        "events": [
            {"time_unix_nano": event.time_ns, "name": event.name, "attributes": _pairs(event.attributes)}
            for event in span.events
        ],
        "links": [
            {
                "trace_id": _base64(link.trace_id.removeprefix("tr-")),
                "span_id": _base64(link.span_id),
                "attributes": _pairs(link.attributes),
            }
            for link in span.links
        ],
        "status": {"code": f"STATUS_CODE_{span.status}", **message},
    }


def span_file(span: Span) -> dict[str, Any]:
    """The span as it stands in `traces.json`: attribute values are JSON text."""
    return {
        "trace_id": _base64(span.trace_id.removeprefix("tr-")),
        "span_id": _base64(span.span_id),
        "parent_span_id": _base64(span.parent_id) if span.parent_id else None,
        "name": span.name,
        "kind": f"SPAN_KIND_{span.kind}",
        "start_time_unix_nano": span.start_ns,
        "end_time_unix_nano": span.end_ns or None,
        "events": [
            {"name": event.name, "time_unix_nano": event.time_ns, "attributes": event.attributes}
            for event in span.events
        ],
        "status": {"code": f"STATUS_CODE_{span.status}", "message": span.message},
        "attributes": {key: dumped(value) for key, value in _attributes(span).items()},
        "links": [
            {"trace_id": link.trace_id, "span_id": link.span_id, "attributes": link.attributes} for link in span.links
        ],
    }


def _attributes(span: Span) -> dict[str, Any]:
    return {REQUEST_ID: span.trace_id} | span.attributes


def _pairs(attributes: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "value": _any_value(value)} for key, value in attributes.items()]


def _any_value(value: Any) -> dict[str, Any]:
    """The value as OpenTelemetry's `AnyValue`."""
    match value:
        case None:
            return {}
        case bool():
            return {"bool_value": value}
        case int() if INT64_MIN <= value <= INT64_MAX:
            return {"int_value": value}
        case int() | float():
            return {"double_value": float(value)}
        case list():
            return {"array_value": {"values": [_any_value(each) for each in value]}}
        case dict():
            return {"kvlist_value": {"values": _pairs(value)}}
        case _:
            return {"string_value": str(value)}


def _base64(hexadecimal: str) -> str:
    return base64.b64encode(bytes.fromhex(hexadecimal)).decode()
