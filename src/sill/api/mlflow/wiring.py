"""How a route of this door is declared. A module of routes makes one `WireRoutes` and hangs its handlers on it:

    ROUTES = WireRoutes(tag="runs")

    @ROUTES.post("/mlflow/runs/create", scope="runs:write", body=CreateRun, required=("experiment_id",))
    async def create_run(call: Call) -> CreateRunResponse:
        \"\"\"Begin a run that its client executes.\"\"\"
        body: CreateRun = call.body
        …

The path is the one in MLflow's proto, `version` its `since.major`. Each route is served at `/api/N.0…`, at
`/ajax-api/N.0…`, and at both below `/projects/NAME`: aliases are never declared one by one, so none can be forgotten in
the table of rights. `ROUTES.root(...)` declares a path outside of `/api`, such as `/get-artifact`.

- `call.project` is the project asked for; the gate has checked token, scope and project (`door.py`).
- `call.body` is the message of type `body` (a `Wire` of `protocols.mlflow`), from the JSON body, or from the query string
  of a GET. What is in `required` was given and is not empty. A route with `is_raw` reads `call.request.stream()`.
- `call.path` has the `{names}` of the path (`{path:path}` takes slashes).
- What a handler returns is a `Wire`, `None` for `{}`, `bytes` of JSON, or a Starlette `Response`.
- Errors are ours (`sill.core.errors`) and become MLflow's (`protocols.mlflow.errors.answer`); where MLflow's code or text
  is another, raise `refusal(CODE, text)`. `conflict` is the code that a `Conflict` of the service has on this route.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sill.api.routing import Handler, Route
from sill.protocols.mlflow.errors import INVALID_PARAMETER_VALUE
from sill.protocols.mlflow.wire import Wire


@dataclass(frozen=True)
class WireRoute(Route):
    """One declared route of this door.

    Attributes:
        path: as it is looked up, without alias: `/2.0/mlflow/…`, or the whole path of a route at the root.
        required: names of parameters that must be given and not empty, in the order in which they are looked at.
        conflict: MLflow's code for a `Conflict` raised by the service.
        in_project: the route is about things of one project; False for what is about the server or several projects.
    """

    required: tuple[str, ...] = ()
    conflict: str = INVALID_PARAMETER_VALUE
    in_project: bool = True


@dataclass
class WireRoutes:
    """The routes of one part of MLflow's API."""

    tag: str
    routes: list[WireRoute] = field(default_factory=list)

    def route(
        self,
        method: str,
        path: str,
        *,
        scope: str,
        version: int = 2,
        body: type[Wire] | None = None,
        required: tuple[str, ...] = (),
        conflict: str = INVALID_PARAMETER_VALUE,
        status: int = 200,
        is_raw: bool = False,
        in_project: bool = True,
    ) -> Callable[[Handler], Handler]:
        """Declare the decorated handler as a route below `/api/VERSION.0`."""
        return self.root(
            method,
            f"/{version}.0{path}",
            scope=scope,
            body=body,
            required=required,
            conflict=conflict,
            status=status,
            is_raw=is_raw,
            in_project=in_project,
        )

    def root(
        self,
        method: str,
        path: str,
        *,
        scope: str,
        body: type[Wire] | None = None,
        required: tuple[str, ...] = (),
        conflict: str = INVALID_PARAMETER_VALUE,
        status: int = 200,
        is_raw: bool = False,
        in_project: bool = True,
    ) -> Callable[[Handler], Handler]:
        """Declare the decorated handler as a route at exactly this path (and below `/projects/NAME`)."""

        def declare(handler: Handler) -> Handler:
            self.routes.append(
                WireRoute(
                    method=method,
                    path=path,
                    scope=scope,
                    handler=handler,
                    returns=None,
                    body=body,
                    status=status,
                    is_raw=is_raw,
                    summary=(handler.__doc__ or "").strip().partition("\n")[0],
                    required=required,
                    conflict=conflict,
                    in_project=in_project,
                )
            )
            return handler

        return declare

    def get(self, path: str, **declared: Any) -> Callable[[Handler], Handler]:
        """Declare a GET."""
        return self.route("GET", path, **declared)

    def post(self, path: str, **declared: Any) -> Callable[[Handler], Handler]:
        """Declare a POST."""
        return self.route("POST", path, **declared)

    def put(self, path: str, **declared: Any) -> Callable[[Handler], Handler]:
        """Declare a PUT."""
        return self.route("PUT", path, **declared)

    def patch(self, path: str, **declared: Any) -> Callable[[Handler], Handler]:
        """Declare a PATCH."""
        return self.route("PATCH", path, **declared)

    def delete(self, path: str, **declared: Any) -> Callable[[Handler], Handler]:
        """Declare a DELETE."""
        return self.route("DELETE", path, **declared)
