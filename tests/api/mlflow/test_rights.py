"""SECURITY B29, B107: token, scope and project are asked for on every route of MLflow's door, at each of its addresses."""

import httpx
import pytest

from sill.api.mlflow.door import Table
from sill.api.mlflow.wiring import WireRoute
from sill.api.routing import PUBLIC
from sill.governance.rules import RESOURCES
from sill.testing.live import FOREIGN, PROJECT, Live
from sill.testing.wire_routes import addresses, closed_wire_routes, every_wire_route, good_message

OPEN = {"/version", "/health", "/3.0/mlflow/server-info"}
CLOSED = closed_wire_routes()
IN_PROJECT = [route for route in CLOSED if route.in_project]


def name_of(route: WireRoute) -> str:
    return f"{route.method} {route.path}"


@pytest.mark.parametrize("route", every_wire_route(), ids=name_of)
def test_every_route_has_a_known_scope(route: WireRoute) -> None:
    assert (route.scope == PUBLIC) == (route.path in OPEN)
    assert route.scope == PUBLIC or route.scope.partition(":")[0] in RESOURCES


def test_no_two_routes_have_the_same_path_and_verb() -> None:
    names = [name_of(route) for route in every_wire_route()]

    assert sorted(set(names)) == sorted(names)
    assert all(Table(every_wire_route()).find(route.method, route.path)[0] for route in every_wire_route())


@pytest.mark.parametrize("route", CLOSED, ids=name_of)
def test_without_a_token_every_address_answers_401(nobody: httpx.Client, route: WireRoute) -> None:
    for path in addresses(route, PROJECT):
        answer = nobody.request(route.method, path)

        assert (answer.status_code, answer.json()["error_code"]) == (401, "UNAUTHENTICATED"), path


@pytest.mark.parametrize("path", ["/ajax-api/3.0/jobs/", "/api/2.0/mlflow/nothing", "/projects/acme", "/projects/x/y"])
def test_without_a_token_an_unknown_path_answers_401_too(nobody: httpx.Client, path: str) -> None:
    assert nobody.post(path).json()["error_code"] == "UNAUTHENTICATED"


@pytest.mark.parametrize("route", CLOSED, ids=name_of)
def test_with_a_token_without_the_scope_every_address_answers_403(
    live: Live, powerless: httpx.Client, route: WireRoute
) -> None:
    before = live.state()

    for path in addresses(route, PROJECT):
        answer = powerless.request(route.method, path)

        assert (answer.status_code, answer.json()["error_code"]) == (403, "PERMISSION_DENIED"), path
    assert live.state() == before


@pytest.mark.parametrize("route", [route for route in IN_PROJECT if "write" in route.scope], ids=name_of)
def test_a_reader_changes_nothing(live: Live, reader: httpx.Client, route: WireRoute) -> None:
    before = live.state()

    answer = reader.request(route.method, addresses(route, PROJECT)[0], json=good_message(route))

    assert answer.status_code == 403
    assert live.state() == before


@pytest.mark.parametrize("how", ["header", "address"])
@pytest.mark.parametrize("route", IN_PROJECT, ids=name_of)
def test_a_foreign_project_and_a_missing_one_answer_the_same(
    stranger: httpx.Client, route: WireRoute, how: str
) -> None:
    def ask(project: str) -> httpx.Response:
        headers = {"x-mlflow-workspace": project} if how == "header" else {}
        return stranger.request(route.method, addresses(route, project)[0 if how == "header" else -1], headers=headers)

    foreign, missing = ask(PROJECT), ask("nowhere")

    assert foreign.status_code == missing.status_code == 404
    assert foreign.text.replace(PROJECT, "X") == missing.text.replace("nowhere", "X")


@pytest.mark.parametrize("route", [route for route in IN_PROJECT if "run_id" in route.required], ids=name_of)
def test_another_tenants_run_and_a_missing_one_answer_the_same(
    stranger: httpx.Client, external_run: str, route: WireRoute
) -> None:
    def ask(run_id: str) -> httpx.Response:
        body = good_message(route, run_id=run_id)
        path = addresses(route, FOREIGN)[-1]
        return stranger.request(route.method, path, **({"params": body} if route.method == "GET" else {"json": body}))

    theirs, nobodys = ask(external_run), ask("run-0000000000000000")

    assert theirs.status_code == nobodys.status_code == 404
    assert theirs.text.replace(external_run, "X") == nobodys.text.replace("run-0000000000000000", "X")
