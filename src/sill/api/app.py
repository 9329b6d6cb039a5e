"""The control plane's ASGI app: the request gate, every declared route, the console's pages; and its life."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from functools import cache

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route as StarletteRoute
from starlette.types import ASGIApp

from sill.api import (
    console,
    costs,
    endpoints,
    experiments,
    features,
    governance,
    ingestions,
    lake,
    login,
    models,
    monitors,
    pipelines,
    platform,
    projects,
    queues,
    runs,
    sources,
    tracking,
    traffic,
    trainings,
    triggers,
    webhooks,
)
from sill.api.dispatch import bind
from sill.api.hosts import allowed_hosts, allowed_origins
from sill.api.mlflow.door import Door
from sill.api.openapi import describe
from sill.api.routing import Routes
from sill.api.services import Services
from sill.core.clock import SystemClock
from sill.core.errors import MethodNotAllowed, NotFound
from sill.safety.gate import Gate, GateLimits

STAGES: tuple[Routes, ...] = (
    platform.ROOT_ROUTES,
    platform.ROUTES,
    login.ROUTES,
    login.PAGES,
    governance.ROUTES,
    costs.ROUTES,
    sources.ROUTES,
    ingestions.ROUTES,
    lake.ROUTES,
    features.ROUTES,
    queues.ROUTES,
    runs.ROUTES,
    experiments.ROUTES,
    tracking.ROUTES,
    trainings.ROUTES,
    pipelines.ROUTES,
    models.ROUTES,
    endpoints.ROUTES,
    traffic.ROUTES,
    monitors.ROUTES,
    triggers.ROUTES,
    webhooks.ROUTES,
    projects.ROUTES,
    console.ROUTES,
)

logger = logging.getLogger("sill.api")


def build_app(services: Services) -> ASGIApp:
    """The app over these services. It starts the workers when the server starts it, and stops them at its end."""

    @contextlib.asynccontextmanager
    async def life(_app: Starlette) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(keep_running(worker)) for worker in services.workers]
        yield
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    bound = [bind(route, services) for stage in STAGES for route in stage.routes]
    app = Starlette(routes=one_route_a_path(bound), lifespan=life)
    app.add_exception_handler(404, not_found)
    app.add_exception_handler(405, not_allowed)
    app.router.redirect_slashes = False
    app.state.openapi = cache(lambda: msgspec.json.encode(describe(STAGES)))
    settings = services.settings
    door = Door(app, services)
    return Gate(
        door,
        limits=GateLimits(
            body_bytes_max=max(settings.upload_bytes_max, settings.body_bytes_max),
            in_flight_max=settings.requests_in_flight_max,
        ),
        hosts=allowed_hosts(settings),
        origins=allowed_origins(settings),
        clock=SystemClock(),
        present=door.present,
    )


async def keep_running(worker: object) -> None:
    """Run a worker for ever; one that dies of an error is started again, with a growing pause of at most 30 s."""
    pause_s = 0.5
    while True:
        try:
            await worker.run()  # type: ignore[attr-defined]
        except asyncio.CancelledError:
            raise
        except Exception:
            logger.exception("worker %s stopped; it starts again in %.1f s", type(worker).__name__, pause_s)
        await asyncio.sleep(pause_s)
        pause_s = min(pause_s * 2, 30.0)


def one_route_a_path(bound: list[StarletteRoute]) -> list[StarletteRoute]:
    """Starlette answers 405 from the first path that matches; so a path's verbs must not hide behind a broader path."""
    return sorted(bound, key=lambda route: (":path" in route.path, route.path.count("{"), -len(route.path)))


async def not_found(request: Request, _error: Exception) -> Response:
    """The answer for a path nobody declared."""
    raise NotFound("there is nothing at this path.", fix="See /api/v1/openapi.json for the paths there are.")


async def not_allowed(request: Request, _error: Exception) -> Response:
    """The answer for a verb a path does not have."""
    raise MethodNotAllowed(f"{request.method} is not allowed at this path.", fix="See /api/v1/openapi.json.")
