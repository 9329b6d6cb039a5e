"""One call on a connection: puts its messages together, holds back answers that do not fit the client's window."""

import asyncio
from collections import deque
from typing import Any, Protocol

from sill.core.errors import SillError
from sill.protocols.grpc.frames import Code, StreamFault
from sill.protocols.grpc.heads import Head
from sill.protocols.grpc.limits import GrpcLimits
from sill.protocols.grpc.packing import PACKED_BYTES_MIN, pack, too_large, unpack
from sill.protocols.grpc.port import House
from sill.protocols.grpc.status import CallError, Status, call_error
from sill.safety.limits import Reservation

PREFIX_BYTES = 5
"""In front of each message: whether it is packed, and its length in four bytes."""

Piece = bytes | memoryview
"""Of what waits to be sent."""


class Wire(Protocol):
    """The connection, as a stream sees it."""

    house: House
    limits: GrpcLimits
    window_out_initial: int

    def give_window(self, stream_id: int, more: int) -> None:
        """So many more bytes may be sent to us."""
        ...

    def send_answer(self, stream: "Stream", message: bytes, *, is_packed: bool = False) -> None:
        """The one answer of a unary call, and its end."""
        ...

    def send_message(self, stream: "Stream", message: bytes) -> None:
        """One answer of a streaming call."""
        ...

    def send_end(self, stream: "Stream", status: Status, message: str) -> None:
        """The end of a call."""
        ...


