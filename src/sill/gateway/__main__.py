"""`python -m sill.gateway`: listens on the inference port and hands requests to replicas. SIGHUP replaces them one by one."""

import asyncio
import contextlib
import gc
import logging
import signal
import sys
from collections.abc import Coroutine
from typing import Any

from sill.api.inference import hold_lock, start_logging, until_gone
from sill.api.inference_sockets import outlive_the_server, run_serving
from sill.core.errors import SillError
from sill.core.settings import Settings, read_settings
from sill.gateway.door import build_app
from sill.gateway.fleet import Fleet
from sill.gateway.router import Router
from sill.safety.listener import uvicorn_config

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
    server = uvicorn.Server(config)
    gc.collect()
    gc.freeze()
    tasks = [asyncio.create_task(work) for work in (fleet.run(), until_gone(settings.home / "gateway"))]
    rolls: set[asyncio.Task[None]] = set()

    def roll() -> None:
        task = asyncio.create_task(_told(fleet.roll()))
        rolls.add(task)
        task.add_done_callback(rolls.discard)

    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, roll)
    outlive_the_server()
    serving = asyncio.create_task(server.serve())
    try:
        done, _ = await asyncio.wait([serving, *tasks], return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        server.should_exit = True
        with contextlib.suppress(asyncio.CancelledError):
            await serving
        for task in (*tasks, *rolls):
            task.cancel()
        await asyncio.gather(*tasks, *rolls, return_exceptions=True)
        await fleet.stop()


async def _told(work: Coroutine[Any, Any, None]) -> None:
    try:
        await work
    except SillError as failed:
        _log.error("the replicas were not all replaced: %s", failed)


def main() -> int:
    """Serve until told to stop. Exit code 2 for what the caller can mend, with the reason on standard error."""
    try:
        settings = read_settings()
        start_logging(settings)
        with hold_lock(settings.home / "gateway"):
            run_serving(serve(settings))
    except SillError as refused:
        print(f"sill gateway: {refused}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 0
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
