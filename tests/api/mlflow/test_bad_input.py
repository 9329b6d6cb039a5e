"""SECURITY 1.0, B01–B22 at MLflow's door: whatever comes in, the answer is MLflow's error and nothing has changed."""

import contextlib
import http.client
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import httpx
import msgspec
import pytest

from sill.api.mlflow.wiring import WireRoute
from sill.testing.bad_input import BAD_BODIES, BAD_NAMES, BAD_VALUES
from sill.testing.live import PROJECT, Live
from sill.testing.routes import put
from sill.testing.wire_routes import addresses, closed_wire_routes, good_message, places

ROUTES = closed_wire_routes()
WITH_BODY = [route for route in ROUTES if route.body is not None and route.method not in ("GET", "DELETE")]
ONE_OF_EACH_PART = list({route.path.split("/")[3]: route for route in WITH_BODY}.values())
WITH_QUERY = [route for route in ROUTES if route.body is not None and route.method in ("GET", "DELETE")]
WITH_PARAMETER = [route for route in ROUTES if "{" in route.path]
ACCEPTED = {"duplicate keys", "duplicate keys, escaped", "unknown field", "empty", "null", "B15 twice"}
"""What other doors refuse and MLflow's clients may send; the message is then about nothing that is known here."""
BAD_QUERY = [
    "",
    "-1",
    "0",
    "9" * 21,
    "NaN",
    "1e999",
    "%00",
    "%ff",
    "a" * 5_000,
    "'%20OR%201=1--",
    "%0d%0a",
    "[]",
    "true",
]
JSON = {"content-type": "application/json"}


def name_of(route: WireRoute) -> str:
    return f"{route.method} {route.path}"


def known_field(route: WireRoute) -> str:
    """A field of the route's message; what is in a field nobody knows is not looked at."""
    return route.required[0] if route.required else msgspec.structs.fields(route.body)[0].encode_name


@pytest.fixture(autouse=True)
def still_there(live: Live) -> Iterator[None]:
    yield
    assert live.ended() == []


def check(answer: httpx.Response, what: object) -> None:
    """The answer is MLflow's error, and none of the server's."""
    assert 400 <= answer.status_code < 500, f"{what}: {answer.status_code} {answer.text[:500]}"
    assert set(answer.json()) == {"error_code", "message"}, what
    assert answer.json()["error_code"] not in ("INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE"), what
    assert answer.headers["x-content-type-options"] == "nosniff", what
    assert "Traceback" not in answer.text, what
    assert "sqlite" not in answer.text.lower(), what


@pytest.mark.parametrize("route", ONE_OF_EACH_PART, ids=name_of)
def test_a_bad_body_is_refused(live: Live, root: httpx.Client, route: WireRoute) -> None:
    """All routes read their bodies by the same few lines; one of each part stands for them."""
    before = live.state()

    for what, (body, headers) in BAD_BODIES.items():
        if what not in ACCEPTED and not (what == "no type" and route.method == "PATCH"):
            body = body.replace(b'"project"', f'"{known_field(route)}"'.encode())
            check(root.request(route.method, addresses(route, PROJECT)[-1], content=body, headers=headers), what)
    assert live.state() == before, live.last_events()


@pytest.mark.slow
@pytest.mark.parametrize("route", WITH_BODY, ids=name_of)
def test_a_wrong_value_in_a_field_is_taken_whole_or_not_at_all(
    live: Live, root: httpx.Client, external_run: str, route: WireRoute
) -> None:
    good = good_message(route, run_id=external_run)
    headers = JSON | {"authorization": root.headers["authorization"], "x-mlflow-workspace": PROJECT}
    path = addresses(route, PROJECT)[0]
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", live.port)) as connection:
        for place in places(route.body):
            before, is_taken = live.state(), False
            for bad in BAD_VALUES:
                answer = _send(connection, route.method, path, put(good, place, bad), headers)
                if not answer.is_success:
                    check(answer, (place, repr(bad)[:100]))
                is_taken = is_taken or answer.is_success
            assert is_taken or live.state() == before, (place, live.last_events())


@pytest.mark.slow
@pytest.mark.parametrize("route", WITH_QUERY, ids=name_of)
def test_a_wrong_value_in_a_query_is_answered(root: httpx.Client, external_run: str, route: WireRoute) -> None:
    good = {name: value for name, value in good_message(route, run_id=external_run).items() if value is not None}
    for place in {place[0] for place in places(route.body)}:
        for bad in BAD_QUERY:
            query = urlencode({name: value for name, value in good.items() if name != place}, doseq=True)
            answer = root.request(route.method, f"{addresses(route, PROJECT)[-1]}?{query}&{place}={bad}")
            if not answer.is_success:
                check(answer, (place, bad))


@pytest.mark.slow
@pytest.mark.parametrize("route", WITH_PARAMETER, ids=name_of)
def test_a_wrong_name_in_the_path_is_refused(live: Live, root: httpx.Client, route: WireRoute) -> None:
    before = live.state()
    values = route.path[route.path.index("{") + 1 :].partition("}")[0].partition(":")[0]

    for bad in BAD_NAMES:
        path = addresses(route, PROJECT, **{values: bad})[-1]
        answer = root.request(route.method, path, json=good_message(route) if route.method != "GET" else None)
        if "{path:path}" not in route.path and "artifact" not in route.path:
            check(answer, bad)
        else:
            assert answer.status_code < 500, bad
    assert live.state() == before or "artifact" in route.path, live.last_events()


def _send(connection: http.client.HTTPConnection, method: str, path: str, body: Any, headers: Any) -> httpx.Response:
    connection.request(method, path, json.dumps(body), headers)
    got = connection.getresponse()
    return httpx.Response(got.status, headers=got.getheaders(), content=got.read())
