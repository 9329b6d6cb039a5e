"""gRPC through the gateway: each connection's bytes go to one replica, which speaks HTTP/2 with the client itself.

The gateway has the certificate and takes no part in the calls. A client's connection stays with its replica until that
one tells it to go (it drains, or the connection is old: `GrpcLimits.age_seconds_max`); then the client comes again, and
gets the replica that has fewest. Calls that run when a replica dies are UNAVAILABLE; gRPC's clients ask again elsewhere.
"""

import asyncio
import logging
import ssl
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from sill.gateway.address import Address
from sill.gateway.upstream import Replica

CONNECTIONS_MAX = 2_000
PER_ADDRESS_MAX = 512
"""Connections of one client at once."""
CONNECT_S = 1.0
"""How long a replica is waited for while there is another one to try."""
HELD_S = 5.0
"""How long a new connection waits for a replica that takes it."""
PAUSE_S = 0.05
BUFFER_BYTES = 256 * 1024
"""What may wait for the slower side, each way; then the other one is read no more."""

Place = tuple[Replica, Address]
"""A replica, and where it answers gRPC."""

_log = logging.getLogger("sill.gateway")


class GrpcRelay:
    """Listens for gRPC connections.

    Args:
        places: the replicas that may serve, now.
    """

    def __init__(self, places: Callable[[], Sequence[Place]]) -> None:
        self._places = places
        self._server: asyncio.Server | None = None
        self._clients: set[Client] = set()
        self._by_address: Counter[str] = Counter()

    async def listen(self, host: str, port: int, tls: ssl.SSLContext | None = None) -> None:
        """Take connections from now on."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Client(self), host, port, ssl=tls)

    def close(self) -> None:
        """Take no more connections; those there are go on."""
        if self._server is not None:
            self._server.close()

    def end(self) -> None:
        """Hang up on those that are left."""
        for client in list(self._clients):
            client.abort()

    def enter(self, client: "Client") -> bool:
        """Count one; false if there are too many, of all or of its address."""
        if len(self._clients) >= CONNECTIONS_MAX or self._by_address[client.address] >= PER_ADDRESS_MAX:
            return False
        self._clients.add(client)
        self._by_address[client.address] += 1
        return True

    def leave(self, client: "Client") -> None:
        """One less."""
        if client in self._clients:
            self._clients.discard(client)
            self._by_address[client.address] -= 1
            if not self._by_address[client.address]:
                del self._by_address[client.address]

    async def connect(self, client: "Client") -> "Upstream | None":
        """A replica's side for a client: the one with fewest first; None if none takes it within `HELD_S`.

        A replica takes a connection when it says its settings (RFC 9113, 3.4). Before, it may have stopped, or be about to
        die: the system takes connections for it all the same. Nothing was sent to it then.
        """
        loop = asyncio.get_running_loop()
        until_s = loop.time() + HELD_S
        while loop.time() < until_s:
            places = sorted(self._places(), key=lambda place: len(place[0].relayed))
            for replica, address in places:
                made = Upstream(client, replica)
                is_last = replica is places[-1][0]
                try:
                    async with asyncio.timeout(max(CONNECT_S, until_s - loop.time()) if is_last else CONNECT_S):
                        await address.connect(made)
                        await made.has_spoken.wait()
                    if not made.transport.is_closing():
                        return made
                except OSError:  # a timeout is one too
                    pass
                except asyncio.CancelledError:  # the client has left
                    made.drop()
                    raise
                made.drop()
            await asyncio.sleep(PAUSE_S)
        return None


class Half(asyncio.Protocol):
    """One side: what comes in goes out on the other, which is read only as fast as this one takes it."""

    def __init__(self) -> None:
        self.transport: Any = None
        self.other: Half | None = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        transport.set_write_buffer_limits(high=BUFFER_BYTES)

    def data_received(self, data: bytes) -> None:
        if self.other is not None:
            self.other.transport.write(data)

    def pause_writing(self) -> None:
        if self.other is not None:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.other is not None and not self.other.transport.is_closing():
            self.other.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        if self.other is not None:
            self.other.transport.close()  # after what is still on its way to it

    def abort(self) -> None:
        """Hang up at once, on both sides."""
        for half in (self, self.other):
            if half is not None and half.transport is not None:
                half.transport.abort()


class Client(Half):
    """A client's side. Nothing more of it is read before it has a replica."""

    def __init__(self, relay: GrpcRelay) -> None:
        super().__init__()
        self.address = ""
        self._relay = relay
        self._early: list[bytes] = []
        """What came all the same: uvloop begins to read after `connection_made`, whatever that says."""
        self._finding: asyncio.Task[None] | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        peer = transport.get_extra_info("peername")
        self.address = peer[0] if isinstance(peer, tuple) else ""
        if not self._relay.enter(self):
            transport.abort()
            return
        transport.pause_reading()
        self._finding = asyncio.get_running_loop().create_task(self._find())

    def data_received(self, data: bytes) -> None:
        if self.other is None:
            self._early.append(data)
            self.transport.pause_reading()
        else:
            super().data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._relay.leave(self)
        if self._finding is not None:
            self._finding.cancel()
        super().connection_lost(exc)

    async def _find(self) -> None:
        found = await self._relay.connect(self)
        self._finding = None
        if found is None:
            _log.warning("a gRPC connection was refused: no replica takes it")
            self.transport.abort()
            return
        self.other = found
        found.transport.write(b"".join(self._early))
        self._early = []
        self.transport.resume_reading()


class Upstream(Half):
    """A replica's side, counted from when the replica is chosen. It ends with the replica, when that one is forsaken."""

    def __init__(self, client: Client, replica: Replica) -> None:
        super().__init__()
        self.has_spoken = asyncio.Event()
        """Set as well when it has hung up."""
        self._client = client
        self._replica = replica
        replica.relayed.add(self)

    def data_received(self, data: bytes) -> None:
        if self.other is None:
            self.other = self._client
            self.has_spoken.set()
        super().data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.leave()
        self.has_spoken.set()
        super().connection_lost(exc)

    def drop(self) -> None:
        """It is not the one; the client hears nothing of it."""
        self.leave()
        self.other = None
        self.abort()

    def leave(self) -> None:
        """The replica has one less."""
        self._replica.relayed.discard(self)
