"""One call on a connection: puts its messages together, holds back answers that do not fit the client's window."""

import asyncio
from collections import deque
from typing import Any, Protocol

from sill.core.errors import SillError
from sill.protocols.grpc.assembling import Assembly
from sill.protocols.grpc.frames import Code, StreamFault
from sill.protocols.grpc.heads import Head
from sill.protocols.grpc.limits import GrpcLimits
from sill.protocols.grpc.packing import PACKED_BYTES_MIN, UNPACKED_HERE_BYTES, UNPACKER, pack, unpack
from sill.protocols.grpc.port import House
from sill.protocols.grpc.status import CallError, Status, call_error
from sill.safety.bodies import Content
from sill.safety.limits import Reservation

Piece = bytes | memoryview
"""Of what waits to be sent."""


class Wire(Protocol):
    """The connection, as a stream sees it."""

    house: House
    limits: GrpcLimits
    window_out_initial: int

    def fail(self, stream: "Stream", raised: Exception) -> None:
        """Whatever happened becomes the call's status."""
        ...

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
        "_connection",
        "_incoming",
        "_is_packed",
        "_memory",
        "_owed",
        "_pending",
        "_pending_bytes",
        "_room",
        "_whole",
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
        self._incoming: Assembly | None = None
        self._whole: Content | None = None
        self._is_packed = False
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
        self._take_messages()
        if is_last and not self.is_over:
            self.ended()
        elif not self.is_over:
            self._give_window()

    def ended(self) -> None:
        """The client sends no more."""
        self.has_ended = True
        self._owed = 0
        if self._incoming is not None and self._incoming.size:
            raise CallError(Status.INTERNAL, "the call ends within a message.")
        if self.head.method.is_streaming:
            self.head.method.half_closed(self)
            return
        content, self._whole = self._whole, None
        if content is None:
            raise CallError(Status.INTERNAL, "a unary call holds one message, and none came.")
        if self._is_packed:
            self._unpack_elsewhere(content)
        else:
            self.head.method.message(self, content)

    def _unpack_elsewhere(self, content: Content) -> None:
        """Nothing else comes of a unary call: it can wait."""
        loop, limits = asyncio.get_running_loop(), self._connection.limits
        unpacking = loop.run_in_executor(UNPACKER, unpack, content, self.head.coding, limits)
        unpacking.add_done_callback(self._unpacked)

    def _unpacked(self, unpacking: "asyncio.Future[Content]") -> None:
        if self.is_over or unpacking.cancelled():
            return
        try:
            content = unpacking.result()
            if self._memory is not None:
                self._memory.grow(len(content))
            self.head.method.message(self, content)
        except Exception as raised:
            self._connection.fail(self, raised)
        finally:
            del unpacking  # with its error it would hold this frame, and the frame what was unpacked

    def is_slow(self, seconds: float) -> bool:
        """Whether its body should have come by now."""
        limits = self._connection.limits
        is_between = self._incoming is None or not self._incoming.size
        if self.has_ended or (self.head.method.is_streaming and is_between):
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
        self._incoming = self._whole = None
        if self._memory is not None:
            self._memory.release()
            self._memory = None
        self.tell_room()

    def _keep(self, content: bytes) -> None:
        budget = self._connection.house.memory
        if budget is not None:
            if self._memory is None:
                self._memory = budget.reserve(tenant=self.head.tenant)
            self._memory.grow(len(content))
        if self.messages and not self.head.method.is_streaming:
            raise CallError(Status.INTERNAL, "a unary call holds one message, and more came.")
        if self._incoming is None:
            self._incoming = Assembly(self._connection.limits.message_bytes_max)
        self._incoming.add(content)

    def _take_messages(self) -> None:
        """Those that are there in full."""
        incoming = self._incoming
        while incoming is not None and not self.is_over and (taken := incoming.take()) is not None:
            content, size = taken
            if not self.head.method.is_streaming and incoming.size:
                raise CallError(Status.INTERNAL, "a unary call holds one message, and more came.")
            is_later = not self.head.method.is_streaming and len(content) > UNPACKED_HERE_BYTES
            self._is_packed = incoming.is_packed and is_later
            if incoming.is_packed and not is_later:
                content = unpack(content, self.head.coding, self._connection.limits)
            self._take(content, size)
            incoming.go_on()

    def _take(self, content: Content, size: int) -> None:
        if self._memory is not None:  # what is held now: the message as it was unpacked, and what is behind it
            self._memory.grow(len(content))
            self._memory.shrink(size)
        self.messages += 1
        if not self.head.method.is_streaming:
            self._whole = content  # until the client says that it is the last
            return
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
