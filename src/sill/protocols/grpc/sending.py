"""The sending half of a connection: answers as frames, within the client's windows. What does not fit waits, bounded."""

from collections import deque
from struct import Struct
from typing import Any

from sill.core.errors import SillError
from sill.protocols.grpc.assembling import PREFIX_BYTES
from sill.protocols.grpc.frames import (
    DATA,
    ENABLE_PUSH,
    END_HEADERS,
    END_STREAM,
    FRAME_BYTES_LIMIT,
    FRAME_BYTES_MAX,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    MAX_FRAME_SIZE,
    WINDOW_DEFAULT,
    WINDOW_MAX,
    Code,
    ConnectionFault,
    StreamFault,
    frame,
    goaway,
    read_settings,
    window_update,
)
from sill.protocols.grpc.hpack import Header, encode
from sill.protocols.grpc.meter import Meter
from sill.protocols.grpc.packing import too_large
from sill.protocols.grpc.port import House
from sill.protocols.grpc.status import Status, percent_encoded
from sill.protocols.grpc.stream import Piece, Stream
from sill.safety.limits import Reservation

SMALL_BYTES = 256
"""A frame that a client's window cut shorter than this is noise of its making."""
_TYPE = (b"content-type", b"application/grpc")
_ACCEPTS = (b"grpc-accept-encoding", b"identity, deflate, gzip")
_OPENING = encode([(b":status", b"200"), _TYPE, _ACCEPTS])
_OPENINGS = {
    coding: encode([(b":status", b"200"), _TYPE, (b"grpc-encoding", coding.encode()), _ACCEPTS])
    for coding in ("gzip", "deflate")
}
_CLOSING = encode([(b"grpc-status", b"0")])
_BEGIN = Struct(f">HBBBL{len(_OPENING)}sHBBBLBL")
_END = Struct(f">HBBBL{len(_CLOSING)}s")
_FRAME = Struct(">HBBBLBL")