class Stream:
    """A `port.Call`.

    Attributes:
        window_in: what the client may send still; window_out: what we may.
        began_tick: when it began, by the server's clock of ticks.
        waiting: pieces of frames that are not sent yet, with their ends of stream.
    """

    __slots__ = (
        "_buffer",
        "_buffered",
        "_connection",
        "_memory",
        "_needed",
        "_owed",
        "_pending",
        "_pending_bytes",
        "_room",
        "began_tick",
        "has_answer",
        "has_ended",
        "head",
        "id",
        "is_over",
        "messages",
        "received",
        "state",
        "waiting",
        "window_in",
        "window_out",
    )

    def __init__(self, connection: Wire, stream_id: int, head: Head) -> None:
        self._connection = connection
        self.id = stream_id
        self.head = head
        self.state: Any = None
        self.is_over = False
        self.has_ended = False
        self.has_answer = False
        self.window_in: int = connection.limits.stream_window_bytes
        self.window_out: int = connection.window_out_initial
        self.began_tick: int = connection.house.tick
        self.messages = 0
        self.waiting: deque[tuple[Piece, bool]] | None = None
        self._buffer: list[bytes] = []
        self._buffered = 0
        self._needed = 0
        self._owed = 0
        self._pending = 0
        self._pending_bytes = 0
        self.received = 0
        self._memory: Reservation | None = None
        self._room: asyncio.Future[None] | None = None

    # What comes in.

    def receive(self, content: bytes, counted: int, *, is_last: bool) -> None:
        """A DATA frame's content; `counted` bytes of window it took.

        Raises:
            StreamFault: more than the window, or another length than content-length said.
        """
        self.window_in -= counted
        if self.window_in < 0:
            raise StreamFault(self.id, Code.FLOW_CONTROL_ERROR)
        if self.received == 0:
            self.head.method.admit(self.head)  # refused before its body is kept
        self.received += len(content)
        length = self.head.length
        if length >= 0 and (self.received > length or (is_last and self.received != length)):
            raise StreamFault(self.id, Code.PROTOCOL_ERROR)
        self._owed += counted
        if content:
            self._keep(content)
        while not self.is_over and self._buffered >= max(self._needed, PREFIX_BYTES):
            self._take_message()
        if is_last and not self.is_over:
            self.ended()
        elif not self.is_over:
            self._give_window()

    def ended(self) -> None:
        """The client sends no more."""
        self.has_ended = True
        self._owed = 0
        if self._buffered:
            raise CallError(Status.INTERNAL, "the call ends within a message.")
        if self.head.method.is_streaming:
            self.head.method.half_closed(self)
        elif self.messages == 0:
            raise CallError(Status.INTERNAL, "a unary call holds one message, and none came.")
        else:
            content, self._buffer = self._buffer[0], []
            self.head.method.message(self, content)

    def is_slow(self, seconds: float) -> bool:
        """Whether its body should have come by now."""
        limits = self._connection.limits
        if self.has_ended or (self.head.method.is_streaming and not self._buffered):
            return False
        patience_s = limits.body_grace_seconds + self.received / limits.body_bytes_per_s_min
        return seconds > patience_s

    def taken(self, size_bytes: int) -> None:
        """See `port.Call`."""
        self._pending -= 1
        self._pending_bytes -= size_bytes
        if self._memory is not None:
            self._memory.shrink(size_bytes)
        if not self.is_over and not self.has_ended:
            self._give_window()

    # What goes out.

    def reply(self, message: bytes) -> None:
        """See `port.Call`."""
        if self.is_over:
            return
        coding = self.head.coding
        is_packed = coding != "identity" and len(message) >= PACKED_BYTES_MIN
        self._connection.send_answer(self, pack(message, coding) if is_packed else message, is_packed=is_packed)

    def send(self, message: bytes) -> None:
        """See `port.Call`."""
        if not self.is_over:
            self._connection.send_message(self, message)

    def end(self, status: Status = Status.OK, message: str = "") -> None:
        """See `port.Call`."""
        if not self.is_over:
            self._connection.send_end(self, status, message)

    async def room(self) -> None:
        """See `port.Call`."""
        while self.waiting and not self.is_over:
            self._room = asyncio.get_running_loop().create_future()
            await self._room

    def tell_room(self) -> None:
        """Nothing waits any more."""
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    def fail(self, error: CallError | SillError) -> None:
        """End with an error."""
        told = call_error(error) if isinstance(error, SillError) else error
        self.end(told.status, told.message)

    def free(self) -> None:
        """Let go of what it holds."""
        self.is_over = True
        self._buffer = []
        self._buffered = 0
        if self._memory is not None:
            self._memory.release()
            self._memory = None
        self.tell_room()

    def _keep(self, content: bytes) -> None:
        budget = self._connection.house.memory
        if budget is not None:
            if self._memory is None:
                self._memory = budget.reserve()
            self._memory.grow(len(content))
        if self.messages and not self.head.method.is_streaming:
            raise CallError(Status.INTERNAL, "a unary call holds one message, and more came.")
        self._buffer.append(content)
        self._buffered += len(content)
        if not self._needed and self._buffered >= PREFIX_BYTES:
            self._read_prefix()

    def _read_prefix(self) -> None:
        if len(self._buffer[0]) < PREFIX_BYTES:
            self._buffer = [b"".join(self._buffer)]
        first = self._buffer[0]
        length = int.from_bytes(first[1:PREFIX_BYTES], "big")
        if first[0] > 1:
            raise CallError(Status.INTERNAL, "a message begins with neither 0 nor 1.")
        if length > self._connection.limits.message_bytes_max:
            raise too_large(self._connection.limits.message_bytes_max)
        self._needed = PREFIX_BYTES + length

    def _take_message(self) -> None:
        """The first message that is there in full, out of the buffer."""
        whole = self._buffer[0] if len(self._buffer) == 1 else b"".join(self._buffer)
        is_packed = whole[0] == 1
        size = self._needed
        content, rest = whole[PREFIX_BYTES:size], whole[size:]
        self._buffer, self._buffered, self._needed = ([rest] if rest else []), len(rest), 0
        if is_packed:
            content = unpack(content, self.head.coding, self._connection.limits)
        if self._memory is not None:  # what is held now: the message as it was unpacked, and what is behind it
            self._memory.grow(len(content))
            self._memory.shrink(size)
        self.messages += 1
        if not self.head.method.is_streaming:
            if rest:
                raise CallError(Status.INTERNAL, "a unary call holds one message, and more came.")
            self._buffer = [content]  # until the client says that it is the last
            return
        if self._buffered >= PREFIX_BYTES:
            self._read_prefix()
        self._pending += 1
        self._pending_bytes += len(content)
        self.head.method.message(self, content)

    def _give_window(self) -> None:
        """Give back what was used, in large steps; nothing while too many messages wait to be taken up."""
        limits = self._connection.limits
        is_full = self._pending >= limits.messages_waiting_max or self._pending_bytes > limits.stream_window_bytes
        if self._owed * 2 >= limits.stream_window_bytes and not is_full:
            self._connection.give_window(self.id, self._owed)
            self.window_in += self._owed
            self._owed = 0
