"""Serves the routes that MLflow's clients speak. How one is declared is told in `wiring`.

Project: the header X-MLFLOW-WORKSPACE, else the `/projects/NAME` in front of the path, else the one project the token
is for, else `default`. Token: `Authorization: Bearer TOKEN`, or Basic with any user name and the token as password.

The door stands in front of the other routes, finds a route by one look into a dict, and decodes a body once, straight
into its message. Who asks and whether they may is settled before a byte of the body is read; without a token even an
unknown path is answered 401.
"""

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import compile_path
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sill.api.dispatch import authorise, idempotency_key, identify
from sill.api.mlflow import (
    artifacts,
    assessments,
    evaluation_datasets,
    experiments,
    histories,
    issues,
    logged_models,
    registry,
    runs,
    scorers,
    server,
    traces,
    webhooks,
)
from sill.api.mlflow.wiring import WireRoute, WireRoutes
from sill.api.routing import PUBLIC, Call
from sill.core.actors import ANY, Actor
from sill.core.errors import Conflict, InvalidValue, MethodNotAllowed, SillError, TooLarge
from sill.core.names import shorten
from sill.governance.service import DEFAULT_PROJECT
from sill.protocols.mlflow import errors, wire
from sill.safety.limits import Reservation

if TYPE_CHECKING:
    from sill.api.services import Services

PARTS: tuple[WireRoutes, ...] = (
    server.ROUTES,
    experiments.ROUTES,
    runs.ROUTES,
    histories.ROUTES,
    logged_models.ROUTES,
    registry.ROUTES,
    artifacts.ROUTES,
    traces.ROUTES,
    assessments.ROUTES,
    evaluation_datasets.ROUTES,
    issues.ROUTES,
    scorers.ROUTES,
    webhooks.ROUTES,
)
"""All routes of the door. A further part is one more here."""

WORKSPACE_HEADER = "x-mlflow-workspace"
QUERY_VALUES_MAX = 5_000
_PREFIXES = ("/api/2.0/", "/api/3.0/", "/ajax-api/2.0/", "/ajax-api/3.0/")
_PROJECT = "/projects/"
_TEXT_TYPES = ("application/json",)


