"""Listens for gRPC connections, keeps count of them and of time, and lets them go when the server ends."""

import asyncio
import contextlib
import socket
import ssl
from collections import OrderedDict

from sill.protocols.grpc.connection import Connection
from sill.protocols.grpc.frames import Code
from sill.protocols.grpc.limits import GrpcLimits
from sill.protocols.grpc.port import Service
from sill.safety.limits import MemoryBudget

TICK_S = 0.5
"""How often connections are looked at for what is late."""
BACKLOG = 2_048


class GrpcServer:
    """A `port.House`.

    Args:
        memory: what messages that come in pieces may hold together; None for no bound beside the windows'.
    """

    def __init__(self, service: Service, limits: GrpcLimits, memory: MemoryBudget | None = None) -> None:
        self.service = service
        self.limits = limits
        self.memory = memory
        self.tick = 0
        self._connections: OrderedDict[Connection, None] = OrderedDict()
        self._by_address: dict[str, OrderedDict[Connection, None]] = {}
        self._server: asyncio.Server | None = None
        self._clock: asyncio.Task[None] | None = None
        self._is_empty = asyncio.Event()
        self._is_empty.set()

    async def listen(
        self, host: str, port: int, *, sock: socket.socket | None = None, tls: ssl.SSLContext | None = None
    ) -> None:
        """Take connections from now on."""
        loop = asyncio.get_running_loop()
        if sock is not None and sock.family == socket.AF_UNIX:
            self._server = await loop.create_unix_server(self._connection, sock=sock, backlog=BACKLOG, ssl=tls)
        elif sock is not None:
            self._server = await loop.create_server(self._connection, sock=sock, backlog=BACKLOG, ssl=tls)
        else:
            self._server = await loop.create_server(self._connection, host, port, backlog=BACKLOG, ssl=tls)
        self._clock = loop.create_task(self._look_for_ever())

    @property
    def port(self) -> int:
        """Where it listens."""
        sockets = self._server.sockets if self._server is not None else ()
        return int(sockets[0].getsockname()[1]) if sockets else 0

    @property
    def connections(self) -> int:
        """How many there are."""
        return len(self._connections)

    def close(self) -> None:
        """Take no more connections, begin no more calls; those that run are answered."""
        if self._server is not None:
            self._server.close()
        for connection in list(self._connections):
            connection.go_away()

    async def drained(self, seconds: float) -> None:
        """After `close`: wait until the running calls are answered, at most so long; then hang up."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._is_empty.wait()
        for connection in list(self._connections):
            connection.end(Code.NO_ERROR, "closed")
        if self._clock is not None:
            self._clock.cancel()

    def enter(self, connection: Connection) -> bool:
        """See `port.House`."""
        if len(self._connections) >= self.limits.connections_max:
            return False
        self._connections[connection] = None
        self._is_empty.clear()
        if connection.address:
            of_address = self._by_address.setdefault(connection.address, OrderedDict())
            of_address[connection] = None
            if len(of_address) > self.limits.idle_per_address_max:
                self._let_idle_go(of_address)
        return True

    def leave(self, connection: Connection) -> None:
        """See `port.House`."""
        self._connections.pop(connection, None)
        if not self._connections:
            self._is_empty.set()
        of_address = self._by_address.get(connection.address)
        if of_address is not None:
            of_address.pop(connection, None)
            if not of_address:
                del self._by_address[connection.address]

    def _connection(self) -> Connection:
        return Connection(self)

    def _let_idle_go(self, of_address: "OrderedDict[Connection, None]") -> None:
        """The one that was without a call for longest; one that had a call within two ticks is in use."""
        idle = [one for one in of_address if not one.streams and self.tick - one.idle_tick >= 2]
        if len(idle) > self.limits.idle_per_address_max:
            min(idle, key=lambda one: one.idle_tick).end(Code.NO_ERROR, "too many idle connections")

    async def _look_for_ever(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            self.tick += 1
            for connection in list(self._connections):
                if not connection.is_ended:
                    connection.look(self.tick, TICK_S)
                elif connection.transport.is_closing() and self.tick - connection.since_tick > self._patience_ticks:
                    connection.transport.abort()  # it was told to go, and does not read that

    @property
    def _patience_ticks(self) -> int:
        return int(self.limits.stalled_seconds_max / TICK_S)


def tls_context(cert: str, key: str) -> ssl.SSLContext | None:
    """HTTP/2 over TLS when there is a certificate; None for plain HTTP/2 with prior knowledge."""
    if not cert:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(cert, key or None)
    context.set_alpn_protocols(["h2"])
    return context
