"""OpenAPI 3.1 of our API, made from the declared routes; nothing is written twice."""

import re
from collections.abc import Sequence
from typing import Any

import msgspec
from starlette.responses import Response

from sill import __version__
from sill.api.routing import PUBLIC, Route, Routes

_PARAMETER = re.compile(r"{(\w+)(?::\w+)?}")
_PROBLEM = {
    "type": "object",
    "required": ["code", "status", "message", "fix"],
    "properties": {
        "code": {"type": "string"},
        "status": {"type": "integer"},
        "message": {"type": "string"},
        "fix": {"type": "string"},
        "field": {"type": "string"},
        "details": {"type": "object"},
        "request_id": {"type": "string"},
    },
}


def describe(stages: Sequence[Routes]) -> dict[str, Any]:
    """The OpenAPI document of all routes of these stages."""
    routes = [(stage.tag, route) for stage in stages for route in stage.routes]
    types = [kind for _, route in routes for kind in (route.body, route.query, _json_type(route)) if kind is not None]
    unique = list({id(kind): kind for kind in types}.values())
    schemas, components = msgspec.json.schema_components(unique, ref_template="#/components/schemas/{name}")
    by_type = {id(kind): schema for kind, schema in zip(unique, schemas, strict=True)}
    paths: dict[str, dict[str, Any]] = {}
    for tag, route in routes:
        path = _PARAMETER.sub(r"{\1}", route.path)
        paths.setdefault(path, {})[route.method.lower()] = _operation(tag, route, by_type, components)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Sill",
            "version": __version__,
            "description": "From raw data to a model that watches and retrains itself.",
        },
        "paths": paths,
        "components": {
            "schemas": {**components, "Problem": _PROBLEM},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(tag: str, route: Route, by_type: dict[int, Any], components: dict[str, Any]) -> dict[str, Any]:
    problem = {
        "description": "refused",
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    operation: dict[str, Any] = {
        "operationId": f"{route.handler.__name__}",
        "tags": [tag],
        "summary": route.summary,
        "parameters": _path_parameters(route.path) + _query_parameters(route, by_type, components),
        "responses": {str(_status(route)): _success(route, by_type), "4XX": problem},
        "x-scope": route.scope,
    }
    if route.scope != PUBLIC:
        operation["security"] = [{"token": []}]
    if route.body is not None:
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": by_type[id(route.body)]}},
        }
    elif route.is_raw:
        binary = {"schema": {"type": "string", "format": "binary"}}
        operation["requestBody"] = {"required": True, "content": {"application/octet-stream": binary}}
    return operation


def _path_parameters(path: str) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        for name in _PARAMETER.findall(path)
    ]


def _query_parameters(route: Route, by_type: dict[int, Any], components: dict[str, Any]) -> list[dict[str, Any]]:
    if route.query is None:
        return []
    schema = by_type[id(route.query)]
    if "$ref" in schema:
        schema = components[schema["$ref"].rpartition("/")[2]]
    required = schema.get("required", [])
    return [
        {"name": name, "in": "query", "required": name in required, "schema": field}
        for name, field in schema["properties"].items()
    ]


def _json_type(route: Route) -> Any:
    is_response = isinstance(route.returns, type) and issubclass(route.returns, Response)
    return None if route.returns is None or is_response else route.returns


def _status(route: Route) -> int:
    return 204 if route.returns is None else route.status


def _success(route: Route, by_type: dict[int, Any]) -> dict[str, Any]:
    kind = _json_type(route)
    if route.returns is None:
        return {"description": "done"}
    if kind is None:
        return {"description": "bytes", "content": {"*/*": {"schema": {}}}}
    return {"description": "done", "content": {"application/json": {"schema": by_type[id(kind)]}}}
