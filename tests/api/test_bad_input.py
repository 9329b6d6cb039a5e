"""SECURITY 1.0 and 1.1: whatever comes in, the answer is a refusal in our form, nothing changes, and the server lives on.

Every bad thing goes to every route where it can: bodies to all that take one, fields by the OpenAPI schemas.
"""

import contextlib
import http.client
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest

from sill.api.routing import Route
from sill.testing.bad_input import BAD_BODIES, BAD_NAMES, BAD_VALUES
from sill.testing.live import Live
from sill.testing.routes import (
    PARAMETER,
    body_schema,
    closed_routes,
    every_route,
    example,
    fill_path,
    fill_query,
    good_body,
    name_of,
    places,
    put,
    query_names,
)

ROUTES = every_route()
WITH_BODY = [route for route in ROUTES if route.body is not None]
WITHOUT_BODY = [route for route in ROUTES if route.body is None and not route.is_raw and route.method != "GET"]
RAW = [route for route in ROUTES if route.is_raw and "artifacts" not in route.path]
WITH_PARAMETER = [route for route in closed_routes() if "{" in route.path]
WITH_QUERY = [route for route in ROUTES if route.query is not None and route.handler.__name__ != "upload_file"]
JSON = {"content-type": "application/json"}
REFUSED = {400, 401, 403, 404, 405, 409, 413, 415, 416, 422, 429, 431}

BAD_QUERY = [
    "",
    "-1",
    "0",
    "999999999999999999999",
    "NaN",
    "1e999",
    "%00",
    "%ff",
    "a" * 5_000,
    "'%20OR%201=1--",
    "%0d%0a",
    "[]",
]
BAD_QUERY += ["../../etc", "%E2%80%AE", "true", "metrics.a;%20DROP%20TABLE%20runs", "{%22a%22:%22b%22}", "%F0%9F%98%80"]
BAD_HEADERS: dict[str, dict[str, str]] = {
    "B11 origin": {"origin": "http://evil.example"},
    "B11 null origin": {"origin": "null"},
    "B11 cross site": {"sec-fetch-site": "cross-site"},
    "B11 same site": {"sec-fetch-site": "same-site"},
}
BAD_HEADERS_EVERYWHERE: dict[str, dict[str, str]] = {
    "B12 host": {"host": "evil.example"},
    "B12 host with port": {"host": "evil.example:80"},
    "B12 no host name": {"host": "a b"},
    "B19 SQL in the token": {"authorization": "Bearer ' OR '1'='1"},
    "B19 root by name": {"authorization": "Bearer root"},
    "a long token": {"authorization": "Bearer " + "a" * 20_000},
    "basic": {"authorization": "Basic cm9vdDpyb290"},
    "token in a cookie": {"authorization": "", "cookie": "sill_session='; DROP TABLE tokens; --"},
    "many headers": {f"x-{number}": "a" for number in range(200)},
    "long headers": {"x-long": "a" * 60_000},
    "B02 ranges": {"range": "bytes=" + ",".join(f"{n}-{n}" for n in range(5_000))},
}


@pytest.fixture(autouse=True)
def nothing_changed(live: Live, request: pytest.FixtureRequest) -> Iterator[None]:
    """After every test: the same processes, and nothing of what is kept has changed (but where the test looks itself)."""
    before = live.state()
    yield
    assert live.ended() == []
    assert "is_refused" not in request.function.__name__ or live.state() == before, live.last_events()


def refused(answer: httpx.Response, what: object = "") -> None:
    """The answer is a refusal in our one form."""
    assert answer.status_code in REFUSED, f"{what}: {answer.status_code} {answer.text[:500]}"
    assert answer.headers["content-type"] == "application/json", what
    assert answer.headers["x-content-type-options"] == "nosniff", what
    problem = answer.json()
    assert problem["status"] == answer.status_code, what
    assert problem["code"], what
    assert problem["message"], what
    inner = ("Traceback", "sqlalchemy", " FROM runs", "INSERT INTO", str(Path(__file__).parents[2]), "/tmp/")
    assert not any(word in answer.text for word in inner), f"{what}: {answer.text}"


