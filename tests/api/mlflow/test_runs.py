"""What runs log through this door is kept exactly or refused whole with MLflow's code (SECURITY B19, B24, B25, B30, B32, B33)."""

import json

import pytest

from .conftest import Door, refused

INVALID = "INVALID_PARAMETER_VALUE"


def data(door: Door, run_id: str) -> dict:
    return door.ok(door.get("runs/get", run_id=run_id))["run"]["data"]


def test_a_run_is_read_back_as_it_was_logged(door: Door) -> None:
    tags = [{"key": "mlflow.user", "value": "ada"}]
    run_id = door.run(run_name="first", start_time=456, user_id="ada", tags=tags)
    metrics = [{"key": "loss", "value": 0.25, "timestamp": 789, "step": 3}]
    params = [{"key": "depth", "value": "3"}, {"key": "empty", "value": ""}]
    door.ok(
        door.post("runs/log-batch", run_id=run_id, metrics=metrics, params=params, tags=[{"key": "t", "value": "v"}])
    )
    door.ok(door.post("runs/update", run_id=run_id, status="FINISHED", end_time=999))

    run = door.ok(door.get("runs/get", run_id=run_id))["run"]

    assert run["data"]["metrics"] == metrics
    assert run["data"]["params"] == params
    assert {tag["key"]: tag["value"] for tag in run["data"]["tags"]} == {
        "mlflow.runName": "first",
        "mlflow.user": "ada",
        "t": "v",
    }
    known = {"run_id": run_id, "run_uuid": run_id, "run_name": "first", "experiment_id": "0", "user_id": "ada"}
    times = {"status": "FINISHED", "start_time": 456, "end_time": 999, "lifecycle_stage": "active"}
    uri = f"mlflow-artifacts:/0/{run_id}/artifacts"
    assert run["info"] == known | times | {"artifact_uri": uri}


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity"])
def test_numbers_that_are_not_finite_are_kept(door: Door, value: str) -> None:
    run_id = door.run()
    door.ok(door.post("runs/log-metric", run_id=run_id, key="m", value=value, timestamp=1))

    assert data(door, run_id)["metrics"][0]["value"] == value


@pytest.mark.parametrize("step", [0, -1, 2**63 - 1, -(2**63)])
def test_every_step_of_64_bits_is_kept(door: Door, step: int) -> None:
    run_id = door.run()
    door.ok(door.post("runs/log-metric", run_id=run_id, key="m", value=1, timestamp=2**63 - 1, step=step))

    point = door.ok(door.get("metrics/get-history", run_id=run_id, metric_key="m"))["metrics"][0]
    assert (point["step"], point["timestamp"]) == (step, 2**63 - 1)


@pytest.mark.parametrize(
    "point",
    [
        *({"step": 2**63}, {"step": -(2**63) - 1}, {"step": "9" * 30}, {"step": 0.5}, {"step": "x"}, {"step": [1]}),
        *({"timestamp": 10**30}, {"timestamp": -1}, {"timestamp": None}, {"timestamp": "soon"}),
        *({"value": "much"}, {"value": None}, {"value": "1e999"}, {"value": True}, {"value": {}}),
        *(
            {"key": ""},
            {"key": None},
            {"key": 5},
            {"key": "a" * 251},
            {"key": "../x"},
            {"key": "a\u0000"},
            {"key": "a;b"},
        ),
    ],
)
def test_a_point_that_cannot_be_kept_is_refused_with_its_whole_batch(door: Door, point: dict) -> None:
    """B32: nothing is clamped, nothing half-written."""
    run_id = door.run()
    good = {"key": "m", "value": 1.0, "timestamp": 1, "step": 1}

    refused(door.post("runs/log-metric", **(good | point), run_id=run_id), INVALID)
    batch = {
        "metrics": [good, good | point],
        "params": [{"key": "p", "value": "1"}],
        "tags": [{"key": "t", "value": "1"}],
    }
    refused(door.post("runs/log-batch", run_id=run_id, **batch), INVALID)

    kept = data(door, run_id)
    assert "metrics" not in kept
    assert "params" not in kept
    assert [tag["key"] for tag in kept["tags"]] == ["mlflow.runName"]


