"""A replica that is a run of an engine: where it listens, how it says so, and how it goes.

It listens on ports the system chose, at the address from which it reaches the control plane, and takes only gateways the
control plane has named (`safety.peers`). It tells where it is every two seconds. Told to end, it says so first, and goes
on answering until the gateways have heard it; where no gateway has been for long, it ends by itself.
"""

import asyncio
import contextlib
import logging
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from urllib.parse import urlsplit

import msgspec
import uvicorn

from sill.core.errors import SillError, Unavailable
from sill.safety.peers import answering, own_peer, trust
from sill.traffic.control import Control
from sill.traffic.types import ReplicaState

ANNOUNCE_S = 2.0
LEAVING_S = 3.0
"""Gateways ask every second who is there."""
ALONE_S = 600.0
"""A gateway asks several times a second whether a replica lives: without one for so long, there is none."""
PEER_FILE = "peer.pem"

_log = logging.getLogger("sill.inference")


class ReplicaRun:
    """One replica's place and news.

    Args:
        folder: its own.

    Attributes:
        http, grpc: bound sockets.
        http_tls, grpc_tls: what callers must show.
    """

    def __init__(self, folder: Path, control: Control) -> None:
        peer = own_peer(folder / PEER_FILE)
        host = own_address(control.url)
        self._control = control
        self.http, self.grpc = _bound(host), _bound(host)
        self.http_tls, self.grpc_tls = answering(peer, "http/1.1"), answering(peer, "h2")
        self.state = ReplicaState(
            name=f"{os.environ['SILL_RUN_ID']}.{os.environ['SILL_ATTEMPT']}",
            host=host,
            port=self.http.getsockname()[1],
            grpc_port=self.grpc.getsockname()[1],
            certificate=peer.certificate,
        )
        self._trusted: set[str] = set()
        self._server: _Server | None = None

    def server(self, config: uvicorn.Config) -> uvicorn.Server:
        """What answers over HTTP; see `announce` for its end."""
        self._server = _Server(config)
        return self._server

    async def announce(self) -> None:
        """Say where it is, until it is told to end or nobody has come for long; then end the server."""
        loop, server = asyncio.get_running_loop(), self._server
        if server is None:
            raise AssertionError("the server is made first")
        seen_s = loop.time()
        while not server.is_told.is_set() and loop.time() - seen_s < ALONE_S:
            await self._say(self.state)
            seen_s = loop.time() if server.server_state.connections else seen_s
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(ANNOUNCE_S if self._trusted else ANNOUNCE_S / 10):
                    await server.is_told.wait()
        await self._say(msgspec.structs.replace(self.state, is_leaving=True))
        await asyncio.sleep(LEAVING_S if server.server_state.connections else 0.0)
        server.should_exit = True
        await asyncio.Event().wait()  # the server ends this, once all are answered

    async def _say(self, state: ReplicaState) -> None:
        try:
            known = await asyncio.to_thread(self._control.announce, state)
        except SillError as away:
            _log.warning("the control plane was not told of this replica: %s", away)
            return
        for certificate in set(known.certificates) - self._trusted:
            trust(self.http_tls, certificate)
            trust(self.grpc_tls, certificate)
            self._trusted.add(certificate)


class _Server(uvicorn.Server):
    """A server that, told to end, says so and goes on; who listens to `is_told` ends it."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.is_told = asyncio.Event()
        self._call: Callable[..., object] = asyncio.get_running_loop().call_soon_threadsafe

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """See `uvicorn.Server`."""
        if sig == signal.SIGTERM and not self.is_told.is_set():
            self._call(self.is_told.set)
        else:
            super().handle_exit(sig, frame)


def own_address(url: str) -> str:
    """The address of this machine from which it reaches that one: loopback for a control plane on the same machine.

    Raises:
        Unavailable: there is no way there.
    """
    there = urlsplit(url)
    try:
        found = socket.getaddrinfo(there.hostname, there.port or 443, type=socket.SOCK_DGRAM)
        family, kind, protocol, _, address = found[0]
        with socket.socket(family, kind, protocol) as way:
            way.connect(address)  # sends nothing
            return str(way.getsockname()[0])
    except OSError as wrong:
        raise Unavailable(f"there is no way to {url}: {wrong}.", fix="Set SILL_PUBLIC_URL.") from wrong


def _bound(host: str) -> socket.socket:
    made = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # accepted connections inherit it
    made.bind((host, 0))
    return made
