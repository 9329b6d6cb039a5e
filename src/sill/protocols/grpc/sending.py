"""The sending half of a connection: answers as frames, within the client's windows. What does not fit waits, bounded."""

from collections import deque
from struct import Struct
from typing import Any

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
from sill.protocols.grpc.packing import too_large
from sill.protocols.grpc.port import House
from sill.protocols.grpc.status import Status, percent_encoded
from sill.protocols.grpc.stream import PREFIX_BYTES, Stream

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
    """Windows are the client's: what we may send.

    Attributes:
        window_out: of the connection; window_out_initial: of a stream that begins.
        last_allowed_id: streams beyond it are refused, because we said that we go.
    """

    def __init__(self, house: House) -> None:
        self.house = house
        self.limits = house.limits
        self.transport: Any = None
        self.streams: dict[int, Stream] = {}
        self.is_ended = False
        self.window_out = WINDOW_DEFAULT
        self.window_out_initial = WINDOW_DEFAULT
        self.last_stream_id = 0
        self.last_allowed_id = WINDOW_MAX
        self.idle_tick = 0
        self._frame_max = FRAME_BYTES_MAX
        self._blocked: dict[int, Stream] = {}
        self._blocked_bytes = 0
        self._progress_tick = 0

    # Answers.

    def send_answer(self, stream: Stream, message: bytes, *, is_packed: bool = False) -> None:
        """The one answer of a unary call, and its end."""
        size = len(message) + PREFIX_BYTES
        stream_id = stream.id
        fits = size <= self._frame_max and size <= self.window_out and size <= stream.window_out
        if not fits or is_packed or stream.waiting or not stream.has_ended:
            self._send_slowly(stream, message, is_packed=is_packed)
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

    def forgive(self) -> None:
        """A call was answered."""
        raise NotImplementedError

    # The client's windows.

    def take_settings(self, content: bytes) -> None:
        """The client's settings, as far as they concern sending."""
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
        self._flush()

    def widen(self, more: int) -> None:
        """WINDOW_UPDATE of the connection."""
        if more == 0:
            raise ConnectionFault(Code.PROTOCOL_ERROR, "a WINDOW_UPDATE of nothing")
        self.window_out += more
        if self.window_out > WINDOW_MAX:
            raise ConnectionFault(Code.FLOW_CONTROL_ERROR, "a window of 2 GiB or more")
        if self._blocked:
            self._flush()

    def widen_stream(self, stream: Stream, more: int) -> None:
        """WINDOW_UPDATE of a stream."""
        if more == 0:
            raise StreamFault(stream.id, Code.PROTOCOL_ERROR)
        stream.window_out += more
        if stream.window_out > WINDOW_MAX:
            raise StreamFault(stream.id, Code.FLOW_CONTROL_ERROR)
        if stream.waiting:
            self._flush()

    def forget_waiting(self, stream: Stream) -> None:
        """What waits for this stream's window is sent no more."""
        if stream.waiting:
            self._blocked_bytes -= sum(len(content) for content, _ in stream.waiting)
            stream.waiting = None
            self._blocked.pop(stream.id, None)

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
        self._queue(stream, prefix + message, is_data=True)

    def _queue(self, stream: Stream, content: bytes, *, is_data: bool) -> None:
        if not stream.waiting:
            if not is_data:
                self.transport.write(content)
                return
            content = self._send_data(stream, content)
            if not content:
                return
            if stream.waiting is None:
                stream.waiting = deque()
            if not self._blocked:
                self._progress_tick = self.house.tick
            self._blocked[stream.id] = stream
        stream.waiting.append((content, is_data))
        self._blocked_bytes += len(content)

    def _send_data(self, stream: Stream, content: bytes) -> bytes:
        """As much of it as the windows allow; the rest is returned."""
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
        return content[at:]

    def _flush(self) -> None:
        """Send what waited, as far as it fits now; each stream in turn."""
        for stream in list(self._blocked.values()):
            while stream.waiting:
                content, is_data = stream.waiting.popleft()
                self._blocked_bytes -= len(content)
                if not is_data:
                    self.transport.write(content)
                    continue
                left = self._send_data(stream, content)
                if left:
                    stream.waiting.appendleft((left, True))
                    self._blocked_bytes += len(left)
                    break
            if not stream.waiting:
                del self._blocked[stream.id]
                if stream.is_over:
                    self._finish(stream)
            elif self.window_out <= 0:
                break

    def _finish(self, stream: Stream) -> None:
        """All of it is sent."""
        stream.free()
        if self.streams.pop(stream.id, None) is None:
            return
        self.forgive()
        if not stream.has_ended:
            self.closed_early(stream.id)
        if not self.streams:
            self.idle_tick = self.house.tick
            self._hang_up_if_done()

    def _hang_up_if_done(self) -> None:
        if self.last_allowed_id != WINDOW_MAX and not self.streams and not self.is_ended:
            self.is_ended = True
            self.transport.close()