@pytest.mark.parametrize("route", WITH_BODY, ids=name_of)
def test_a_bad_body_is_refused(live: Live, root: httpx.Client, route: Route) -> None:
    path = fill_path(route, live.run_id)
    for what, (body, headers) in BAD_BODIES.items():
        refused(root.request(route.method, path, content=body, headers=headers), what)


@pytest.mark.parametrize("route", WITHOUT_BODY, ids=name_of)
def test_a_body_nobody_asked_for_is_refused(live: Live, root: httpx.Client, route: Route) -> None:
    answer = root.request(route.method, fill_path(route, live.run_id), content=b'{"project": "acme"}', headers=JSON)

    refused(answer)


@pytest.mark.parametrize("route", WITH_BODY, ids=name_of)
@pytest.mark.parametrize(
    "field", ["id", "tenant", "created_by", "is_admin", "actor", "state_us", "__class__", "$where"]
)
def test_a_field_nobody_declared_is_refused(live: Live, root: httpx.Client, route: Route, field: str) -> None:
    """B106: at the top of the body, and inside each object in it."""
    schema = body_schema(route)
    known = {path[-1] for path in places(schema)}
    if field in known:
        return
    body = example(schema)
    for path in {(), *(path[:-1] for path in places(schema))}:
        wrong = put(body, (*path, field), 1)
        answer = root.request(route.method, fill_path(route, live.run_id), json=wrong, params=fill_query(route))
        refused(answer, path)


@pytest.mark.parametrize("route", WITH_PARAMETER, ids=name_of)
def test_a_bad_name_in_the_path_is_refused(live: Live, root: httpx.Client, route: Route) -> None:
    """B07, B14, B18, B19, B22, B26, B75."""
    body = None if route.body is None else example(body_schema(route))
    for name in PARAMETER.findall(route.path):
        for bad in BAD_NAMES:
            if (route.method, name) == ("PUT", "path") or is_allowed(route, name, bad):
                continue
            path = fill_path(route, live.run_id, **{name: bad})
            refused(root.request(route.method, path, json=body, params=fill_query(route)), f"{name}={bad[:100]}")


@pytest.mark.parametrize(
    "bad", ["..%2fx", "%2e%2e/x", "a/../x", "a/..%5cx", "a%00", "%5cetc", "a//b", "a/./b", "a/%2e", "%0aX:y", "a/"]
)
def test_an_artifact_stays_in_its_run(live: Live, root: httpx.Client, bad: str) -> None:
    """B26."""
    at = f"/api/v1/projects/acme/runs/{live.run_id}/artifacts/"

    connection = http.client.HTTPConnection("127.0.0.1", live.port)  # httpx would tidy the path up
    with contextlib.closing(connection):
        connection.request("PUT", at + bad, body=b"x", headers={"authorization": root.headers["authorization"]})
        answer = connection.getresponse()
        assert answer.status in REFUSED, answer.read()


@pytest.mark.parametrize("route", WITH_QUERY, ids=name_of)
def test_a_bad_query_is_refused_or_harmless(live: Live, root: httpx.Client, route: Route) -> None:
    path = fill_path(route, live.run_id)
    least = "&".join(f"{name}={value}" for name, value in fill_query(route).items())
    body = None if route.body is None else example(body_schema(route))
    for name in query_names(route):
        for bad in BAD_QUERY:
            answer = root.request(route.method, f"{path}?{name}={bad}&{least}", json=body)
            assert answer.status_code in REFUSED | {200, 201, 204}, f"{name}={bad[:100]}: {answer.text[:500]}"
    refused(root.request(route.method, f"{path}?{least}&nobody_knows_this=1", json=body))
    refused(
        root.request(route.method, f"{path}?{least}&{query_names(route)[0]}=1&{query_names(route)[0]}=2", json=body)
    )


@pytest.mark.parametrize("route", [route for route in ROUTES if route.method != "GET"], ids=name_of)
@pytest.mark.parametrize("what", BAD_HEADERS)
def test_a_change_from_another_site_is_refused(live: Live, root: httpx.Client, route: Route, what: str) -> None:
    """B11: every verb that changes, also DELETE."""
    answer = root.request(route.method, fill_path(route, live.run_id), headers=BAD_HEADERS[what])

    assert answer.status_code == 403
    refused(answer)