class Sending:
    """Windows are the client's: what we may send. A client that does not read from its socket has none.

    Attributes:
        window_out: of the connection; window_out_initial: of a stream that begins.
        last_allowed_id: streams beyond it are refused, because we said that we go.
        is_stuffed: the socket takes no more for now.
    """

    def __init__(self, house: House) -> None:
        self.house = house
        self.limits = house.limits
        self.meter = Meter(self.limits, house.tick)
        self.transport: Any = None
        self.streams: dict[int, Stream] = {}
        self.is_ended = self.is_stuffed = False
        self.window_out = WINDOW_DEFAULT
        self.window_out_initial = WINDOW_DEFAULT
        self.last_stream_id = 0
        self.last_allowed_id = WINDOW_MAX
        self.idle_tick = 0
        self._frame_max = FRAME_BYTES_MAX
        self._blocked: dict[int, Stream] = {}
        self._blocked_bytes = 0
        self._memory: Reservation | None = None
        """For what is blocked."""
        self._progress_tick = 0

    # Answers.

    def send_answer(self, stream: Stream, message: bytes, *, is_packed: bool = False) -> None:
        """The one answer of a unary call, and its end."""
        size = len(message) + PREFIX_BYTES
        stream_id = stream.id
        fits = size <= self._frame_max and size <= self.window_out and size <= stream.window_out
        if not fits or is_packed or self.is_stuffed or stream.waiting or not stream.has_ended:
            self._send_slowly(stream, message, is_packed=is_packed)
            if not stream.is_over:  # there was room for it to wait
                self.send_end(stream, Status.OK, "")
            return
        self.window_out -= size
        self.transport.write(
            b"".join(
                (
                    _BEGIN.pack(
                        0, len(_OPENING), HEADERS, END_HEADERS, stream_id, _OPENING,
                        size >> 8, size & 0xFF, DATA, 0, stream_id, 0, size - PREFIX_BYTES,
                    ),
                    message,
                    _END.pack(0, len(_CLOSING), HEADERS, END_HEADERS | END_STREAM, stream_id, _CLOSING),
                )
            )
        )  # fmt: skip
        self._finish(stream)

    def send_message(self, stream: Stream, message: bytes) -> None:
        """One answer of a streaming call."""
        self._send_slowly(stream, message)

    def send_end(self, stream: Stream, status: Status, message: str) -> None:
        """The end of a call; with its head, if nothing was answered."""
        fields: list[Header] = []
        if not stream.has_answer:
            fields = [(b":status", b"200"), _TYPE]
            if status is Status.UNIMPLEMENTED:
                fields.append(_ACCEPTS)
        fields.append((b"grpc-status", b"%d" % status))
        if message:
            fields.append((b"grpc-message", percent_encoded(message)))
        self._queue(stream, frame(HEADERS, END_HEADERS | END_STREAM, stream.id, encode(fields)), is_data=False)
        stream.is_over = True
        if not stream.waiting:
            self._finish(stream)

    def send_http(self, stream: Stream, status: int) -> None:
        """The answer to an HTTP request that is no gRPC call."""
        fields = [(b":status", b"%d" % status)] + ([(b"allow", b"POST")] if status == 405 else [])
        self.transport.write(frame(HEADERS, END_HEADERS | END_STREAM, stream.id, encode(fields)))
        self._finish(stream)

    def give_window(self, stream_id: int, more: int) -> None:
        """So many more bytes may be sent to us."""
        self.transport.write(window_update(stream_id, more))

    def go_away(self) -> None:
        """Begin no more calls; hang up when the running ones are answered."""
        if not self.is_ended and self.last_allowed_id == WINDOW_MAX:
            self.last_allowed_id = self.last_stream_id
            self.transport.write(goaway(self.last_stream_id, Code.NO_ERROR, "draining"))
            self._hang_up_if_done()

    def closed_early(self, stream_id: int) -> None:
        """We answered before the client had sent all."""
        raise NotImplementedError

    # The client's windows.

    def take_settings(self, content: bytes) -> None:
        """The client's settings, as far as they concern sending. `flush` sends what they allow."""
        for name, value in read_settings(content):
            if name == INITIAL_WINDOW_SIZE:
                if value > WINDOW_MAX:
                    raise ConnectionFault(Code.FLOW_CONTROL_ERROR, "a window of 2 GiB or more")
                self._move_windows(value - self.window_out_initial)
                self.window_out_initial = value
            elif name == MAX_FRAME_SIZE:
                if not FRAME_BYTES_MAX <= value <= FRAME_BYTES_LIMIT:
                    raise ConnectionFault(Code.PROTOCOL_ERROR, "a frame size out of range")
                self._frame_max = value
            elif name == ENABLE_PUSH and value > 1:
                raise ConnectionFault(Code.PROTOCOL_ERROR, "ENABLE_PUSH is 0 or 1")

    def widen(self, more: int) -> None:
        """WINDOW_UPDATE of the connection."""
        if more == 0:
            raise ConnectionFault(Code.PROTOCOL_ERROR, "a WINDOW_UPDATE of nothing")
        self.window_out += more
        if self.window_out > WINDOW_MAX:
            raise ConnectionFault(Code.FLOW_CONTROL_ERROR, "a window of 2 GiB or more")
        if self._blocked:
            self.flush()

    def widen_stream(self, stream: Stream, more: int) -> None:
        """WINDOW_UPDATE of a stream."""
        if more == 0:
            raise StreamFault(stream.id, Code.PROTOCOL_ERROR)
        stream.window_out += more
        if stream.window_out > WINDOW_MAX:
            raise StreamFault(stream.id, Code.FLOW_CONTROL_ERROR)
        if stream.waiting:
            self.flush()

    def forget_waiting(self, stream: Stream) -> None:
        """What waits for this stream's window is sent no more."""
        if stream.waiting:
            self._let_go(sum(len(content) for content, is_data in stream.waiting if is_data))
            stream.waiting = None
            self._blocked.pop(stream.id, None)
            stream.tell_room()

    def end_stalled(self, tick: int, tick_s: float) -> None:
        """Hang up on a client that does not take its answers."""
        if self._blocked and (tick - self._progress_tick) * tick_s > self.limits.stalled_seconds_max:
            self.is_ended = True
            self.transport.abort()

    def _move_windows(self, by: int) -> None:
        for stream in self.streams.values():
            stream.window_out += by
            if stream.window_out > WINDOW_MAX:
                raise ConnectionFault(Code.FLOW_CONTROL_ERROR, "a window of 2 GiB or more")

    def _send_slowly(self, stream: Stream, message: bytes, *, is_packed: bool = False) -> None:
        """A message in frames, some of which may wait."""
        if self._blocked_bytes + len(message) > self.limits.answer_bytes_waiting_max:
            stream.fail(too_large(self.limits.answer_bytes_waiting_max))
            return
        if not stream.has_answer:
            stream.has_answer = True
            opening = _OPENINGS[stream.head.coding] if is_packed else _OPENING
            self._queue(stream, frame(HEADERS, END_HEADERS, stream.id, opening), is_data=False)
        prefix = bytes((is_packed,)) + len(message).to_bytes(4, "big")
        try:
            self._queue(stream, memoryview(prefix + message), is_data=True)
        except SillError as full:
            self.forget_waiting(stream)
            stream.fail(full)

    def _queue(self, stream: Stream, content: Piece, *, is_data: bool) -> None:
        """Send it, or let it wait behind what waits.

        Raises:
            SillError: there is no room for it to wait.
        """
        if not stream.waiting:
            if not is_data:
                self.transport.write(content)
                return
            content = self._send_data(stream, content)
            if not content:
                return
        if is_data:
            self._hold(len(content))
        if not stream.waiting:
            stream.waiting = deque()
            if not self._blocked:
                self._progress_tick = self.house.tick
            self._blocked[stream.id] = stream
        stream.waiting.append((content, is_data))

    def _send_data(self, stream: Stream, content: Piece) -> Piece:
        """As much of it as the windows allow; the rest is returned."""
        if self.is_stuffed:
            return content
        at, size = 0, len(content)
        pieces: list[bytes] = []
        while at < size:
            room = min(self.window_out, stream.window_out, self._frame_max, size - at)
            if room <= 0:
                break
            pieces.append(frame(DATA, 0, stream.id, content[at : at + room]))
            self.window_out -= room
            stream.window_out -= room
            at += room
        if pieces:
            self._progress_tick = self.house.tick
            self.transport.write(b"".join(pieces))
            if at == size or at >= SMALL_BYTES:
                self.meter.forgive()
        return content[at:]

    def flush(self) -> None:
        """Send what waited, as far as it fits now; each stream in turn."""
        for stream in list(self._blocked.values()):
            while stream.waiting:
                content, is_data = stream.waiting.popleft()
                if is_data:
                    left = self._send_data(stream, content)
                    self._let_go(len(content) - len(left))
                    if left:
                        stream.waiting.appendleft((left, True))
                        break
                else:
                    self.transport.write(content)
            if not stream.waiting:
                del self._blocked[stream.id]
                stream.tell_room()
                if stream.is_over:
                    self._finish(stream)
            elif self.window_out <= 0 or self.is_stuffed:
                break

    def _hold(self, size: int) -> None:
        """Room for so much that waits, out of what all calls share.

        Raises:
            SillError: there is none.
        """
        if self._memory is None and self.house.memory is not None:
            self._memory = self.house.memory.reserve()
        if self._memory is not None:
            self._memory.grow(size)
        self._blocked_bytes += size

    def _let_go(self, size: int) -> None:
        self._blocked_bytes -= size
        if self._memory is not None:
            self._memory.shrink(size)

    def _finish(self, stream: Stream) -> None:
        """All of it is sent."""
        stream.free()
        if self.streams.pop(stream.id, None) is None:
            return
        self.meter.forgive()
        if not stream.has_ended:
            self.closed_early(stream.id)
        if not self.streams:
            self.idle_tick = self.house.tick
            self._hang_up_if_done()

    def _hang_up_if_done(self) -> None:
        if self.last_allowed_id != WINDOW_MAX and not self.streams and not self.is_ended:
            self.is_ended = True
            self.transport.close()
