"""Who comes in, which project is meant, and that every refusal has MLflow's form."""

import base64

import httpx
import pytest

from sill.testing.live import FOREIGN, PROJECT, Live

from .conftest import Door, refused

NAMES = "/api/2.0/mlflow/experiments/get-by-name"


def token_as(live: Live, form: str, who: str = "root") -> dict[str, str]:
    token = live.tokens[who]
    basic = base64.b64encode(f"anybody:{token}".encode()).decode()
    return {"authorization": f"Bearer {token}" if form == "bearer" else f"Basic {basic}"}


@pytest.mark.parametrize("form", ["bearer", "basic"])
def test_the_token_comes_as_bearer_or_as_the_password_of_basic(live: Live, nobody: httpx.Client, form: str) -> None:
    answer = nobody.get(NAMES, params={"experiment_name": "Default"}, headers=token_as(live, form))

    assert answer.json()["experiment"]["experiment_id"] == "0"


@pytest.mark.parametrize("given", ["Basic ???", "Basic cm9vdDpyb290", "Basic cm9vdA==", "Basic /////w==", "Digest x"])
def test_no_other_password_comes_in(nobody: httpx.Client, given: str) -> None:
    answer = nobody.get(NAMES, headers={"authorization": given})

    assert answer.status_code in (401, 429)
    assert answer.json()["error_code"] in ("UNAUTHENTICATED", "REQUEST_LIMIT_EXCEEDED")


def test_the_header_is_asked_before_the_address_and_the_address_before_the_token(
    live: Live, nobody: httpx.Client
) -> None:
    made = {}
    for project in (PROJECT, FOREIGN):
        body = {"name": f"where-{project}"}
        path = f"/projects/{project}/api/2.0/mlflow/experiments/create"
        nobody.post(path, json=body, headers=token_as(live, "bearer")).raise_for_status()
        made[project] = body["name"]

    def seen(path: str, who: str, name: str, **headers: str) -> int:
        given = token_as(live, "bearer", who) | headers
        return nobody.get(path + NAMES, params={"experiment_name": name}, headers=given).status_code

    assert seen(f"/projects/{FOREIGN}", "root", made[PROJECT], **{"x-mlflow-workspace": PROJECT}) == 200
    assert seen(f"/projects/{FOREIGN}", "root", made[FOREIGN]) == 200
    assert seen("", "stranger", made[FOREIGN]) == 200
    assert seen("", "root", made[FOREIGN]) == 404


@pytest.mark.parametrize("prefix", ["/api", "/ajax-api", f"/projects/{PROJECT}/api", f"/projects/{PROJECT}/ajax-api"])
def test_every_prefix_leads_to_the_same(root: httpx.Client, prefix: str) -> None:
    path = f"{prefix}/2.0/mlflow/experiments/get"

    assert root.get(path, params={"experiment_id": "0"}).json()["experiment"]["name"] == "Default"


def test_clients_find_out_what_the_server_can(nobody: httpx.Client) -> None:
    assert nobody.get("/api/3.0/mlflow/server-info").json()["workspaces_enabled"] is True
    assert nobody.get("/version").text.startswith("3.")


def test_workspaces_are_projects(door: Door) -> None:
    listed = door.ok(door.get("/api/3.0/mlflow/workspaces"))["workspaces"]
    made = door.post("/api/3.0/mlflow/workspaces", name="by-mlflow", description="made there")

    assert {"name": PROJECT} in listed
    assert (made.status_code, made.json()["workspace"]["description"]) == (201, "made there")
    refused(door.post("/api/3.0/mlflow/workspaces", name="by-mlflow"), "RESOURCE_ALREADY_EXISTS")
    assert door.http.delete("/api/3.0/mlflow/workspaces/by-mlflow").status_code == 204
    refused(door.get("/api/3.0/mlflow/workspaces/by-mlflow"), "RESOURCE_DOES_NOT_EXIST", 404)


def test_what_the_gate_refuses_has_mlflows_form_too(door: Door) -> None:
    answer = door.http.post("/api/2.0/mlflow/runs/search", headers={"host": "evil.example"}, json={})

    refused(answer, "PERMISSION_DENIED", 403)


def test_an_unknown_path_and_an_unknown_verb_are_told_apart(door: Door) -> None:
    refused(door.get("/api/2.0/mlflow/nothing"), "ENDPOINT_NOT_FOUND", 404)
    refused(door.http.put("/api/2.0/mlflow/runs/create"), "ENDPOINT_NOT_FOUND", 405)
    assert door.get("/api/v1/nothing").json()["code"] == "not_found"


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({}, "Missing value for required parameter 'name'."),
        ({"name": ""}, "Missing value for required parameter 'name'."),
        ({"name": None}, "Missing value for required parameter 'name'."),
        ({"name": 123}, "Invalid value 123 for parameter 'name' supplied"),
        ({"name": "n", "artifact_location": 9.0}, "Invalid value 9.0 for parameter 'artifact_location'"),
        ({"name": "n", "tags": "5"}, "Invalid value \"5\" for parameter 'tags'"),
        ({"name": "n", "tags": [{"key": 1}]}, "Invalid value 1 for parameter 'tags[0].key'"),
        ({"name": "n", "tags": [{}]}, "Missing value for required parameter 'tags[0].key'."),
    ],
)
def test_a_wrong_message_is_refused_in_mlflows_words(door: Door, body: dict, text: str) -> None:
    refused(door.post("experiments/create", **body), "INVALID_PARAMETER_VALUE", 400, text)


def test_unknown_fields_are_ignored_and_numbers_may_be_text(door: Door, external_run: str) -> None:
    body = {"run_id": external_run, "key": "text", "value": "0.5", "timestamp": "7", "step": "3", "unheard": {"of": 1}}

    door.ok(door.post("runs/log-metric", **body))

    points = door.ok(door.get("metrics/get-history", run_id=external_run, metric_key="text"))["metrics"]
    assert points == [{"key": "text", "value": 0.5, "timestamp": 7, "step": 3}]


@pytest.mark.parametrize("given", [{"content-type": "text/plain"}, {"content-type": ""}])
def test_only_json_is_read(root: httpx.Client, given: dict[str, str]) -> None:
    refused(
        root.post("/api/2.0/mlflow/runs/search", content=b"{}", headers=given), "INVALID_PARAMETER_VALUE", 400, "Type"
    )
