"""`python -m sill.api.inference`: the inference plane's process. Wires its parts; what is asked there is `inference_door`'s."""

import argparse
import asyncio
import contextlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import get_args

import msgspec
import uvicorn

from sill.api.describing import unready
from sill.api.heartbeat import end_silent
from sill.api.inference_door import build_app
from sill.api.inference_grpc import serve_grpc
from sill.api.inference_sockets import Listen, open_grpc_socket, open_sockets
from sill.api.long_reading import Readers
from sill.api.replica_run import ReplicaRun
from sill.api.serving_gate import BODIES_BYTES_MAX
from sill.api.serving_life import Work, run_process, serve_beside
from sill.api.siblings import Siblings
from sill.core.clock import SystemClock
from sill.core.errors import SillError
from sill.core.names import check_name
from sill.core.settings import Settings, replica_bounds
from sill.protocols.grpc.server import GrpcServer
from sill.runtimes.port import opener
from sill.safety.guarded import ListenerLimits
from sill.safety.limits import MemoryBudget
from sill.safety.listener import uvicorn_config
from sill.traffic.by_hand import ByHand
from sill.traffic.cache import ModelCache
from sill.traffic.control import given_control
from sill.traffic.following import Follower
from sill.traffic.lanes import lanes_of
from sill.traffic.plane import Plane
from sill.traffic.shipping import Shipping
from sill.traffic.spool import Spool

UNLOADED = "unloaded"
"""Folder, below the first process's, of the endpoints that were unloaded by hand."""
FIRST_PLAN_S = 5.0
DELIVER_S = 3.0
"""How long a process that ends tries to hand over its rows; what is left waits on disk."""
LEAVING_S = 5.0
"""How long a client of a process that is one of several may use its connection once more."""
DRAIN_S = 10.0
"""How long running gRPC calls may take to be answered once the process is told to end."""


async def serve(settings: Settings, name: str = "", listen: Listen = "port") -> None:
    """Serve until told to stop.

    Args:
        name: of the process, if it is one of several; it has a folder of that name.
        listen: `port` alone on the inference port, `shared` with others there, `socket` for a gateway in its folder,
            `run` for gateways elsewhere, as a run of an engine.
    """
    home = settings.home / "inference" / name
    clock = SystemClock()
    control = given_control(settings, is_run=listen == "run")
    shipping = Shipping(Spool(home / "spool", clock), control, clock)
    by_hand = ByHand(settings.home / "inference" / UNLOADED)
    plane = Plane(clock, shipping.recorder, by_hand)
    cache = ModelCache(settings.model_cache_bytes)
    beside, _ = (replica_bounds(settings.replicas) if listen == "socket" else None) or (1, 1)
    follower = Follower(plane, control, opener(settings.pythons), home, cache, lanes_of(beside))
    await follower.start_from_cache()
    readers = Readers()
    folder, has_tls = settings.home / "inference", bool(settings.tls_cert)
    siblings = Siblings(folder, home, has_tls=has_tls) if listen == "shared" else None
    app, recognition = build_app(plane, settings, readers, siblings)
    is_public = listen in ("port", "shared")
    run = ReplicaRun(home, control) if listen == "run" else None
    recognition.notes_what_was_taken = not is_public
    config = uvicorn_config(
        app,
        host=settings.host,
        port=settings.inference_port,
        tls_cert=settings.tls_cert if is_public else "",
        tls_key=settings.tls_key if is_public else "",
        tls=run.http_tls if run else None,
        limits=limits_for(listen),
        lifespan="off",
        recognise=recognition.recall,
    )
    calls: list[GrpcServer] = []

    async def first() -> None:
        if listen == "shared":
            await first_plan(plane)
        server = await serve_grpc(
            plane,
            settings,
            recognition.in_flight,
            readers=readers,
            memory=MemoryBudget(BODIES_BYTES_MAX),
            sock=run.grpc if run else open_grpc_socket(settings, home, listen),
            tls=run.grpc_tls if run else None,
            is_public=is_public,
        )
        calls.append(server)

    def end() -> None:
        for server in calls:
            server.close()

    works = [follower.run(), shipping.run(), plane.shadows.run(), by_hand.run()]
    http = run.server(config) if run else uvicorn.Server(config)
    if listen == "shared":
        works.append(end_silent(folder, home))
    if run:
        works.append(run.announce())
    try:
        await serve_beside(
            http,
            [run.http] if run else open_sockets(settings, home, listen),
            home,
            works,
            first=first,
            ending=end,
        )
    finally:
        for server in calls:
            await server.drained(DRAIN_S)
        readers.close()
        await shipping.flush()
        with contextlib.suppress(SillError, OSError, TimeoutError):
            async with asyncio.timeout(DELIVER_S):
                await shipping.deliver()


def limits_for(listen: Listen) -> ListenerLimits:
    """How patient the process is with connections: all those of a gateway come from one address, or from none."""
    if listen == "shared":
        return ListenerLimits(leaving_seconds=LEAVING_S)
    limits = ListenerLimits(looks_first=listen != "port")
    return msgspec.structs.replace(limits, idle_per_address_max=limits.connections_max) if listen == "run" else limits


async def first_plan(plane: Plane) -> None:
    """Return when every endpoint is answered: the port is others' too, who answer meanwhile. Waits `FIRST_PLAN_S` at most."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(FIRST_PLAN_S):
            while unready(plane):  # noqa: ASYNC110 -- at most once
                await asyncio.sleep(0.02)


def main() -> int:
    """Serve until told to stop; see `run_process`."""
    parser = argparse.ArgumentParser(prog="python -m sill.api.inference")
    parser.add_argument("--name", default="", help="one of several processes of a home")
    parser.add_argument("--listen", default="port", choices=get_args(Listen))
    given = parser.parse_args()

    def begin(settings: Settings) -> tuple[Path, Callable[[], Work]]:
        name = check_name(given.name, "name") if given.name else ""
        return settings.home / "inference" / name, partial(serve, settings, name, given.listen)

    return run_process("sill inference", begin)


if __name__ == "__main__":
    raise SystemExit(main())
