"""Messages about traces, there and back."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sill.core.errors import InvalidValue
from sill.protocols.mlflow import assessments, evaluation_datasets, spans, traces, wire
from sill.protocols.mlflow.times import read_duration, read_time, write_duration, write_time
from sill.runs.tracing.types import AssessmentKind, Span, SpanEvent, TraceState

TRACE = "tr-5b8efff798038103d269b633813fc60c"


@given(st.integers(-(10**12), 10**13))
def test_times_come_back(ms: int) -> None:
    assert read_time(write_time(ms), "request_time") == ms
    assert read_duration(write_duration(ms), "execution_duration") == ms


@pytest.mark.parametrize(
    ("text", "ms"),
    [("1970-01-01T00:00:01Z", 1_000), ("1970-01-01T01:00:00.123456789+01:00", 123), ("1969-12-31T23:59:59.500Z", -500)],
)
def test_times_are_read_as_protobuf_writes_them(text: str, ms: int) -> None:
    assert read_time(text, "request_time") == ms


@pytest.mark.parametrize("text", ["", "now", "1970-13-01T00:00:00Z", "1970-01-01T00:00:00", "1970-01-01", "0"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(InvalidValue):
        read_time(text, "request_time")


@pytest.mark.parametrize("text", ["", "1", "1 s", "s", "1e3s", "1.5"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(InvalidValue):
        read_duration(text, "execution_duration")


def told(**info: Any) -> traces.StartTrace:
    place = {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": "3"}}
    given = {"trace_id": "tr-1", "trace_location": place, "state": "OK", "request_time": "1970-01-01T00:00:01Z", **info}
    return wire.decode(msgspec.json.encode({"trace": {"trace_info": given}}), traces.StartTrace)


def test_a_trace_is_read_as_clients_send_it() -> None:
    trace = traces.trace_in(told(execution_duration="2.005s", tags={"a": "b"}, state=3))

    assert (trace.id, trace.experiment_id, trace.started_ms, trace.duration_ms) == ("tr-1", "3", 1_000, 2_005)
    assert (trace.state, trace.tags) == (TraceState.IN_PROGRESS, {"a": "b"})
    assert traces.info_out(trace).execution_duration == "2.005s"


@pytest.mark.parametrize(
    "info", [{"trace_id": ""}, {"trace_location": None}, {"state": "FINE"}, {"state": 9}, {"request_time": "x"}]
)
def test_a_trace_that_says_too_little_is_refused(info: dict[str, Any]) -> None:
    with pytest.raises(InvalidValue):
        traces.trace_in(told(**info))


def test_a_span_is_written_in_both_forms() -> None:
    event = SpanEvent(name="tick", time_ns=5, attributes={"foo": "bar"})
    span = Span(
        trace_id=TRACE,
        span_id="eee19b7ec3c1b174",
        name="s",
        attributes={"fruit": "apple", "n": [1, 2.5, None]},
        events=(event,),
    )

    message, file = spans.span_out(span), spans.span_file(span)

    assert {"key": "fruit", "value": {"string_value": "apple"}} in message["attributes"]
    assert message["attributes"][2]["value"] == {
        "array_value": {"values": [{"int_value": 1}, {"double_value": 2.5}, {}]}
    }
    assert file["attributes"] == {"mlflow.traceRequestId": f'"{TRACE}"', "fruit": '"apple"', "n": "[1, 2.5, null]"}
    assert (file["events"][0]["attributes"], file["status"]["code"]) == ({"foo": "bar"}, "STATUS_CODE_UNSET")


def assessed(**fields: Any) -> assessments.AssessmentWire:
    return wire.decode(msgspec.json.encode({"assessment_name": "n", **fields}), assessments.AssessmentWire)


def test_expectations_that_are_no_plain_value_travel_as_their_json() -> None:
    kept = assessments.assessment_in(assessed(expectation={"value": {"a": [1]}}), TRACE)
    written = assessments.assessment_out(kept)

    assert written.expectation is not None
    assert written.expectation.serialized_value is not None
    assert written.expectation.serialized_value.value == '{"a": [1]}'
    assert assessments.assessment_in(written, TRACE).value == {"a": [1]}


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"feedback": {"value": 1}, "expectation": {"value": 1}},
        {"expectation": {"serialized_value": {"serialization_format": "PICKLE", "value": "x"}}},
        {"expectation": {"serialized_value": {"serialization_format": "JSON_FORMAT", "value": "{"}}},
    ],
)
def test_an_assessment_is_exactly_one_thing(fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidValue):
        assessments.assessment_in(assessed(**fields), TRACE)


def test_only_what_the_mask_names_changes() -> None:
    request = {
        "assessment": {"assessment_name": "new", "feedback": {"value": 5}, "rationale": "r"},
        "update_mask": "assessmentName,feedback",
    }

    change = assessments.change_in(wire.decode(msgspec.json.encode(request), assessments.UpdateAssessment))

    assert (change.name, change.kind, change.value, change.rationale) == ("new", AssessmentKind.FEEDBACK, 5, None)


@pytest.mark.parametrize("text", ["", "{}", "[1]", '[{"inputs": 1}]', '[{"tags": "x"}]', "[{]"])
def test_records_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(InvalidValue):
        evaluation_datasets.records_in(text)


def test_records_are_read_from_their_json() -> None:
    (record,) = evaluation_datasets.records_in('[{"inputs": {"q": 1}, "tags": {"a": 2}, "more": true}]')

    assert (record.inputs, record.tags, record.outputs) == ({"q": 1}, {"a": "2"}, None)
