"""MLflow's messages: what is read and written, and what msgspec's complaints become."""

import math

import msgspec
import pytest

from sill.core.errors import Conflict, InvalidValue, NotFound, SillError, Unavailable, every_error
from sill.protocols.mlflow import errors, wire
from sill.protocols.mlflow.runs import GetHistoryBulk, LogBatch, MetricIn, batch_in, state_in
from sill.runs.types import Metric, RunState


def test_a_point_is_decoded_straight_into_what_the_service_takes() -> None:
    body = b'{"run_id": "r", "metrics": [{"key": "m", "value": "NaN", "timestamp": "7", "step": null, "new": [1]}]}'

    point = batch_in(wire.decode(body, LogBatch)).metrics[0]

    assert isinstance(point, Metric)
    assert (point.key, point.timestamp_ms, point.step, math.isnan(point.value)) == ("m", 7, 0, True)


@pytest.mark.parametrize(
    ("body", "place", "value", "is_missing"),
    [
        (b'{"run_id": 31}', "run_id", 31, False),
        (b'{"metrics": "foo"}', "metrics", "foo", False),
        (b'{"metrics": [{"key": "m", "value": 1}]}', "metrics[0].timestamp", {"key": "m", "value": 1}, True),
        (b'{"metrics": [{"key": "m", "value": 1, "timestamp": -1}]}', "metrics[0].timestamp", -1, False),
        (
            b'{"metrics": [{"key": "m", "value": 1, "timestamp": 1, "step": 9223372036854775808}]}',
            "metrics[0].step",
            2**63,
            False,
        ),
        (b'{"params": [{"key": "p", "value": 3}]}', "params[0].value", 3, False),
        (b"[1]", "", [1], False),
    ],
)
def test_a_complaint_names_the_place_and_the_value(body: bytes, place: str, value: object, is_missing: bool) -> None:
    with pytest.raises(msgspec.ValidationError) as wrong:
        wire.decode(body, LogBatch)

    assert wire.culprit(wire.plain(body), wrong.value) == (place, value, is_missing)


@pytest.mark.parametrize(
    "body", [b"{", b"nonsense", b'{"a": NaN}', b'{"run_id": "\\ud800"}', b'{"run_id": "a\\u0000"}', b"\xff"]
)
def test_what_is_not_json_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidValue):
        wire.decode(body, LogBatch)


@pytest.mark.parametrize(
    "deep",
    [
        b'{"metrics": ' + b"[" * 100_000,
        b'{"new": ' + b"[" * 100_000,
        b'{"metrics": [{"key": null}], "new": ' + b"[" * 500 + b"]" * 500 + b"}",
    ],
)
def test_depth_is_no_trouble(deep: bytes) -> None:
    with pytest.raises((InvalidValue, msgspec.ValidationError)):
        wire.decode(deep, LogBatch)


def test_an_empty_body_is_an_empty_message() -> None:
    assert wire.decode(b"", LogBatch) == LogBatch()


def test_a_query_repeats_what_holds_several_values() -> None:
    found = wire.from_query({"run_id": ["a", "b"], "metric_key": ["k", "x"], "max_results": ["3"]}, GetHistoryBulk)

    assert found == GetHistoryBulk(run_id=("a", "b"), metric_key="k", max_results=3)


def test_numbers_that_are_not_finite_travel_as_text() -> None:
    assert [wire.number(value) for value in (1.5, math.nan, math.inf, -math.inf)] == [
        1.5,
        "NaN",
        "Infinity",
        "-Infinity",
    ]


@pytest.mark.parametrize("given", ["KILLED", 5, "5"])
def test_states_go_by_name_and_number(given: int | str) -> None:
    assert state_in(given) is RunState.CANCELLED


def test_many_repeated_params_are_refused_in_no_time() -> None:
    point = b'{"key": "p", "value": ""}'

    with pytest.raises(InvalidValue, match="Duplicate parameter keys"):
        batch_in(wire.decode(b'{"params": [' + b",".join([point] * 200_000) + b"]}", LogBatch))


@pytest.mark.parametrize("kind", [kind for kind in every_error().values() if kind is not SillError])
def test_every_error_has_a_code_of_mlflow(kind: type[SillError]) -> None:
    status, body = errors.answer(kind("what.", fix="do this."), "req-1")

    told = msgspec.json.decode(body)
    assert set(told) == {"error_code", "message"}
    assert (told["error_code"] == errors.INTERNAL_ERROR) == (status == 500)


def test_an_error_may_name_its_code_itself() -> None:
    assert errors.answer(errors.refusal(errors.RESOURCE_ALREADY_EXISTS, "taken"), "") == (
        400,
        b'{"error_code":"RESOURCE_ALREADY_EXISTS","message":"taken"}',
    )
    assert errors.code_of(NotFound("")) == "RESOURCE_DOES_NOT_EXIST"
    assert errors.code_of(Conflict("")) == "INVALID_PARAMETER_VALUE"
    assert errors.code_of(Unavailable("")) == "TEMPORARILY_UNAVAILABLE"


def test_an_error_from_inside_tells_nothing() -> None:
    status, body = errors.answer(SillError("secret"), "req-1")

    assert status == 500
    assert b"secret" not in body
    assert b"req-1" in body


def test_a_point_of_ours_is_a_metric() -> None:
    assert issubclass(MetricIn, Metric)
