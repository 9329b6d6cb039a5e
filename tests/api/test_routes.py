"""What holds for every route, because it is declared and not written into handlers: rights, tenants, verbs, description."""

from collections import Counter

import httpx
import msgspec
import pytest
import schemathesis

from sill.api.routing import PUBLIC, Route
from sill.testing.live import FOREIGN, PROJECT, Live
from sill.testing.routes import (
    body_schema,
    closed_routes,
    document,
    every_route,
    example,
    fill_path,
    fill_query,
    name_of,
)

OPEN = {"/health", "/login", "/", "/static/{name}", "/api/v1/openapi.json"}
CLOSED = closed_routes()
OF_PROJECT = [route for route in CLOSED if "{project}" in route.path]
ABOUT_A_THING = [route for route in OF_PROJECT if route.path.count("{") > 1 and route.method != "PUT"]
ABOUT_A_THING = [route for route in ABOUT_A_THING if route.handler.__name__ != "register_version"]  # makes the thing
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


@pytest.mark.parametrize("route", every_route(), ids=name_of)
def test_every_route_has_a_scope_and_a_summary(route: Route) -> None:
    assert route.scope
    assert route.summary
    assert (route.scope == PUBLIC) == (route.path in OPEN)


@pytest.mark.parametrize("route", CLOSED, ids=name_of)
def test_without_a_token_a_route_answers_401(live: Live, nobody: httpx.Client, route: Route) -> None:
    answer = nobody.request(route.method, fill_path(route, live.run_id))

    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")


@pytest.mark.parametrize("route", CLOSED, ids=name_of)
def test_with_a_token_without_the_scope_a_route_answers_403(live: Live, powerless: httpx.Client, route: Route) -> None:
    before = live.state()

    answer = powerless.request(route.method, fill_path(route, live.run_id))

    if route.scope != "secrets:admin":
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
        assert route.scope in answer.json()["message"]
    assert live.state() == before


@pytest.mark.parametrize("route", OF_PROJECT, ids=name_of)
def test_a_foreign_project_and_a_missing_one_answer_the_same(live: Live, stranger: httpx.Client, route: Route) -> None:
    foreign = stranger.request(route.method, fill_path(route, live.run_id))
    missing = stranger.request(route.method, fill_path(route, live.run_id, project="nowhere"))

    assert foreign.status_code == missing.status_code == 404
    assert told(foreign, PROJECT) == told(missing, "nowhere")


@pytest.mark.parametrize("route", ABOUT_A_THING, ids=name_of)
def test_another_tenants_thing_and_a_missing_one_answer_the_same(
    live: Live, stranger: httpx.Client, route: Route
) -> None:
    """G22: ids and names of another tenant mean nothing in one's own project."""
    named = ("name", "model", "incident", "webhook_id", "delivery_id", "experiment_id", "model_id")
    missing = dict.fromkeys(named, "nothing")

    theirs = send(stranger, route, fill_path(route, live.run_id, project=FOREIGN))
    nobodys = send(stranger, route, fill_path(route, "run-0000000000000000", project=FOREIGN, **missing))

    assert 400 <= theirs.status_code == nobodys.status_code < 500
    assert told(theirs, live.run_id, "thing") == told(nobodys, "run-0000000000000000", "nothing")


@pytest.mark.parametrize("path", sorted({route.path for route in every_route()}))
def test_a_verb_that_is_not_declared_answers_405(live: Live, root: httpx.Client, path: str) -> None:
    runs = "/api/v1/projects/{project}/runs/"
    also = {f"{runs}{word}": f"{runs}{{run_id}}" for word in ("inline", "together", "compare", "search")}
    declared = {route.method for route in every_route() if route.path in (path, also.get(path))}
    for method in METHODS:
        if method not in declared:
            route = next(route for route in every_route() if route.path == path)
            answer = root.request(method, fill_path(route, live.run_id))
            assert answer.status_code == 405, f"{method}: {answer.status_code} {answer.text}"
            assert answer.json()["code"] == "method_not_allowed"


@pytest.mark.parametrize(
    "path", ["/nothing", "/api", "/api/v1", "/api/v1/", "/api/v2/projects", "/health/", "/API/v1/projects"]
)
def test_a_path_nobody_declared_answers_404(root: httpx.Client, path: str) -> None:
    answer = root.get(path)

    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_no_operation_has_the_name_of_another() -> None:
    names = Counter(each["operationId"] for path in document()["paths"].values() for each in path.values())

    assert [name for name, count in names.items() if count > 1] == []
    assert names.total() == len(every_route())


def test_the_description_is_an_openapi_document(nobody: httpx.Client) -> None:
    served = nobody.get("/api/v1/openapi.json").json()

    schemathesis.openapi.from_dict(served).config.base_url = None
    from openapi_spec_validator import validate

    validate(served)
    assert served == msgspec.json.decode(msgspec.json.encode(document()))


def send(client: httpx.Client, route: Route, path: str) -> httpx.Response:
    """A request with the least body and query the route takes."""
    body = example(body_schema(route)) if route.body is not None else None
    return client.request(route.method, path, json=body, params=fill_query(route))


def told(answer: httpx.Response, *names: str) -> str:
    """The problem without the request's id and the names that the caller has given itself."""
    problem = answer.json()
    problem.pop("request_id")
    text = repr(problem)
    for name in names:
        text = text.replace(name, "NAME")
    return text
