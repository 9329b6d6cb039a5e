"""Every declared route as something to send: paths filled with things that exist, bodies made from the OpenAPI schemas."""

import re
from collections.abc import Iterator
from functools import cache
from typing import Any

from sill.api.app import STAGES
from sill.api.openapi import describe
from sill.api.routing import PUBLIC, Route

PARAMETER = re.compile(r"{(\w+)(?::\w+)?}")
THINGS = {"version": "1", "alias": "champion", "path": "thing.txt", "kind": "pipeline", "key": "a" * 64}
DEPTH_MAX = 3
VALID: dict[str, dict[str, Any]] = {
    "create_project": {"project": "fresh"},
    "create_token": {"name": "fresh", "role": "reader", "projects": ["acme"]},
    "declare_ingestion": {"sources": [{"url": "https://example.com/things.csv"}]},
    "run_sql": {"query": "SELECT * FROM thing"},
    "declare_view": {"entity": ["id"]},
    "look_up": {"entities": [{"id": 1}]},
    "submit_run": {"command": ["true"]},
    "declare_pipeline": {"steps": [{"name": "one", "command": ["true"]}]},
    "declare_trigger": {"on": "hand", "start_kind": "pipeline"},
}
"""Fields, by handler, without which a body of required fields would be refused."""


def every_route() -> list[Route]:
    """All routes of the control plane."""
    return [route for stage in STAGES for route in stage.routes]


def closed_routes() -> list[Route]:
    """The routes that need a token."""
    return [route for route in every_route() if route.scope != PUBLIC]


def name_of(route: Route) -> str:
    """What a test about the route is called."""
    return f"{route.method} {route.path}"


def fill_path(route: Route, running: str, **given: str) -> str:
    """The route's path about things that `sill.testing.live.fill` made, but for the parameters given here.

    Args:
        running: id of the run that runs.
    """
    known = {"project": "acme", "run_id": running, **THINGS, **given}
    return PARAMETER.sub(lambda match: known.get(match[1], "thing"), route.path)


def good_body(route: Route) -> Any:
    """A small body that the route takes, where one can be made without knowing more of the platform."""
    body = example(body_schema(route))
    return {**body, **VALID.get(route.handler.__name__, {})} if isinstance(body, dict) else body


@cache
def document() -> dict[str, Any]:
    """The OpenAPI document."""
    return describe(STAGES)


def body_schema(route: Route) -> dict[str, Any]:
    """The JSON schema of the route's body."""
    return _operation(route)["requestBody"]["content"]["application/json"]["schema"]  # type: ignore[no-any-return]


def query_names(route: Route) -> list[str]:
    """The route's query parameters."""
    return [each["name"] for each in _operation(route)["parameters"] if each["in"] == "query"]


def fill_query(route: Route) -> dict[str, Any]:
    """The query parameters the route cannot do without."""
    return {
        each["name"]: "sill://acme/tables/thing" if each["name"] == "address" else example(each["schema"])
        for each in _operation(route)["parameters"]
        if each["in"] == "query" and each["required"]
    }


def _operation(route: Route) -> dict[str, Any]:
    return document()["paths"][PARAMETER.sub(r"{\1}", route.path)][route.method.lower()]  # type: ignore[no-any-return]


def resolve(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema itself, where it is a reference to one or a choice of several: the first with properties."""
    if "$ref" in schema:
        return resolve(document()["components"]["schemas"][schema["$ref"].rpartition("/")[2]])
    options = [resolve(option) for option in schema.get("anyOf", ())]
    return next((option for option in options if "properties" in option), options[0] if options else schema)


def example(schema: dict[str, Any], depth: int = 0) -> Any:
    """A small value of the schema: required fields only, names that exist."""
    schema = resolve(schema)
    if "enum" in schema or "const" in schema:
        return schema.get("const", schema.get("enum", [None])[0])
    kind = schema.get("type")
    if kind == "object":
        wanted = schema.get("required", ())
        return {name: _named(name, schema["properties"][name], depth) for name in wanted}
    plain = {"string": "thing", "integer": 1, "number": 1.0, "boolean": False, "array": []}
    return plain.get(str(kind))


def _named(name: str, schema: dict[str, Any], depth: int) -> Any:
    return "acme" if name == "project" else example(schema, depth + 1)


def places(schema: dict[str, Any], path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The path of every field of a schema, to a depth of three; of lists, of their first value."""
    schema = resolve(schema)
    if isinstance(schema.get("items"), dict) and path:
        yield from places(schema["items"], (*path, 0))
    for name, field in schema.get("properties", {}).items():
        yield (*path, name)
        if sum(isinstance(part, str) for part in path) + 1 < DEPTH_MAX:
            yield from places(field, (*path, name))


def put(value: Any, path: tuple[str | int, ...], new: Any) -> Any:
    """The value with something else at the path; objects and lists on the way are made."""
    if not path:
        return new
    if isinstance(path[0], int):
        return [put(value[0] if isinstance(value, list) and value else None, path[1:], new)]
    inner = value if isinstance(value, dict) else {}
    return {**inner, path[0]: put(inner.get(path[0]), path[1:], new)}
