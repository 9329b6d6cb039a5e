"""`python -m sill.gateway`: listens on the inference port and hands requests to replicas. SIGHUP replaces them one by one."""

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

from sill.api.serving_life import Work, run_process, serve_beside
from sill.core.errors import SillError
from sill.core.settings import Settings, replica_bounds
from sill.gateway.autoscaler import follow_load
from sill.gateway.door import build_app
from sill.gateway.elsewhere import Elsewhere
from sill.gateway.fleet import Fleet
from sill.gateway.grpc_relay import GrpcRelay
from sill.gateway.router import Router
from sill.protocols.grpc.server import tls_context
from sill.safety.listener import uvicorn_config
from sill.traffic.control import given_control

FOLDER = "gateway"

_log = logging.getLogger("sill.gateway")


async def serve(settings: Settings) -> None:
    """Serve until told to stop; then the replicas end too."""
    import uvicorn

    router = Router()
    fleet = Fleet(settings, router)
    app, heads = build_app(router, settings)
    config = uvicorn_config(
        app,
        host=settings.host,
        port=settings.inference_port,
        tls_cert=settings.tls_cert,
        tls_key=settings.tls_key,
        lifespan="off",
        recognise=heads.recall,
    )
    told = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, told.set)
    relay = GrpcRelay(fleet.grpc_places)

    async def first() -> None:
        await relay.listen(settings.host, settings.grpc_port, tls_context(settings.tls_cert, settings.tls_key))

    works = [fleet.run()]
    if settings.has_replica_runs:
        elsewhere = _elsewhere(settings, fleet)
        works += [elsewhere.run(), follow_load(router, settings, elsewhere.scale, lambda: elsewhere.ready_s)]
        works.append(when_told(told, elsewhere.renew))
    else:
        works += [follow_load(router, settings, fleet.scale), when_told(told, fleet.roll)]
    try:
        await serve_beside(uvicorn.Server(config), None, settings.home / FOLDER, works, first=first, ending=relay.close)
    finally:
        await fleet.stop()  # the replicas answer what runs, and tell gRPC's clients to go
        relay.end()


async def when_told(told: asyncio.Event, replace: Callable[[], Awaitable[None]]) -> None:
    """Have the replicas replaced each time somebody says so, for ever."""
    while True:
        await told.wait()
        told.clear()
        try:
            await replace()
        except SillError as failed:
            _log.error("the replicas were not all replaced: %s", failed)


def _elsewhere(settings: Settings, fleet: Fleet) -> Elsewhere:
    least, _ = replica_bounds(settings.replicas) or (1, 1)
    return Elsewhere(fleet, given_control(settings), settings.home / FOLDER, least)


def main() -> int:
    """Serve until told to stop; see `run_process`."""

    def begin(settings: Settings) -> tuple[Path, Callable[[], Work]]:
        return settings.home / FOLDER, partial(serve, settings)

    return run_process("sill gateway", begin)


if __name__ == "__main__":
    raise SystemExit(main())