@pytest.mark.parametrize(
    ("batch", "text"),
    [
        ({"metrics": [{"key": "m", "value": 1, "timestamp": n} for n in range(1_001)]}, "1001"),
        ({"params": [{"key": f"p{n}", "value": ""} for n in range(101)]}, "101"),
        ({"tags": [{"key": f"t{n}", "value": ""} for n in range(101)]}, "101"),
        ({"metrics": [{"key": "m", "value": 1, "timestamp": n} for n in range(1_000)], "tags": [{"key": "t"}]}, "1000"),
        ({"params": [{"key": "p", "value": "1"}, {"key": "p", "value": "2"}]}, "Duplicate parameter keys"),
        ({"params": [{"key": "p", "value": "x" * 6_001}]}, "6001"),
        ({"tags": [{"key": "t", "value": "x" * 2_000_000}]}, "2000000"),
        ({"metrics": [{"value": 1, "timestamp": 1}]}, "Missing value for required parameter 'metrics[0].key'"),
        ({"metrics": [{"key": "m", "value": 1}]}, "Missing value for required parameter 'metrics[0].timestamp'"),
        ({"params": [{"value": "1"}]}, "Missing value for required parameter 'params[0].key'"),
        ({"metrics": "foo"}, "Invalid value \"foo\" for parameter 'metrics' supplied"),
    ],
)
def test_a_batch_beyond_the_limits_is_refused_whole(door: Door, batch: dict, text: str) -> None:
    run_id = door.run()

    refused(door.post("runs/log-batch", run_id=run_id, **batch), INVALID, 400, text)

    assert set(data(door, run_id)) == {"tags"}


def test_a_million_params_in_one_batch_are_refused(door: Door) -> None:
    """B32."""
    params = ",".join(['{"key":"p","value":""}'] * 1_000_000)
    body = f'{{"run_id": "{door.run()}", "params": [{params}]}}'

    answer = door.http.post(
        "/api/2.0/mlflow/runs/log-batch", content=body, headers={"content-type": "application/json"}
    )

    refused(answer, INVALID)


def test_a_param_cannot_change(door: Door) -> None:
    run_id = door.run()
    door.ok(door.post("runs/log-parameter", run_id=run_id, key="p", value="1"))

    refused(door.post("runs/log-parameter", run_id=run_id, key="p", value="2"), INVALID)
    door.ok(door.post("runs/log-parameter", run_id=run_id, key="p", value="1"))
    assert data(door, run_id)["params"] == [{"key": "p", "value": "1"}]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("runs/log-metric", {"key": "m", "value": 1, "timestamp": 1}),
        ("runs/log-batch", {"tags": [{"key": "t", "value": "1"}]}),
        ("runs/log-parameter", {"key": "p", "value": "1"}),
        ("runs/set-tag", {"key": "t", "value": "1"}),
        ("runs/delete-tag", {"key": "mlflow.runName"}),
        ("runs/update", {"status": "FAILED"}),
        ("runs/log-inputs", {"models": [{"model_id": "m-0000000000000000"}]}),
    ],
)
def test_nothing_is_written_to_a_deleted_run(door: Door, path: str, body: dict) -> None:
    run_id = door.run()
    door.ok(door.post("runs/delete", run_id=run_id))
    before = door.ok(door.get("runs/get", run_id=run_id))

    refused(door.post(path, run_id=run_id, **body), INVALID, 400, f"The run {run_id} must be in the 'active' state")

    assert door.ok(door.get("runs/get", run_id=run_id)) == before
    door.ok(door.post("runs/restore", run_id=run_id))
    assert door.ok(door.get("runs/get", run_id=run_id))["run"]["info"]["lifecycle_stage"] == "active"


def test_a_finished_run_may_still_be_written_to_as_mlflow_has_it(door: Door) -> None:
    run_id = door.run()
    door.ok(door.post("runs/update", run_id=run_id, status="FINISHED", end_time=1))

    door.ok(door.post("runs/log-metric", run_id=run_id, key="late", value=1, timestamp=1))

    assert data(door, run_id)["metrics"][0]["key"] == "late"


@pytest.mark.parametrize("run_id", ["fake", "run-0000000000000000", "../x", "0" * 32])
def test_a_run_that_is_not_there_is_not_found(door: Door, run_id: str) -> None:
    refused(door.get("runs/get", run_id=run_id), "RESOURCE_DOES_NOT_EXIST", 404)
    refused(door.post("runs/set-tag", run_id=run_id, key="t", value="1"), "RESOURCE_DOES_NOT_EXIST", 404)


