"""One replica and the connections to it: a request goes out in one piece, its answer comes back whole, or not at all."""

import asyncio
import errno
from collections import deque
from typing import Protocol, cast

import httptools

from sill.gateway.address import Address
from sill.gateway.health import Health
from sill.safety.bodies import Content

IDLE_S = 3.0
"""An unused connection is not taken up again after that: the replica closes it after five."""
HEAD_BYTES_MAX = 64 * 1024
ANSWER_BYTES_MAX = 512 * 1024 * 1024
OWN_SHORTAGES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EAGAIN})
"""Why a connection could not be opened, without the replica being to blame for it."""
SHORTAGE_S, PAUSE_S = 1.0, 0.02
"""How long one of those is waited for to end."""
MEAN_WEIGHT = 0.05
"""Weight of the newest answer in the moving mean of latency."""


class Asking(Protocol):
    """Who asked, as far as a connection needs it."""

    has_no_body: bool
    """True if the answer has no body whatever its head says, as for HEAD."""

    @property
    def content(self) -> Content:
        """What goes over the wire, head and body."""
        ...

    def sent(self, connection: "Connection") -> None:
        """It is on its way."""
        ...

    def answered(self, connection: "Connection", status: int, content: bytes) -> None:
        """The whole answer, head and body."""
        ...

    def broken(self, connection: "Connection", why: str, is_stale: bool) -> None:
        """There will be none; stale: the connection was old, and the replica had closed it before it saw the request."""
        ...


class Abortable(Protocol):
    """What can be broken off."""

    def abort(self) -> None:
        """Hang up at once."""
        ...


class Replica:
    """A replica as the router sees it.

    Args:
        name: in metrics and logs.
    """

    def __init__(self, name: str, address: Address) -> None:
        self.name = name
        self.health = Health()
        self.is_draining = False
        self.outstanding = 0
        self.answers = self.failures = self.ejections = 0
        self.latency_s = 0.0
        self._address = address
        self._idle: deque[Connection] = deque()
        self._busy: set[Connection] = set()
        self._opening: set[asyncio.Task[None]] = set()
        self.relayed: set[Abortable] = set()
        """Connections of another protocol to it; see `grpc_relay`."""

    @property
    def may_serve(self) -> bool:
        """True if requests are sent there."""
        return self.health.is_admitted and not self.is_draining

    def ask(self, asking: Asking, is_repeatable: bool = True) -> None:
        """Send a request; `asking` hears of the answer. An old connection is taken only for what may be repeated."""
        self.outstanding += 1
        now_s = asyncio.get_running_loop().time()
        while is_repeatable and self._idle:
            connection = self._idle.pop()
            if not connection.is_closing() and now_s - connection.idle_since_s < IDLE_S:
                self._busy.add(connection)
                connection.ask(asking)
                return
            connection.close()
        task = asyncio.get_running_loop().create_task(self._open_and_ask(asking))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    def forsake(self) -> None:
        """Break all connections: whoever waits for an answer hears that there will be none."""
        for connection in [*self._busy, *self._idle, *self.relayed]:
            connection.abort()

    def close_idle(self) -> None:
        """Close what is not in use and old."""
        now_s = asyncio.get_running_loop().time()
        while self._idle and now_s - self._idle[0].idle_since_s > IDLE_S:
            self._idle.popleft().close()

    def release(self, connection: "Connection", is_reusable: bool) -> None:
        """A connection has its answer, or is gone."""
        if connection in self._busy:
            self._busy.discard(connection)
            self.outstanding -= 1
            if is_reusable:
                self._idle.append(connection)
        elif connection in self._idle:
            self._idle.remove(connection)

    def took(self, seconds: float) -> None:
        """Note how long an answer took."""
        self.latency_s += MEAN_WEIGHT * (seconds - self.latency_s)

    async def _open_and_ask(self, asking: Asking) -> None:
        connection = Connection(self)
        self._busy.add(connection)
        try:
            await self._open(connection)
        except OSError as closed:
            connection.is_unreachable = closed.errno not in OWN_SHORTAGES
            self.release(connection, is_reusable=False)
            asking.broken(connection, f"it cannot be reached: {closed}", is_stale=False)
            return
        connection.ask(asking)

    async def _open(self, connection: "Connection") -> None:
        """Connect; what this side is short of is waited for."""
        loop = asyncio.get_running_loop()
        until_s = loop.time() + SHORTAGE_S
        while True:
            try:
                await self._address.connect(connection)
                return
            except OSError as short:
                if short.errno not in OWN_SHORTAGES or loop.time() >= until_s:
                    raise
            await asyncio.sleep(PAUSE_S)


