"""Declares routes. Each says its scope, what it takes and what it gives; one without a scope fails at import.

The request gate reads the declaration before it reads the body; OpenAPI and the tests read the same declaration.
"""

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from starlette.requests import Request

from sill.core.actors import Actor
from sill.core.errors import InvalidValue
from sill.core.values import Value

if TYPE_CHECKING:  # services.py imports every stage; handlers need it for their types only
    from sill.api.services import Services

NamedValue = TypeVar("NamedValue", bound=Value)

PUBLIC = "public"
"""The scope of the few routes that need no token: health, login, public key, console shell."""
_SCOPE = re.compile(r"[a-z]+:(read|write|admin|infer)|public")


@dataclass(frozen=True)
class Call:
    """One request, checked and decoded, as a handler sees it.

    Attributes:
        path: values of the `{names}` in the route's path.
        body: the decoded body (of the route's `body` type), or None; raw routes read `request.stream()` themselves.
        query: the decoded query (of the route's `query` type), or None.
        key: idempotency key, joined with the actor and the route; empty if the client sent none.
    """

    services: "Services"
    actor: Actor
    path: Mapping[str, str]
    body: Any
    query: Any
    key: str
    request: Request

    @property
    def project(self) -> str:
        """The tenant in the path."""
        return self.path["project"]

    def named(self, value: NamedValue) -> NamedValue:
        """The value, if its project and name are those of the path.

        Raises:
            InvalidValue: the body says something else than the path.
        """
        said, meant = (value.project, value.name), (self.project, self.path["name"])  # type: ignore[attr-defined]
        if said != meant:
            raise InvalidValue(
                f"the body is about {said[0]}/{said[1]}, the path about {meant[0]}/{meant[1]}.",
                fix="Make them the same.",
                field="name",
            )
        return value


Handler = Callable[[Call], Awaitable[Any]]


@dataclass(frozen=True)
class Route:
    """One declared route.

    Attributes:
        body: type the JSON body is decoded to; None for no body.
        query: Struct type of the query parameters; None for none.
        returns: type of the answer; `Response` for handlers that build their own.
        is_raw: the body is a stream of bytes the handler reads itself, up to the upload limit.
        makes_project: the project in the path need not exist yet.
    """

    method: str
    path: str
    scope: str
    handler: Handler
    returns: Any
    body: Any = None
    query: Any = None
    status: int = 200
    is_raw: bool = False
    makes_project: bool = False
    summary: str = ""

    def __post_init__(self) -> None:
        if not _SCOPE.fullmatch(self.scope):
            raise TypeError(f"route {self.method} {self.path} declares scope {self.scope!r}; resource:verb is allowed.")
        if not self.summary:
            raise TypeError(f"route {self.method} {self.path} has no summary: give its handler a docstring.")


@dataclass
class Routes:
    """The routes of one stage, under `/api/v1`."""

    tag: str
    prefix: str = "/api/v1"
    routes: list[Route] = field(default_factory=list)

    def route(
        self,
        method: str,
        path: str,
        *,
        scope: str,
        returns: Any,
        body: Any = None,
        query: Any = None,
        status: int = 200,
        is_raw: bool = False,
        makes_project: bool = False,
    ) -> Callable[[Handler], Handler]:
        """Declare the decorated handler as a route; its docstring's first line is the summary."""

        def declare(handler: Handler) -> Handler:
            summary = (handler.__doc__ or "").strip().partition("\n")[0]
            self.routes.append(
                Route(
                    method=method,
                    path=self.prefix + path,
                    scope=scope,
                    handler=handler,
                    returns=returns,
                    body=body,
                    query=query,
                    status=status,
                    is_raw=is_raw,
                    makes_project=makes_project,
                    summary=summary,
                )
            )
            return handler

        return declare

    def get(self, path: str, *, scope: str, returns: Any, query: Any = None) -> Callable[[Handler], Handler]:
        """Declare a GET."""
        return self.route("GET", path, scope=scope, returns=returns, query=query)

    def post(
        self,
        path: str,
        *,
        scope: str,
        returns: Any,
        body: Any = None,
        status: int = 200,
        is_raw: bool = False,
        query: Any = None,
    ) -> Callable[[Handler], Handler]:
        """Declare a POST."""
        return self.route(
            "POST", path, scope=scope, returns=returns, body=body, status=status, is_raw=is_raw, query=query
        )

    def put(
        self, path: str, *, scope: str, returns: Any, body: Any = None, is_raw: bool = False, query: Any = None
    ) -> Callable[[Handler], Handler]:
        """Declare a PUT."""
        return self.route("PUT", path, scope=scope, returns=returns, body=body, is_raw=is_raw, query=query)

    def delete(self, path: str, *, scope: str, returns: Any, query: Any = None) -> Callable[[Handler], Handler]:
        """Declare a DELETE."""
        return self.route("DELETE", path, scope=scope, returns=returns, query=query)