@pytest.mark.parametrize(
    "filter",
    [
        *(
            "metrics.a; DROP TABLE runs",
            "metrics.a = 1 OR 1 = 1",
            "__import__('os').system('x')",
            "metrics.a > ",
            "= 1",
        ),
        *("metrics.a ~ 1", "nothing.a = 1", "params.a = b", "attributes.nothing = 'x'", "metrics.a = 'x'", "'" * 99),
        *(" AND ".join(["metrics.a = 1"] * 7_000), "tags.`a` = 'x' AND", "lambda: 1", "a" * 200_000),
    ],
)
def test_a_filter_that_is_not_understood_is_refused_and_never_run(door: Door, filter: str) -> None:
    """B19, B33."""
    answer = door.post("runs/search", experiment_ids=["0"], filter=filter)

    refused(answer, INVALID)
    assert "SELECT" not in answer.text


@pytest.mark.parametrize("order", ["metrics.a DROP", "1; DELETE", "nothing", "metrics.`a", "attributes.start_time UP"])
def test_an_order_that_is_not_understood_is_refused(door: Door, order: str) -> None:
    refused(door.post("runs/search", experiment_ids=["0"], order_by=[order]), INVALID)


@pytest.mark.parametrize("token", ["x", "'; --", "eyJvZmZzZXQiOiAxfQ==", "9" * 40])
def test_a_page_token_that_is_not_ours_is_refused(door: Door, token: str) -> None:
    refused(door.post("runs/search", experiment_ids=["0"], page_token=token), INVALID)


@pytest.mark.parametrize("most", [0, -1, 50_001, "many"])
def test_a_page_of_no_size_is_refused(door: Door, most: object) -> None:
    refused(door.post("runs/search", experiment_ids=["0"], max_results=most), INVALID)


@pytest.mark.parametrize(
    "location",
    [
        *("http:///#/../../etc", "http://evil.example/a?b=/../../etc", "mlflow-artifacts:/../../etc", "file:///etc;x"),
        *("mlflow-artifacts:/a/%2e%2e/b", "mlflow-artifacts:/a\\..\\b", "s3://bucket/../x#y", "a" * 5_000),
    ],
)
def test_an_artifact_location_that_can_be_read_in_two_ways_is_refused(door: Door, location: str) -> None:
    """B24."""
    answer = door.post("experiments/create", name=f"at {location}"[:200], artifact_location=location)

    assert answer.json()["error_code"] in (INVALID, "PERMISSION_DENIED")
    assert answer.status_code in (400, 403)


@pytest.mark.parametrize("location", ["file:///etc", "/etc", "etc", "file://127.0.0.1/etc", "s3://bucket", "dbfs:/x"])
def test_an_artifact_location_that_the_operator_did_not_list_is_refused(door: Door, location: str) -> None:
    """B25, B28."""
    refused(
        door.post("experiments/create", name=f"at {location}", artifact_location=location), "PERMISSION_DENIED", 403
    )


@pytest.mark.parametrize(
    "name", ["<script>alert(1)</script>", "$(touch /tmp/x)", "`id`", "a\u202eb", "'; DROP TABLE runs;--"]
)
def test_a_name_of_any_kind_is_only_text(door: Door, name: str) -> None:
    """B30, B45."""
    run_id = door.run(run_name=name)
    answer = door.get("runs/get", run_id=run_id)

    assert door.ok(answer)["run"]["info"]["run_name"] == name
    assert answer.headers["content-type"] == "application/json"


def test_log_model_keeps_the_models_of_a_run_in_a_tag(door: Door) -> None:
    run_id = door.run()
    model = {"artifact_path": "m", "flavors": {}, "utc_time_created": "now", "run_id": run_id}
    for _ in range(2):
        door.ok(door.post("runs/log-model", run_id=run_id, model_json=json.dumps(model)))

    tags = {tag["key"]: tag["value"] for tag in data(door, run_id)["tags"]}
    assert json.loads(tags["mlflow.log-model.history"]) == [model, model]
    refused(door.post("runs/log-model", run_id=run_id, model_json="{"), INVALID, 400, "not a valid JSON")
    refused(door.post("runs/log-model", run_id=run_id, model_json="{}"), INVALID, 400, "missing mandatory fields")


def test_one_experiment_has_one_name(door: Door) -> None:
    made = door.ok(door.post("experiments/create", name="only one"))["experiment_id"]

    refused(door.post("experiments/create", name="only one"), "RESOURCE_ALREADY_EXISTS")
    refused(door.post("experiments/update", experiment_id="0", new_name="only one"), "BAD_REQUEST")
    door.ok(door.post("experiments/delete", experiment_id=made))
    refused(door.post("experiments/create", name="only one"), "RESOURCE_ALREADY_EXISTS")
    refused(door.post("runs/create", experiment_id=made), INVALID, 400, "must be in the 'active' state")
    door.ok(door.post("experiments/restore", experiment_id=made))
    assert door.run(experiment_id=made)
