"""`python -m sill.gateway`: listens on the inference port and hands requests to replicas. SIGHUP replaces them one by one."""

import asyncio
import logging
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path

from sill.api.serving_life import Work, run_process, serve_beside
from sill.core.errors import SillError
from sill.core.settings import Settings
from sill.gateway.autoscaler import follow_load
from sill.gateway.door import build_app
from sill.gateway.fleet import Fleet
from sill.gateway.grpc_relay import GrpcRelay
from sill.gateway.router import Router
from sill.protocols.grpc.server import tls_context
from sill.safety.listener import uvicorn_config

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

    try:
        works = (fleet.run(), follow_load(router, fleet, settings), roll_when_told(fleet, told))
        await serve_beside(uvicorn.Server(config), None, settings.home / FOLDER, works, first=first, ending=relay.close)
    finally:
        await fleet.stop()  # the replicas answer what runs, and tell gRPC's clients to go
        relay.end()


async def roll_when_told(fleet: Fleet, told: asyncio.Event) -> None:
    """Replace the replicas each time somebody says so, for ever."""
    while True:
        await told.wait()
        told.clear()
        try:
            await fleet.roll()
        except SillError as failed:
            _log.error("the replicas were not all replaced: %s", failed)


def main() -> int:
    """Serve until told to stop; see `run_process`."""

    def begin(settings: Settings) -> tuple[Path, Callable[[], Work]]:
        return settings.home / FOLDER, partial(serve, settings)

    return run_process("sill gateway", begin)


if __name__ == "__main__":
    raise SystemExit(main())
