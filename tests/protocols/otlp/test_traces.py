"""The same spans come out of protobuf and of JSON; what is malformed is refused, whatever it is."""

import base64
import contextlib
import json
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sill.core.errors import InvalidValue, TooLarge
from sill.protocols import protobuf
from sill.protocols.otlp import traces
from sill.protocols.otlp.traces import JSON, PROTOBUF, decode
from sill.runs.tracing.types import SpanKind, SpanStatus

TRACE, SPAN, PARENT = "5b8efff798038103d269b633813fc60c", "eee19b7ec3c1b174", "eee19b7ec3c1b173"
START_NS = 1_544_712_660_000_000_000


def varint(number: int) -> bytes:
    number %= 2**64
    out = b""
    while number >= 0x80:
        out += bytes([number & 0x7F | 0x80])
        number >>= 7
    return out + bytes([number])


def part(number: int, value: Any) -> bytes:
    """One field: bytes and text by length, floats and `fixed` as 64 bits, other numbers as varints."""
    if isinstance(value, str | bytes):
        content = value.encode() if isinstance(value, str) else value
        return varint(number << 3 | 2) + varint(len(content)) + content
    if isinstance(value, float):
        return varint(number << 3 | 1) + struct.pack("<d", value)
    return varint(number << 3) + varint(int(value))


def fixed(number: int, value: int) -> bytes:
    return varint(number << 3 | 1) + value.to_bytes(8, "little")


def any_value(value: Any) -> bytes:
    match value:
        case None:
            return b""
        case str():
            return part(1, value)
        case bool():
            return part(2, value)
        case int():
            return part(3, value)
        case float():
            return part(4, value)
        case list():
            return part(5, b"".join(part(1, any_value(each)) for each in value))
        case dict():
            return part(6, b"".join(part(1, pair(key, each)) for key, each in value.items()))
        case _:
            return part(7, value)


def pair(key: str, value: Any) -> bytes:
    return part(1, key) + part(2, any_value(value))


def in_json(value: Any) -> dict[str, Any]:
    match value:
        case None:
            return {}
        case str():
            return {"stringValue": value}
        case bool():
            return {"boolValue": value}
        case int():
            return {"intValue": str(value)}
        case float():
            return {"doubleValue": value}
        case list():
            return {"arrayValue": {"values": [in_json(each) for each in value]}}
        case _:
            return {"kvlistValue": {"values": [{"key": key, "value": in_json(each)} for key, each in value.items()]}}


def as_protobuf(attributes: dict[str, Any], **ids: str) -> bytes:
    span = part(1, bytes.fromhex(ids.get("trace", TRACE))) + part(2, bytes.fromhex(ids.get("span", SPAN)))
    span += part(4, bytes.fromhex(PARENT)) + part(5, "work") + part(6, 3)
    span += fixed(7, START_NS) + fixed(8, START_NS + 5) + b"".join(part(9, pair(*each)) for each in attributes.items())
    span += part(11, fixed(1, START_NS + 1) + part(2, "tick") + part(3, pair("n", 1)))
    span += part(13, part(1, bytes.fromhex(TRACE)) + part(2, bytes.fromhex(PARENT)))
    span += part(15, part(2, "late") + part(3, 2)) + part(99, "a field of the future")
    return part(1, part(1, part(1, pair("service.name", "shop"))) + part(2, part(2, span)))


def as_json(attributes: dict[str, Any]) -> bytes:
    span = {
        "traceId": TRACE,
        "spanId": SPAN,
        "parentSpanId": PARENT,
        "name": "work",
        "kind": 3,
        "startTimeUnixNano": str(START_NS),
        "endTimeUnixNano": START_NS + 5,
        "attributes": [{"key": key, "value": in_json(value)} for key, value in attributes.items()],
        "events": [
            {"timeUnixNano": str(START_NS + 1), "name": "tick", "attributes": [{"key": "n", "value": in_json(1)}]}
        ],
        "links": [{"traceId": TRACE, "spanId": PARENT}],
        "status": {"code": "STATUS_CODE_ERROR", "message": "late"},
        "future": True,
    }
    resource = {"attributes": [{"key": "service.name", "value": in_json("shop")}]}
    return json.dumps({"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": [span]}]}]}).encode()


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=10)
numbers = st.integers(-(2**63), 2**63 - 1)
leaves = st.none() | st.booleans() | numbers | st.floats(allow_nan=False, allow_infinity=False) | texts
attribute_values = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3), max_leaves=5
)


@given(st.dictionaries(texts, attribute_values, max_size=4))
def test_both_forms_say_the_same(attributes: dict[str, Any]) -> None:
    (one,), (other,) = decode(as_protobuf(attributes), PROTOBUF), decode(as_json(attributes), JSON)

    assert one == other
    assert one.attributes == attributes


def test_a_span_is_read_whole() -> None:
    (span,) = decode(as_protobuf({"raw": b"\x00\xff", "nan": float("nan"), "inf": float("-inf")}), PROTOBUF)

    assert (span.trace_id, span.span_id, span.parent_id) == (f"tr-{TRACE}", SPAN, PARENT)
    assert (span.kind, span.status, span.message, span.end_ns) == (
        SpanKind.CLIENT,
        SpanStatus.ERROR,
        "late",
        START_NS + 5,
    )
    assert span.attributes == {"raw": base64.b64encode(b"\x00\xff").decode(), "nan": "NaN", "inf": "-Infinity"}
    assert (span.events[0].attributes, span.links[0].span_id, span.resource) == (
        {"n": 1},
        PARENT,
        {"service.name": "shop"},
    )


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_or_read(body: bytes) -> None:
    with contextlib.suppress(InvalidValue):
        decode(body, PROTOBUF)


@given(st.integers(0, len(as_protobuf({"a": [1, {"b": "c"}]})) - 1))
def test_a_message_that_is_cut_off_is_refused(length: int) -> None:
    with pytest.raises(InvalidValue):
        decode(as_protobuf({"a": [1, {"b": "c"}]})[:length], PROTOBUF)


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b"[]",
        b'{"resourceSpans": {}}',
        b'{"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": "00", "spanId": "11"}]}]}]}',
        as_json({}).replace(TRACE.encode(), b"0" * 32),
        as_json({}).replace(b'"kind": 3', b'"kind": 9'),
        as_json({}).replace(str(START_NS).encode(), b"-1"),
        as_json({}).replace(str(START_NS).encode(), str(2**63).encode()),
        as_json({"a": 1}).replace(b'"intValue": "1"', b'"intValue": "x"'),
        as_json({"a": True}).replace(b"boolValue", b"coolValue"),
    ],
)
def test_json_that_is_no_request_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidValue):
        decode(body, JSON)


def test_nesting_has_an_end() -> None:
    deep: Any = "x"
    for _ in range(40):
        deep = [deep]

    for body, media in ((as_protobuf({"a": deep}), PROTOBUF), (as_json({"a": deep}), JSON)):
        with pytest.raises(InvalidValue, match=r"levels|deep"):
            decode(body, media)


def test_spans_of_a_request_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traces, "SPANS_MAX", 1)

    with pytest.raises(TooLarge):
        decode(as_protobuf({}) * 2, PROTOBUF)


@pytest.mark.parametrize(
    "message",
    [
        b"\x80",
        b"\x0a\x05ab",
        b"\x08" + b"\xff" * 11,
        b"\x0b",
        b"\x00\x00",
        b"\x09\x00",
        b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
    ],
)
def test_what_is_no_protobuf_is_refused(message: bytes) -> None:
    with pytest.raises(InvalidValue, match="malformed"):
        list(protobuf.fields(memoryview(message)))
