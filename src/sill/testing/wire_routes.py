"""Every route of MLflow's door as something to send: its four addresses, bodies made from its messages."""

import re
from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import inspect

from sill.api.mlflow.door import PARTS
from sill.api.mlflow.wiring import WireRoute
from sill.api.routing import PUBLIC

_PARAMETER = re.compile(r"{(\w+)(?::\w+)?}")
_DEPTH_MAX = 3
GOOD: dict[str, Any] = {
    "experiment_id": "0",
    "experiment_ids": ["0"],
    "experiment_name": "Default",
    "timestamp": 1,
    "value": "1",
    "status": 2,
    "models": [{"model_id": "m-0000000000000000"}],
    "trace_ids": ["tr-0000000000000000"],
    "model_json": '{"artifact_path": "a", "flavors": {}, "utc_time_created": "x", "run_id": "y"}',
}
"""Values of fields that only some values make sense for."""


def every_wire_route() -> list[WireRoute]:
    """All routes of the door."""
    return [route for part in PARTS for route in part.routes]


def closed_wire_routes() -> list[WireRoute]:
    """Those that need a token."""
    return [route for route in every_wire_route() if route.scope != PUBLIC]


def addresses(route: WireRoute, project: str, **values: str) -> list[str]:
    """Every path the route is served at, its parameters filled."""
    path = _PARAMETER.sub(lambda match: values.get(match[1], "thing"), route.path)
    is_root = not path.startswith(("/2.0/", "/3.0/"))
    plain = [path] if is_root else [f"/api{path}", f"/ajax-api{path}"]
    below = [f"/projects/{project}{each}" for each in plain]
    return below if path == "/health" else plain + below


def good_message(route: WireRoute, **known: Any) -> dict[str, Any]:
    """A body with all that is required, and every field at the top that has a good value."""
    if route.body is None:
        return {}
    fields = msgspec.structs.fields(route.body)
    given = {field.encode_name: _value(field.encode_name, field.type, known) for field in fields}
    return {name: value for name, value in given.items() if value is not None or name in route.required}


def places(kind: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The path of every field of a message, to a depth of three; of lists, of their first value."""
    info = inspect.type_info(kind) if not isinstance(kind, inspect.Type) else kind
    for option in info.types if isinstance(info, inspect.UnionType) else (info,):
        if isinstance(option, inspect.VarTupleType | inspect.ListType):
            yield from places(option.item_type, (*path, 0))
        elif isinstance(option, inspect.StructType) and sum(isinstance(part, str) for part in path) < _DEPTH_MAX:
            for field in option.fields:
                yield (*path, field.encode_name)
                yield from places(field.type, (*path, field.encode_name))


def _value(name: str, kind: Any, known: dict[str, Any]) -> Any:
    if name in known or name in GOOD:
        return known.get(name, GOOD.get(name))
    text = repr(kind)
    return "thing" if "str" in text and "tuple" not in text and name not in ("page_token", "filter") else None