class Door:
    """In front of an app: what is MLflow's is served here, everything else is passed on."""

    def __init__(self, app: ASGIApp, services: "Services", parts: Iterable[WireRoutes] = PARTS) -> None:
        self._app = app
        self._services = services
        self._table = Table(route for part in parts for route in part.routes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not self._table.is_ours(scope["path"]):
            await self._app(scope, receive, send)
            return
        await self._serve(Request(scope, receive), scope, receive, send)

    def present(self, scope: Scope, error: SillError, request_id: str) -> tuple[int, bytes] | None:
        """The gate's answer to an error of a request that came to this door."""
        return errors.answer(error, request_id) if self._table.is_ours(scope.get("path", "")) else None

    async def _serve(self, request: Request, scope: Scope, receive: Receive, send: Send) -> None:
        services = self._services
        project, path = split_project(scope["path"])
        route, values = self._table.find(scope["method"], path)
        actor = await identify(request, PUBLIC if route is not None and route.scope == PUBLIC else "", services)
        if route is None:
            raise self._table.nothing_at(scope["method"], path)
        if route.scope != PUBLIC:
            if route.in_project:
                values["project"] = request.headers.get(WORKSPACE_HEADER, "").strip() or project or own_project(actor)
            await authorise(actor, route, values, services)
        with services.body_memory.reserve() as held:
            call = Call(
                services=services,
                actor=actor,
                path=values,
                query=None,
                body=await read_message(request, route, services.settings.body_bytes_max, held),
                key=idempotency_key(request, route, actor),
                request=request,
            )
            result = await _handled(route, call)
        if isinstance(result, Response):
            await result(scope, receive, send)
        else:
            await _send(send, route.status, _json(result))


class Table:
    """Finds routes: most paths are fixed and lie in a dict; the others are few and matched one by one."""

    def __init__(self, routes: Iterable[WireRoute]) -> None:
        self._fixed: dict[str, dict[str, WireRoute]] = {}
        self._open: dict[str, tuple[re.Pattern[str], dict[str, WireRoute]]] = {}
        for route in routes:
            if "{" in route.path:
                pattern = self._open.setdefault(route.path, (compile_path(route.path)[0], {}))
                pattern[1][route.method] = route
            else:
                self._fixed.setdefault(route.path, {})[route.method] = route
        self._root = frozenset(path for path in self._fixed if not path.startswith(("/2.0/", "/3.0/")))

    def is_ours(self, path: str) -> bool:
        """True if the path belongs to this door, whether or not there is something at it."""
        return path.startswith((*_PREFIXES, _PROJECT)) or (path in self._root and path != "/health")

    def find(self, method: str, path: str) -> tuple[WireRoute | None, dict[str, str]]:
        """The route and the values in its path; None if there is none of that method."""
        if (methods := self._fixed.get(path)) is not None and method in methods:
            return methods[method], {}
        for pattern, methods in self._open.values():
            if method in methods and (match := pattern.match(path)):
                return methods[method], match.groupdict()
        return None, {}

    def nothing_at(self, method: str, path: str) -> SillError:
        """Why there is no route."""
        known = path in self._fixed or any(pattern.match(path) for pattern, _ in self._open.values())
        if known:
            return MethodNotAllowed(f"{method} is not allowed at this path.")
        return errors.refusal(errors.ENDPOINT_NOT_FOUND, f"there is nothing at {shorten(path)!r} for MLflow's clients.")


def split_project(path: str) -> tuple[str, str]:
    """The project in front of a path, if any, and the path as the table has it: without `/api` or `/ajax-api`."""
    project = ""
    if path.startswith(_PROJECT):
        project, slash, rest = path[len(_PROJECT) :].partition("/")
        path = slash + rest.lstrip("/")  # clients join addresses that end with a slash
    for alias in ("/api", "/ajax-api"):
        if path.startswith((alias + "/2.0/", alias + "/3.0/")):
            return project, path[len(alias) :]
    return project, path


def own_project(actor: Actor) -> str:
    """The one project the actor is for; `default` if there is not exactly one."""
    if len(actor.projects) == 1 and ANY not in actor.projects:
        return next(iter(actor.projects))
    return DEFAULT_PROJECT


async def read_message(request: Request, route: WireRoute, limit: int, held: Reservation) -> Any:
    """The request's message, with all that is required.

    Raises:
        InvalidValue: it is not JSON, of another shape, or something is missing.
        TooLarge: it is longer than `limit` bytes.
    """
    if route.body is None or route.is_raw:
        return None
    body = await _body(request, limit, held)
    try:
        if request.method in ("GET", "DELETE") and not body:
            message = wire.from_query(_query(request), route.body)
        else:
            _check_type(request)
            message = wire.decode(body, route.body)
    except msgspec.ValidationError as wrong:
        raise _explain(request, body, route, wrong) from wrong
    for name in route.required:
        if getattr(message, name) in (None, "", ()) and not (name == "run_id" and getattr(message, "run_uuid", None)):
            raise errors.missing_value(name)
    return message


async def _body(request: Request, limit: int, held: Reservation) -> bytes:
    """The whole body; most arrive in one piece, which is not copied."""
    pieces: list[bytes] = []
    size = 0
    try:
        async for piece in request.stream():
            held.grow(len(piece))
            size += len(piece)
            if size > limit:
                raise TooLarge(f"the body is larger than {limit} bytes.", fix="Send it in parts.")
            if piece:
                pieces.append(piece)
    except ClientDisconnect as gone:
        raise InvalidValue("the body ended before it was whole.") from gone
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _query(request: Request) -> Mapping[str, list[str]]:
    text = request.scope["query_string"].decode("latin-1")
    try:
        return parse_qs(text, keep_blank_values=True, errors="strict", max_num_fields=QUERY_VALUES_MAX)
    except ValueError as wrong:
        raise errors.invalid(f"the query has more than {QUERY_VALUES_MAX} values, or is not UTF-8.") from wrong


def _check_type(request: Request) -> None:
    """The content type of a body, in MLflow's words."""
    given = request.headers.get("content-type")
    if request.method not in ("POST", "PUT"):
        return
    if given is None:
        raise errors.invalid("Bad Request. Content-Type header is missing.")
    if given.partition(";")[0].strip().lower() not in _TEXT_TYPES:
        raise errors.invalid(f"Bad Request. Content-Type must be one of {list(_TEXT_TYPES)}.")


def _explain(request: Request, body: bytes, route: WireRoute, wrong: msgspec.ValidationError) -> SillError:
    """The refusal of a message of another shape, with the parameter and its value, as MLflow words it."""
    if body:
        said = wire.plain(body)
    else:
        said = {name: values[0] for name, values in _query(request).items()}
    name, value, is_missing = wire.culprit(said, wrong)
    if not name:
        return errors.invalid(f"the body is not a message: {wrong}.{errors.SEE_DOCS}")
    if is_missing or (value is None and name in route.required):
        return errors.missing_value(name)
    return errors.invalid_value(name, value)


async def _handled(route: WireRoute, call: Call) -> Any:
    try:
        return await route.handler(call)
    except Conflict as conflict:
        conflict.details.setdefault(errors.CODE, route.conflict)
        raise


def _json(result: Any) -> bytes:
    if result is None:
        return b"{}"
    return result if isinstance(result, bytes) else wire.encode(result)


async def _send(send: Send, status: int, body: bytes) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    start: Message = {"type": "http.response.start", "status": status, "headers": headers}
    await send(start)
    await send({"type": "http.response.body", "body": body})
