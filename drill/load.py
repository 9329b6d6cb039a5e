"""A light load over plain connections that repeat nothing: requests go out when they are due, whoever is late with his answer."""

import asyncio
import time
from collections import deque
from typing import cast

Seen = tuple[float, float, int]
"""When a request was due (s, monotonic), the seconds until its answer was there, its status (0: there came none)."""

TICK_S = 0.002
CONNECTIONS_MAX = 800
ADDRESSES = 20
"""Connections come from 127.0.0.2, .3, … in turn: a server bounds what one address may leave idle."""
IDLE_S = 3.0
"""An unused connection is not taken up again after that: the server closes it after five."""


class Load:
    """Requests of one kind to one port. Use it from one event loop.

    Args:
        content: head and body, as they go over the wire.
        rate_per_s: of requests; 0 for the next one at every answer, over `connections` connections.
        connections: at once at most; what is due while all are in use waits here, and its clock runs.
        counts_own_delay: a request's clock runs from when it was due; False for when this client came to it.
    """

    def __init__(
        self,
        port: int,
        content: bytes,
        rate_per_s: float = 0.0,
        connections: int = CONNECTIONS_MAX,
        *,
        counts_own_delay: bool = True,
    ) -> None:
        self.content = content
        self.seen: list[Seen] = []
        self._port = port
        self._rate_per_s = rate_per_s
        self._connections_max = connections
        self._counts_own_delay = counts_own_delay
        self._opened = self._made = 0
        self._connections: set[_Connection] = set()
        self._idle: deque[_Connection] = deque()
        self._due: deque[float] = deque()
        self._opening: set[asyncio.Task[None]] = set()
        self._is_over = False

    async def connect(self, connections: int) -> None:
        """Open so many connections before the first request is due."""
        for _ in range(connections):
            self._opened += 1
            await self._open()

    async def run(self, seconds: float) -> list[Seen]:
        """Ask for so long, and wait for what is open; what was seen."""
        task = asyncio.create_task(self.run_until_stopped())
        await asyncio.sleep(seconds)
        self.stop()
        await task
        return self.seen

    def stop(self) -> None:
        """Ask nothing more."""
        self._is_over = True

    async def run_until_stopped(self) -> None:
        """Ask until `stop`, then wait for what is open."""
        begun_s, sent = time.monotonic(), 0
        if not self._rate_per_s:
            self._due.extend([begun_s] * self._connections_max)
        while not self._is_over:
            now_s = time.monotonic()
            while self._rate_per_s and (due_s := begun_s + sent / self._rate_per_s) <= now_s:
                self._due.append(due_s if self._counts_own_delay else now_s)
                sent += 1
            self._send_due()
            await asyncio.sleep(TICK_S)
        self._due.clear()
        until_s = time.monotonic() + 30.0
        while any(one.is_busy for one in self._connections) and time.monotonic() < until_s:  # noqa: ASYNC110 -- once
            await asyncio.sleep(TICK_S)
        for one in list(self._connections):
            one.close()

    def _send_due(self) -> None:
        while self._due:
            connection = self._take()
            if connection is not None:
                connection.send(self._due.popleft())
            elif self._opened < self._connections_max and len(self._opening) < len(self._due):
                self._opened += 1
                task = asyncio.create_task(self._open())
                self._opening.add(task)
                task.add_done_callback(self._opening.discard)
            else:
                return

    def _take(self) -> "_Connection | None":
        while self._idle:
            connection = self._idle.popleft()
            if time.monotonic() - connection.idle_since_s < IDLE_S:
                return connection
            connection.close()
        return None

    async def _open(self) -> None:
        self._made += 1
        own = f"127.0.0.{2 + self._made % ADDRESSES}"
        try:
            _, connection = await asyncio.get_running_loop().create_connection(
                lambda: _Connection(self), "127.0.0.1", self._port, local_addr=(own, 0)
            )
        except OSError:
            self._opened -= 1
            if self._due:
                self.seen.append((self._due.popleft(), 0.0, 0))
            return
        self._connections.add(connection)
        self._idle.append(connection)
        self._send_due()

    def answered(self, connection: "_Connection", due_s: float, status: int) -> None:
        """An answer, or the end of a connection that owed one."""
        now_s = time.monotonic()
        self.seen.append((due_s, now_s - due_s, status))
        if status and not connection.is_closing:
            connection.idle_since_s = now_s
            self._idle.append(connection)
        if not self._rate_per_s and not self._is_over:
            self._due.append(now_s)
        if self._due:
            self._send_due()

    def lost(self, connection: "_Connection") -> None:
        """A connection is gone."""
        if connection in self._connections:
            self._connections.discard(connection)
            self._opened -= 1
        if connection in self._idle:
            self._idle.remove(connection)


class _Connection(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._transport: asyncio.Transport | None = None
        self._data = b""
        self._due_s = 0.0
        self.is_busy = self.is_closing = False
        self.idle_since_s = time.monotonic()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass

    def send(self, due_s: float) -> None:
        """Ask."""
        assert self._transport is not None
        self._due_s, self.is_busy = due_s, True
        self._transport.write(self._load.content)

    def data_received(self, data: bytes) -> None:
        self._data = self._data + data if self._data else data
        end = self._data.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self._data[:end].lower()
        length = head.partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0]
        if len(self._data) < end + 4 + int(length):
            return
        status, self._data, self.is_busy = int(head[9:12]), b"", False
        if b"\r\nconnection: close" in head:
            self.close()
        self._load.answered(self, self._due_s, status)

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_closing = True
        self._load.lost(self)
        if self.is_busy:
            self.is_busy = False
            self._load.answered(self, self._due_s, 0)

    def close(self) -> None:
        """Hang up."""
        self.is_closing = True
        if self._transport is not None:
            self._transport.close()


def p99_ms(seen: list[Seen]) -> float:
    """The 99th percentile of the answers' milliseconds; without any it is infinite."""
    took = sorted(one[1] for one in seen)
    return took[int(0.99 * len(took))] * 1e3 if took else float("inf")


def between(seen: list[Seen], from_s: float, to_s: float = float("inf")) -> list[Seen]:
    """What was due in that time."""
    return [one for one in seen if from_s <= one[0] < to_s]
