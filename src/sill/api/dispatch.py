"""From an ASGI request to a handler: who asks, may they, is the body right; then from the result to an answer.

Identity, scope and tenant are decided from the route's declaration before a byte of the body is read.
"""

import base64
import hashlib
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route as StarletteRoute

from sill.api.routing import PUBLIC, Call, Route
from sill.core.actors import Actor
from sill.core.errors import InvalidValue, TooLarge, Unauthenticated, UnsupportedType
from sill.core.names import check_name, shorten
from sill.governance.rules import require
from sill.safety import strict_json
from sill.safety.limits import Reservation

if TYPE_CHECKING:
    from sill.api.services import Services

SESSION_COOKIE = "sill_session"
KEY_LENGTH_MAX = 200
NOBODY = Actor(id="nobody", scopes=frozenset(), projects=frozenset())


def bind(route: Route, services: "Services") -> StarletteRoute:
    """The route as Starlette serves it."""

    async def serve(request: Request) -> Response:
        actor = await identify(request, route.scope, services)
        path = {name: str(value) for name, value in request.path_params.items()}
        await authorise(actor, route, path, services)
        with services.body_memory.reserve() as held:
            call = Call(
                services=services,
                actor=actor,
                path=path,
                query=_query(request, route),
                body=await _body(request, route, services.settings.body_bytes_max, held),
                key=idempotency_key(request, route, actor),
                request=request,
            )
            return _answer(await route.handler(call), route)

    return StarletteRoute(route.path, serve, methods=[route.method])


async def identify(request: Request, scope: str, services: "Services") -> Actor:
    """Who asks, by the token in the request; nobody where the scope is public.

    Raises:
        Unauthenticated: no token, or one that is not known.
        Limited: too many wrong ones from this address.
    """
    if scope == PUBLIC:
        return NOBODY
    secret = _secret(request)
    if secret:
        try:
            return await services.governance.authenticate(secret.strip())
        except Unauthenticated:
            count_wrong(request, services)
            raise
    raise Unauthenticated(
        "this route needs a token and none was sent.",
        fix="Send `Authorization: Bearer TOKEN`; the root token lies in SILL_HOME/token.",
    )


def _secret(request: Request) -> str:
    """The token: as Bearer, as the password of Basic (any user name; what netrc files hold), or in the session cookie."""
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    if given and scheme.lower() == "bearer":
        return given
    if given and scheme.lower() == "basic":
        try:
            return base64.b64decode(given, validate=True).decode().partition(":")[2]
        except ValueError:  # binascii.Error and UnicodeDecodeError are of this kind
            return given  # is no token, and counted as a wrong one
    return request.cookies.get(SESSION_COOKIE, "")


def count_wrong(request: Request, services: "Services") -> None:
    """Note a wrong token or code of an address (SECURITY B105). A right one from the same address still comes in.

    Raises:
        Limited: there were too many of late.
    """
    services.wrong_tokens.take(request.client.host if request.client else "")


async def authorise(actor: Actor, route: Route, path: dict[str, str], services: "Services") -> None:
    """Returns if the actor may do what the route declares, in the project in its path. A denied change is written down.

    Raises:
        Forbidden: it lacks the scope.
        NotFound: the project is another tenant's, or there is none.
    """
    if route.scope == PUBLIC:
        return
    project = path.get("project", "")
    try:
        if project:
            check_name(project, "project")
        require(actor, route.scope, project)
        if project and not route.makes_project:
            await services.governance.check_project(project)
    except Exception:
        if route.method not in ("GET", "HEAD"):
            await services.governance.denied(actor, f"{route.method} {route.path}", project)
        raise


def _query(request: Request, route: Route) -> Any:
    given = dict(request.query_params)
    if len(given) != len(request.query_params.multi_items()):
        raise InvalidValue("a query parameter is given twice.", fix="Give each once.")
    for name, value in given.items():
        _check_text(value, name)
    if route.query is None:
        if given and not route.is_raw:
            raise InvalidValue(
                f"query parameter {shorten(next(iter(given)))!r} is not known here; none is.", fix="Leave it out."
            )
        return None
    try:
        query = msgspec.convert(given, route.query, strict=False)
    except msgspec.ValidationError as wrong:
        raise InvalidValue(f"the query is wrong: {wrong}.", fix="See /api/v1/openapi.json.", field="query") from wrong
    for name, value in msgspec.structs.asdict(query).items():
        if isinstance(value, int) and not strict_json.INTEGER_MIN <= value <= strict_json.INTEGER_MAX:
            raise InvalidValue(f"query parameter {name!r} is not within 64 bits.", field=name)
    return query


def _check_text(value: str, name: str) -> None:
    """Refuse what no text of a person holds: control characters, and bytes that were not UTF-8."""
    if not value.isprintable() or "\ufffd" in value:
        raise InvalidValue(
            f"query parameter {shorten(name)!r} holds characters that are not text.", fix="Send UTF-8.", field="query"
        )


async def _body(request: Request, route: Route, limit: int, held: Reservation) -> Any:
    if route.is_raw:
        return None
    body = bytearray()
    try:
        async for chunk in request.stream():
            held.grow(len(chunk))
            body += chunk
            if len(body) > limit:
                raise TooLarge(f"the body is larger than {limit} bytes.", fix="Send it in parts, or as an upload.")
    except ClientDisconnect as gone:
        raise InvalidValue("the body ended before it was whole.") from gone
    if route.body is None:
        if bytes(body).strip() not in (b"", b"{}", b"null"):
            raise InvalidValue("this route takes no body.", fix="Leave it out.")
        return None
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media != "application/json":
        raise UnsupportedType(
            f"content type {shorten(media)!r} is not taken here; application/json is.", fix="Send JSON."
        )
    return strict_json.decode(bytes(body), route.body)


def idempotency_key(request: Request, route: Route, actor: Actor) -> str:
    """The client's idempotency key, joined with the actor and the path; empty if it sent none.

    Raises:
        InvalidValue: it is too long or not plain ASCII.
    """
    given = request.headers.get("idempotency-key", "")
    if not given:
        return ""
    if len(given) > KEY_LENGTH_MAX or not given.isascii() or not given.isprintable():
        raise InvalidValue(f"the idempotency key is longer than {KEY_LENGTH_MAX} characters or not plain ASCII.")
    parts = f"{actor.id}|{route.method}|{request.url.path}|{given}"
    return hashlib.sha256(parts.encode()).hexdigest()  # of one length, so that no two keys are cut to the same


def _answer(result: Any, route: Route) -> Response:
    if isinstance(result, Response):
        return result
    if result is None and route.returns is None:
        return Response(status_code=204)
    return Response(msgspec.json.encode(result), status_code=route.status, media_type="application/json")
