"""Every refusal, wherever it comes from, has one shape; and it tells a person what to do, and an attacker nothing."""

import time

import httpx
import pytest

from sill.core.errors import every_error
from sill.testing.live import Live

JSON = {"content-type": "application/json"}
REFUSALS: dict[str, tuple[str, str, dict[str, str], bytes, int]] = {
    "no token": ("GET", "/api/v1/projects", {"authorization": ""}, b"", 401),
    "wrong token": ("GET", "/api/v1/projects", {"authorization": "Bearer x"}, b"", 401),
    "foreign host": ("GET", "/api/v1/projects", {"host": "evil.example"}, b"", 403),
    "foreign origin": ("POST", "/api/v1/projects", {"origin": "http://evil.example"}, b"{}", 403),
    "unknown path": ("GET", "/api/v1/nothing", {}, b"", 404),
    "bad path": ("GET", "/api/v1/projects/%2e%2e", {}, b"", 404),
    "unknown project": ("GET", "/api/v1/projects/nothing", {}, b"", 404),
    "unknown thing": ("GET", "/api/v1/projects/acme/tables/nothing", {}, b"", 404),
    "unknown verb": ("PATCH", "/api/v1/projects", {}, b"", 405),
    "exists": ("POST", "/api/v1/projects", JSON, b'{"project": "acme"}', 409),
    "too large": ("POST", "/api/v1/projects/acme/uploads?name=a", {}, b"x" * 1_000_001, 413),
    "wrong type": ("POST", "/api/v1/projects", {"content-type": "text/plain"}, b"{}", 415),
    "ranges": ("GET", "/", {"range": "bytes=" + "1-2," * 500}, b"", 416),
    "wrong field": ("POST", "/api/v1/projects", JSON, b'{"project": 1}', 400),
    "unknown field": ("POST", "/api/v1/projects", JSON, b'{"project": "a", "b": 1}', 400),
    "wrong query": ("GET", "/api/v1/events?limit=many", {}, b"", 400),
    "sql": ("POST", "/api/v1/projects/acme/sql", JSON, b'{"query": "SELECT * FROM read_csv(\'/etc/passwd\')"}', 422),
    "headers": ("GET", "/", {f"x-{number}": "1" for number in range(150)}, b"", 431),
}


@pytest.mark.parametrize("what", REFUSALS)
def test_every_refusal_has_the_one_shape(root: httpx.Client, what: str) -> None:
    method, path, headers, body, status = REFUSALS[what]

    answer = root.request(method, path, headers=headers, content=body)
    while what == "wrong token" and answer.status_code == 429:  # other tests have guessed
        time.sleep(answer.json()["details"]["retry_after_s"])
        answer = root.request(method, path, headers=headers, content=body)

    problem = answer.json()
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert set(problem) - {"field", "details"} == {"code", "status", "message", "fix", "request_id"}
    assert (problem["status"], every_error()[problem["code"]].status) == (status, status)
    assert problem["message"].endswith((".", "?")), problem["message"]
    assert problem["request_id"] == answer.headers["x-request-id"]


@pytest.mark.parametrize("what", REFUSALS)
def test_no_refusal_tells_about_the_inside(live: Live, root: httpx.Client, what: str) -> None:
    method, path, headers, body, _ = REFUSALS[what]

    text = root.request(method, path, headers=headers, content=body).text

    for inside in (
        "Traceback",
        'File "',
        "sqlite",
        "sqlalchemy",
        "psycopg",
        "FROM events",
        str(live.home),
        "site-packages",
    ):
        assert inside not in text


def test_an_unknown_field_is_named(root: httpx.Client) -> None:
    answer = root.post("/api/v1/projects", json={"project": "fresh", "is_admin": True})

    assert answer.json()["field"] == "is_admin"


def test_a_field_deep_inside_is_named_by_its_path(root: httpx.Client) -> None:
    body = {"project": "acme", "name": "thing", "model": "thing", "slo": {"p99_ms": "fast"}}

    answer = root.put("/api/v1/projects/acme/endpoints/thing", json=body)

    assert answer.json()["field"] == "slo.p99_ms"
