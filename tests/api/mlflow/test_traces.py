"""Spans come in by OTLP and traces come out at MLflow's door, for those who may see them."""

import gzip
import json
import time
import uuid
from typing import Any

import httpx
import pytest

from sill.testing.live import FOREIGN, PROJECT

HEADERS = {"x-mlflow-workspace": PROJECT}


def request_of(trace_id: str, **fields: Any) -> dict[str, Any]:
    now = time.time_ns()
    times = {"startTimeUnixNano": str(now), "endTimeUnixNano": str(now + 1_000_000)}
    span = {"traceId": trace_id, "spanId": uuid.uuid4().hex[:16], "name": "work", **times, **fields}
    return {"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}


@pytest.fixture
def trace_id(root: httpx.Client) -> str:
    made = uuid.uuid4().hex
    answer = root.post("/v1/traces", json=request_of(made), headers=HEADERS)
    assert (answer.status_code, answer.json(), answer.headers["content-type"]) == (200, {}, "application/json")
    return f"tr-{made}"


def test_spans_that_were_sent_can_be_asked_for(root: httpx.Client, trace_id: str) -> None:
    answer = root.get("/ajax-api/3.0/mlflow/traces/get", params={"trace_id": trace_id}, headers=HEADERS).json()

    assert answer["trace"]["trace_info"]["state"] == "OK"
    assert [span["name"] for span in answer["trace"]["spans"]] == ["work"]


def test_packed_bodies_are_opened(root: httpx.Client) -> None:
    body = gzip.compress(json.dumps(request_of(uuid.uuid4().hex)).encode())
    headers = {**HEADERS, "content-type": "application/json", "content-encoding": "gzip"}

    assert root.post("/v1/traces", content=body, headers=headers).status_code == 200


@pytest.mark.parametrize(
    ("media", "body", "status"),
    [
        ("text/plain", b"x", 400),
        ("application/x-protobuf", b"\xff\xff", 400),
        ("application/x-protobuf", b"", 400),
        ("application/json", b"{", 400),
        ("application/json", b'{"resourceSpans": []}', 400),
    ],
)
def test_what_is_no_otlp_is_refused(root: httpx.Client, media: str, body: bytes, status: int) -> None:
    answer = root.post("/v1/traces", content=body, headers={**HEADERS, "content-type": media})

    assert (answer.status_code, set(answer.json())) == (status, {"error_code", "message"})


def test_nobody_sends_spans_and_readers_neither(nobody: httpx.Client, reader: httpx.Client) -> None:
    sent = request_of(uuid.uuid4().hex)

    assert nobody.post("/v1/traces", json=sent, headers=HEADERS).status_code == 401
    assert reader.post("/v1/traces", json=sent, headers=HEADERS).status_code == 403


def test_a_trace_of_another_project_is_not_there(stranger: httpx.Client, trace_id: str) -> None:
    theirs = stranger.get(f"/api/3.0/mlflow/traces/{trace_id}", headers=HEADERS)
    own = stranger.get(f"/api/3.0/mlflow/traces/{trace_id}", headers={"x-mlflow-workspace": FOREIGN})

    assert (theirs.status_code, own.status_code) == (404, 404)


def test_a_trace_is_handed_out_as_a_file_to_save(root: httpx.Client, trace_id: str) -> None:
    answer = root.get("/ajax-api/2.0/mlflow/get-trace-artifact", params={"request_id": trace_id}, headers=HEADERS)

    assert answer.headers["content-disposition"] == "attachment; filename=traces.json"
    assert answer.json()["spans"][0]["attributes"] == {"mlflow.traceRequestId": f'"{trace_id}"'}


def test_a_file_beside_a_trace_goes_with_it(root: httpx.Client, trace_id: str) -> None:
    path = f"/api/2.0/mlflow-artifacts/artifacts/0/traces/{trace_id}/artifacts/note.txt"
    ask = {"request_id": trace_id, "path": "note.txt"}
    root.put(path, content=b"kept", headers=HEADERS).raise_for_status()
    kept = root.get("/ajax-api/3.0/mlflow/get-trace-artifact", params=ask, headers=HEADERS)

    selection = {"experiment_id": "0", "request_ids": [trace_id]}
    deleted = root.post("/api/3.0/mlflow/traces/delete-traces", json=selection, headers=HEADERS)

    assert (kept.content, deleted.json()) == (b"kept", {"traces_deleted": 1})
    assert root.get(path, headers=HEADERS).status_code == 404


def test_unknown_filter_syntax_is_a_parameter_error(root: httpx.Client) -> None:
    place = {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": "0"}}
    body = {"locations": [place], "filter": "colour = 'red'"}

    answer = root.post("/api/3.0/mlflow/traces/search", json=body, headers=HEADERS)

    assert (answer.status_code, answer.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
