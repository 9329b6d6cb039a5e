"""`python -m sill.api.inference`: the inference plane's process. Wires its parts; what is asked there is `inference_door`'s."""

import argparse
import asyncio
import contextlib
import gc
import logging
import os
import sys
from pathlib import Path
from typing import TextIO

from sill.api.home import take_lock
from sill.api.inference_door import BODIES_BYTES_MAX, build_app
from sill.api.inference_grpc import serve_grpc
from sill.api.inference_sockets import Listen, open_grpc_socket, open_sockets, outlive_the_server, run_serving
from sill.core.clock import SystemClock
from sill.core.errors import Conflict, SillError, Unavailable
from sill.core.names import check_name
from sill.core.settings import Settings, read_settings
from sill.runtimes.port import open_runtime
from sill.safety.limits import MemoryBudget
from sill.safety.listener import uvicorn_config
from sill.safety.private_files import read_private
from sill.safety.redaction import RedactingFilter, Redactor
from sill.traffic.cache import ModelCache
from sill.traffic.control import Control
from sill.traffic.following import Follower
from sill.traffic.plane import Plane
from sill.traffic.shipping import Shipping
from sill.traffic.spool import Spool

FIRST_PLAN_S = 5.0
DELIVER_S = 3.0
"""How long a process that ends tries to hand over its rows; what is left waits on disk."""
DRAIN_S = 10.0
"""How long running gRPC calls may take to be answered once the process is told to end."""
HOME_LOOK_S = 5.0
"""How often the process looks whether its home is still there."""

_log = logging.getLogger("sill.inference")


async def serve(settings: Settings, name: str = "", listen: Listen = "port") -> None:
    """Serve until told to stop.

    Args:
        name: of the process, if it is one of several; it has a folder of that name.
        listen: `port` alone on the inference port, `shared` with others there, `socket` for a gateway in its folder.
    """
    import uvicorn

    home = settings.home / "inference" / name
    clock = SystemClock()
    url = os.environ.get("SILL_URL", "") or settings.url
    token_file = Path(os.environ.get("SILL_TOKEN_FILE", "") or settings.home / "token")

    def token() -> str:
        return read_private(token_file).decode().strip()

    shipping = Shipping(Spool(home / "spool", clock), Control(url, token), clock)
    plane = Plane(clock, shipping.recorder)
    follower = Follower(plane, Control(url, token), open_runtime, home, ModelCache(settings.model_cache_bytes))
    await follower.start_from_cache()
    app, recognition = build_app(plane, settings)
    is_public = listen != "socket"
    config = uvicorn_config(
        app,
        host=settings.host,
        port=settings.inference_port,
        tls_cert=settings.tls_cert if is_public else "",
        tls_key=settings.tls_key if is_public else "",
        lifespan="off",
        recognise=recognition.recall,
    )
    server = uvicorn.Server(config)
    gc.collect()
    gc.freeze()  # what start-up made lives as long as the process
    works = (follower.run(), shipping.run(), plane.shadow_for_ever(), until_gone(home))
    tasks = [asyncio.create_task(work) for work in works]
    if listen == "shared":
        await first_plan(plane)
    outlive_the_server()
    calls = await serve_grpc(
        plane,
        settings,
        recognition.in_flight,
        memory=MemoryBudget(BODIES_BYTES_MAX),
        sock=open_grpc_socket(settings, home, listen),
        is_public=is_public,
    )
    serving = asyncio.create_task(server.serve(sockets=open_sockets(settings, home, listen)))
    try:
        # A worker that ends by an error ends the process: the control plane starts it again, from what is on disk.
        done, _ = await asyncio.wait([serving, *tasks], return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        server.should_exit = True
        calls.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        with contextlib.suppress(asyncio.CancelledError):
            await serving
        await calls.drained(DRAIN_S)
        await shipping.flush()
        with contextlib.suppress(SillError, OSError, TimeoutError):
            async with asyncio.timeout(DELIVER_S):
                await shipping.deliver()


async def first_plan(plane: Plane) -> None:
    """Return when every endpoint is answered: the port is others' too, who answer meanwhile. Waits `FIRST_PLAN_S` at most."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(FIRST_PLAN_S):
            while not plane.has_plan or plane.planned.keys() - plane.routes.keys():  # noqa: ASYNC110 -- at most once
                await asyncio.sleep(0.02)


async def until_gone(home: Path) -> None:
    """Return when the home is no more: a process that outlives its control plane must not outlive its data.

    Raises:
        Unavailable: always, once it is gone; it ends the process.
    """
    while (home / "alive.lock").exists():  # noqa: ASYNC110 -- a file that goes sends no event
        await asyncio.sleep(HOME_LOOK_S)
    raise Unavailable(f"{home} is gone.", fix="Start the platform on a home of its own.")


def main() -> int:
    """Serve until told to stop. Exit code 2 for what the caller can mend, with the reason on standard error."""
    parser = argparse.ArgumentParser(prog="python -m sill.api.inference")
    parser.add_argument("--name", default="", help="one of several processes of a home")
    parser.add_argument("--listen", default="port", choices=("port", "shared", "socket"))
    given = parser.parse_args()
    try:
        settings = read_settings()
        start_logging(settings)
        name = check_name(given.name, "name") if given.name else ""
        with hold_lock(settings.home / "inference" / name):
            run_serving(serve(settings, name, given.listen))
    except SillError as refused:
        print(f"sill inference: {refused}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 0
    return 0


def hold_lock(folder: Path) -> TextIO:
    """Say that this process is alive, as long as the returned file is open; the file holds its process id.

    Raises:
        Conflict: another inference plane serves from this home.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = take_lock(folder / "alive.lock")
    if file is None:
        raise Conflict(f"another inference plane serves from {folder}.", fix="Stop it first.")
    return file


def start_logging(settings: Settings) -> None:
    """One redacted line a record, to standard error, which is the log file when the control plane started this."""
    handler = logging.StreamHandler()
    handler.addFilter(RedactingFilter(Redactor()))
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    logging.basicConfig(level=settings.log_level.upper(), handlers=[handler], force=True)


if __name__ == "__main__":
    raise SystemExit(main())