class Connection(asyncio.Protocol):
    """One connection to a replica; one request at a time."""

    def __init__(self, replica: Replica) -> None:
        self.replica = replica
        self.idle_since_s = self.asked_s = 0.0
        self.is_unreachable = False
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._asking: Asking | None = None
        self._data = bytearray()
        self._end = 0
        self._status = 0
        self._closes = False
        self._chunked: _Chunked | None = None
        self._uses = 0
        self._is_cut = False

    def ask(self, asking: Asking) -> None:
        """Send a request."""
        self._asking = asking
        self._uses += 1
        self.asked_s = self._loop.time()
        if self._transport is None or self.is_closing():
            self._break("its connection is closed")
            self.abort()
            return
        self._transport.write(asking.content)
        asking.sent(self)

    def is_closing(self) -> bool:
        """True if it cannot be used any more."""
        return self._is_cut or self._transport is None or self._transport.is_closing()

    def close(self) -> None:
        """Close it; nobody waits."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Cut it off: the replica hears that nobody waits any more."""
        self._is_cut = True
        if self._transport is not None:
            self._transport.abort()

    def leave(self) -> None:
        """Nobody waits for the answer any more. The replica hears of it; what it has answered before is heard still."""
        self._is_cut = True
        if self._transport is not None and not self._transport.is_closing():
            if self._transport.can_write_eof():
                self._transport.write_eof()
            else:
                self._transport.abort()  # TLS cannot be closed on one side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._break("it closed the connection")

    def data_received(self, data: bytes) -> None:
        if self._asking is None:
            self.abort()  # an answer to nothing
            return
        if self._chunked is not None:
            self._chunked.feed(data)
            self._look_at_chunks()
            return
        self._data += data
        if not self._end and not self._read_head():
            return
        if self._chunked is None and len(self._data) >= self._end:
            if len(self._data) > self._end:
                self.abort()
                return
            self._finish(bytes(self._data))

    def _read_head(self) -> bool:
        """True once the head is here and tells where the answer ends."""
        stop = self._data.find(b"\r\n\r\n")
        if stop < 0:
            if len(self._data) > HEAD_BYTES_MAX:
                self.abort()
            return False
        head = bytes(self._data[: stop + 2]).lower()
        status, length = head[9:12], _field(head, b"content-length")
        if head[:9] != b"http/1.1 " or not status.isdigit() or status < b"200":
            self.abort()
            return False
        self._status = int(status)
        self._closes = _field(head, b"connection") == b"close"
        asking = self._asking
        if asking is not None and (asking.has_no_body or self._status in (204, 304)):
            self._end = stop + 4
        elif _field(head, b"transfer-encoding") is not None:
            self._chunked = _Chunked()
            self._chunked.feed(bytes(self._data))
            self._end = stop + 4
            self._look_at_chunks()
        elif (
            length is None
            or head.count(b"\r\ncontent-length:") > 1
            or not length.isdigit()
            or len(length) > 12
            or int(length) > ANSWER_BYTES_MAX
        ):
            self.abort()
            return False
        else:
            self._end = stop + 4 + int(length)
        return True

    def _look_at_chunks(self) -> None:
        chunked = self._chunked
        if chunked is None:
            return
        if chunked.is_wrong or len(chunked.body) > ANSWER_BYTES_MAX:
            self.abort()
        elif chunked.is_whole:
            self._finish(chunked.whole(bytes(self._data[: self._data.find(b"\r\n\r\n")])))

    def _finish(self, content: bytes) -> None:
        asking, status, closes = self._asking, self._status, self._closes or self._is_cut
        self._asking = self._chunked = None
        self._data = bytearray()
        self._end = 0
        self.idle_since_s = self._loop.time()
        self.replica.release(self, is_reusable=not closes)
        if closes:
            self.close()
        if asking is not None:
            asking.answered(self, status, content)

    def _break(self, why: str) -> None:
        asking, self._asking = self._asking, None
        is_stale = self._uses > 1 and not self._data and self._chunked is None
        self.replica.release(self, is_reusable=False)
        if asking is not None:
            asking.broken(self, why, is_stale)


class _Chunked:
    """Puts together an answer that came in chunks."""

    def __init__(self) -> None:
        self.body = bytearray()
        self.is_whole = self.is_wrong = False
        self._parser = httptools.HttpResponseParser(self)

    def feed(self, data: bytes) -> None:
        """Take what came."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.is_wrong = True

    def on_body(self, body: bytes) -> None:
        """Called by httptools."""
        self.body += body

    def on_message_complete(self) -> None:
        """Called by httptools."""
        self.is_whole = True

    def whole(self, head: bytes) -> bytes:
        """The answer with its length told at the start."""
        kept = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"transfer-encoding:")]
        return b"\r\n".join([*kept, b"content-length: %d\r\n\r\n" % len(self.body)]) + bytes(self.body)


def _field(head: bytes, name: bytes) -> bytes | None:
    """A field's value in a lower-case head; None if it is not there."""
    _, found, rest = head.partition(b"\r\n" + name + b":")
    return rest.partition(b"\r\n")[0].strip() if found else None