@pytest.mark.parametrize("what", BAD_HEADERS_EVERYWHERE)
def test_a_bad_header_is_refused_on_every_route(live: Live, root: httpx.Client, what: str) -> None:
    for route in closed_routes():
        answer = root.request(route.method, fill_path(route, live.run_id), headers=BAD_HEADERS_EVERYWHERE[what])
        refused(answer, name_of(route))


@pytest.mark.parametrize("path", sorted({route.path for route in ROUTES}))
def test_no_other_site_is_let_in_by_cors(live: Live, nobody: httpx.Client, path: str) -> None:
    """B13."""
    route = next(route for route in ROUTES if route.path == path)
    asks = {"origin": "http://evil.example", "access-control-request-method": "DELETE"}

    answer = nobody.options(fill_path(route, live.run_id), headers=asks)

    assert answer.status_code in (403, 405)
    assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize(
    "bad", ["%2e%2e%2fapp.py", "..%2f..%2fx", "..%5cx", "%00", "x.py", "__init__.py", "", "../static-secret"]
)
def test_the_console_gives_away_no_other_file(nobody: httpx.Client, bad: str) -> None:
    """B14."""
    refused(nobody.get(f"/static/{bad}"), bad)


@pytest.mark.parametrize("route", RAW, ids=name_of)
def test_bytes_that_are_not_what_is_asked_for_do_no_harm(live: Live, root: httpx.Client, route: Route) -> None:
    """What takes any bytes keeps them; what reads them refuses them. Nothing is an error of the server."""
    takes_any_bytes = route.handler.__name__ in ("upload_file", "store_blob")
    if takes_any_bytes:
        refused(root.request(route.method, fill_path(route, live.run_id), content=b"x" * 1_000_001))
        return
    for kind in ("application/json", "application/x-ndjson", "application/vnd.apache.arrow.stream", "text/plain", ""):
        for body in (
            b"",
            b"x",
            b"[" * 100_000,
            b"[1]",
            b"[[]]",
            b"\xff" * 1_000,
            b"PK\x03\x04" + b"\0" * 100,
            b'[{"": 1}]',
        ):
            path = fill_path(route, live.run_id)
            refused(root.request(route.method, path, content=body, headers={"content-type": kind}), (kind, body[:20]))


def is_allowed(route: Route, name: str, bad: str) -> bool:
    """Secrets have a wider grammar, because they are named like environment variables; an alias may begin with a digit."""
    if name == "alias":
        return re.fullmatch(r"[a-z0-9]([a-z0-9_.-]*[a-z0-9])?", bad) is not None and len(bad) <= 100 and ".." not in bad
    return name == "name" and "/secrets/" in route.path and bad in ("A", "a..b", "NaN", "0x10", "1e999", "9" * 30)


@pytest.mark.parametrize("route", WITH_BODY, ids=name_of)
def test_a_wrong_value_in_a_field_is_taken_whole_or_not_at_all(live: Live, root: httpx.Client, route: Route) -> None:
    """Every field of every body, by its schema, with every bad value; B20, B23, B32, B65, B68, B79, B83, B88 among them."""
    schema = body_schema(route)
    good, query = good_body(route), urlencode(fill_query(route))
    path = f"{fill_path(route, live.run_id)}?{query}"
    headers = JSON | {"authorization": root.headers["authorization"]}
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", live.port)) as connection:  # thousands: the fastest
        for place in places(schema):
            if route.path.endswith("/apply") and len(place) > 1:
                continue  # what it declares has routes of its own
            before, is_taken = live.state(), False
            for bad in BAD_VALUES:
                connection.request(route.method, path, json.dumps(put(good, place, bad)), headers)
                got = connection.getresponse()
                answer = httpx.Response(got.status, headers=got.getheaders(), content=got.read())
                if not answer.is_success:
                    refused(answer, (place, shown(bad)))
                is_taken = is_taken or answer.is_success
            assert is_taken or live.state() == before, (place, live.last_events())


def shown(value: Any) -> str:
    return repr(value)[:100]
