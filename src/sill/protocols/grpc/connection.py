"""One HTTP/2 connection: reads frames, keeps the rules of RFC 9113, hands calls to the service.

The usual call, a known head and one message in one frame behind it, takes few steps. All else takes more, and whatever
breaks a rule ends its stream or the connection with the code the standard has for it.
"""

import asyncio
import logging
from struct import Struct
from typing import Any

from sill.protocols.grpc.assembling import PREFIX_BYTES
from sill.protocols.grpc.control import PING_BYTES, PRIORITY_BYTES, Controlled
from sill.protocols.grpc.frames import (
    ACK,
    CONTINUATION,
    DATA,
    ENABLE_PUSH,
    END_HEADERS,
    END_STREAM,
    FRAME_BYTES_MAX,
    FRAME_HEAD,
    FRAME_HEAD_BYTES,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    MAX_CONCURRENT_STREAMS,
    MAX_HEADER_LIST_SIZE,
    PING,
    PREFACE,
    PRIORITISED,
    SETTINGS,
    STREAM_MASK,
    WINDOW_DEFAULT,
    Code,
    ConnectionFault,
    StreamFault,
    frame,
    long_at,
    rst_stream,
    settings,
    unpadded,
    window_update,
)
from sill.protocols.grpc.heads import MalformedHead
from sill.protocols.grpc.known_heads import BlockInPieces, KnownHeads
from sill.protocols.grpc.port import House
from sill.protocols.grpc.status import CallError, Status
from sill.protocols.grpc.stream import Stream

_MESSAGE_HEAD = Struct(">BL")
FRAMES_A_TURN = 16
"""Frames of one connection, other than plain calls, that are dealt with before others have a turn: some 0.1 ms."""
NOISY_FRAMES, NOISY_PAUSE_S = 4, 0.003
"""The same for a connection that brings little else, and how long the others then have; what nobody reads holds its
client up."""

_log = logging.getLogger("sill.grpc")


class Connection(Controlled, asyncio.Protocol):
    """The server's end of a connection."""

    def __init__(self, house: House) -> None:
        super().__init__(house)
        self.address = ""
        self._made_tick = house.tick
        self.since_tick = house.tick
        """Of the last frame that came."""
        self.idle_tick = house.tick
        """Since when there is no call."""
        self.last_stream_id = 0
        self._unread = b""
        self._frames_left = FRAMES_A_TURN
        self._is_held = False
        """There is more to be read, in a later turn."""
        self._has_preface = False
        self._heads = KnownHeads(house, self.meter)
        self._block: BlockInPieces | None = None
        """A head that continues."""
        self._window_in = self.limits.connection_window_bytes
        self._owed = 0
        self._skipped_ids = False
        self._stall_timer: asyncio.TimerHandle | None = None

    # asyncio's side.

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        peer = transport.get_extra_info("peername")
        self.address = peer[0] if isinstance(peer, tuple) else ""
        ssl = transport.get_extra_info("ssl_object")
        if (ssl is not None and ssl.selected_alpn_protocol() != "h2") or not self.house.enter(self):
            transport.abort()
            return
        transport.set_write_buffer_limits(high=1024 * 1024)
        values = {
            ENABLE_PUSH: 0,
            MAX_CONCURRENT_STREAMS: self.limits.streams_max,
            INITIAL_WINDOW_SIZE: self.limits.stream_window_bytes,
            MAX_HEADER_LIST_SIZE: self.limits.header_list_bytes_max,
        }
        more = self.limits.connection_window_bytes - WINDOW_DEFAULT
        transport.write(settings(values) + window_update(0, more))

    def connection_lost(self, exc: Exception | None) -> None:
        if self._stall_timer is not None:
            self._stall_timer.cancel()
        self.house.leave(self)
        streams, self.streams = self.streams, {}
        for stream in streams.values():
            self.cancel(stream)

    def pause_writing(self) -> None:
        self.is_stuffed = True
        self.transport.pause_reading()
        loop = asyncio.get_running_loop()
        self._stall_timer = loop.call_later(self.limits.stalled_seconds_max, self.transport.abort)

    def resume_writing(self) -> None:
        if self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None
        self.is_stuffed = False
        if not self._is_held:
            self.transport.resume_reading()
        if not self.is_ended:
            self.flush()

    def data_received(self, data: bytes) -> None:
        if self.is_ended:
            return
        if self._unread:
            data = self._unread + data
        self.since_tick = self.house.tick
        if self._is_held:
            self._unread = data
        else:
            self._take(data)

    def _take(self, data: bytes) -> None:
        """Read what may be read in one turn of the loop."""
        self._frames_left = NOISY_FRAMES if self.meter.is_noisy else FRAMES_A_TURN
        try:
            self._unread = data[self._read(data) :]
        except ConnectionFault as fault:
            self.end(fault.code, fault.why)
            return
        if not self._frames_left and not self.is_ended:
            self._is_held = True
            self.transport.pause_reading()
            loop = asyncio.get_running_loop()
            if self.meter.is_noisy:
                loop.call_later(NOISY_PAUSE_S, self._go_on)
            else:
                loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        self._is_held = False
        if self.is_ended or self.transport.is_closing():
            return
        if not self.is_stuffed:
            self.transport.resume_reading()
        self._take(self._unread)

    # Frames.

    def _read(self, data: bytes) -> int:
        """Deal with the whole frames in `data`; how much of it they were."""
        size, at = len(data), 0
        if not self._has_preface:
            if not PREFACE.startswith(data[: len(PREFACE)]):
                raise ConnectionFault(Code.PROTOCOL_ERROR, "this is not HTTP/2")
            if size < len(PREFACE):
                return 0
            self._has_preface = True
            at = len(PREFACE)
        unpack_from, streams = FRAME_HEAD.unpack_from, self.streams
        while size - at >= FRAME_HEAD_BYTES:
            high, low, kind, flags, stream_id = unpack_from(data, at)
            start = at + FRAME_HEAD_BYTES
            stop: int = start + (high << 8 | low)
            if stop - start > FRAME_BYTES_MAX:
                raise ConnectionFault(Code.FRAME_SIZE_ERROR, "a frame longer than SETTINGS_MAX_FRAME_SIZE")
            if stop > size:
                return start - FRAME_HEAD_BYTES
            at = stop
            if kind == HEADERS and flags == END_HEADERS and self.has_settings and self._block is None:
                self._begin(stream_id & STREAM_MASK, data[start:stop], is_last=False)
            elif kind == DATA and flags == END_STREAM and self._block is None:
                stream = streams.get(stream_id)
                if stream is None or not self._takes_whole(stream, data, start, stop):
                    self._guarded(kind, flags, stream_id & STREAM_MASK, data[start:stop])
            else:
                self._guarded(kind, flags, stream_id & STREAM_MASK, data[start:stop])
            if self.is_ended:
                return size
            if not self._frames_left:
                return at
        return at

    def _takes_whole(self, stream: Stream, data: bytes, start: int, stop: int) -> bool:
        """Answer a unary call whose one message is this frame; false if it is not as simple as that."""
        head = stream.head
        if stop - start < PREFIX_BYTES or stream.received or head.method.is_streaming or head.length >= 0:
            return False
        packed, length = _MESSAGE_HEAD.unpack_from(data, start)
        if packed or length != stop - start - PREFIX_BYTES or stream.has_ended:
            return False
        self._count_window(stop - start)
        stream.has_ended = True
        stream.received = stop - start
        try:
            head.method.message(stream, data[start + PREFIX_BYTES : stop])
        except Exception as raised:
            self.fail(stream, raised)
        return True

    def _guarded(self, kind: int, flags: int, stream_id: int, content: bytes) -> None:
        """Any frame, with what it does to its stream alone."""
        self._frames_left -= 1
        if self._block is not None and (kind != CONTINUATION or stream_id != self._block.stream_id):
            raise ConnectionFault(Code.PROTOCOL_ERROR, "a frame within a head")
        if not self.has_settings and (kind != SETTINGS or flags & ACK):
            raise ConnectionFault(Code.PROTOCOL_ERROR, "the first frame is SETTINGS")
        try:
            if kind == DATA:
                self._data(flags, stream_id, content)
            elif kind == HEADERS:
                self._headers(flags, stream_id, content)
            elif kind == CONTINUATION:
                self._continuation(flags, content)
            else:
                self.control(kind, flags, stream_id, content)
        except StreamFault as fault:
            self.reset(fault.stream_id, fault.code)

    def _data(self, flags: int, stream_id: int, content: bytes) -> None:
        if stream_id == 0:
            raise ConnectionFault(Code.PROTOCOL_ERROR, "DATA belongs to a stream")
        counted = len(content)
        self._count_window(counted)
        content = unpadded(content, flags)
        is_last = bool(flags & END_STREAM)
        if not content and not is_last:
            self.meter.noise()
        stream = self.streams.get(stream_id)
        if stream is None or stream.has_ended:
            self._late(stream_id, stream)
            return
        if stream.is_over:
            return  # answered already; what waits for its window is all that is left of it
        try:
            stream.receive(content, counted, is_last=is_last)
        except StreamFault:
            raise
        except Exception as raised:
            self.fail(stream, raised)

    def _late(self, stream_id: int, stream: Stream | None) -> None:
        """DATA where none may be."""
        if stream_id > self.last_stream_id or not stream_id & 1:
            raise ConnectionFault(Code.PROTOCOL_ERROR, "DATA for a stream that was not opened")
        if stream is None and stream_id in self.reset_by_us:
            return  # it was on its way when we ended the stream
        self.meter.noise()
        raise StreamFault(stream_id, Code.STREAM_CLOSED)

    def _headers(self, flags: int, stream_id: int, content: bytes) -> None:
        content = unpadded(content, flags)
        if flags & PRIORITISED:
            if len(content) < PRIORITY_BYTES:
                raise ConnectionFault(Code.FRAME_SIZE_ERROR, "HEADERS without its priority")
            if long_at(content) == stream_id:
                raise ConnectionFault(Code.PROTOCOL_ERROR, "a stream depends on itself")
            content = content[PRIORITY_BYTES:]
        if flags & END_HEADERS:
            self._begin(stream_id, content, is_last=bool(flags & END_STREAM))
        else:
            self._block = BlockInPieces(stream_id, content, self.house.tick, is_last=bool(flags & END_STREAM))

    def _continuation(self, flags: int, content: bytes) -> None:
        block = self._block
        if block is None:
            raise ConnectionFault(Code.PROTOCOL_ERROR, "CONTINUATION of nothing")
        block.add(content, self.limits)
        if flags & END_HEADERS:
            self._block = None
            self._begin(block.stream_id, b"".join(block.pieces), is_last=block.is_last)

    def _begin(self, stream_id: int, block: bytes, *, is_last: bool) -> None:
        """A whole head: a new call, or the trailers of one."""
        if stream_id <= self.last_stream_id or not stream_id & 1:
            self._trailers(stream_id, block, is_last=is_last)
            return
        if stream_id > self.last_stream_id + 2:
            self._skipped_ids = True
        self.last_stream_id = stream_id
        try:
            head = self._heads.read(block)
        except MalformedHead:
            self.reset(stream_id, Code.PROTOCOL_ERROR)
            return
        if stream_id > self.last_allowed_id:
            self.transport.write(rst_stream(stream_id, Code.REFUSED_STREAM))
            return
        if len(self.streams) >= self.limits.streams_max:
            self.meter.noise()
            self.transport.write(rst_stream(stream_id, Code.REFUSED_STREAM))
            return
        stream = self.streams[stream_id] = Stream(self, stream_id, head)
        if head.refusal is not None:
            stream.has_ended = is_last
            self.refuse(stream, head.refusal)
        elif is_last:
            try:
                stream.ended()
            except Exception as raised:
                self.fail(stream, raised)

    def _trailers(self, stream_id: int, block: bytes, *, is_last: bool) -> None:
        if stream_id == 0 or not stream_id & 1:
            raise ConnectionFault(Code.PROTOCOL_ERROR, "clients open streams with odd numbers")
        stream = self.streams.get(stream_id)
        is_sound = self._heads.read_trailers(block)
        if stream is None:
            if stream_id in self.reset_by_us:
                return
            code = Code.PROTOCOL_ERROR if self._skipped_ids else Code.STREAM_CLOSED
            raise ConnectionFault(code, "HEADERS for a stream that is over")
        if stream.has_ended:
            raise StreamFault(stream_id, Code.STREAM_CLOSED)
        if not is_sound or not is_last:
            raise StreamFault(stream_id, Code.PROTOCOL_ERROR)
        try:
            stream.receive(b"", 0, is_last=True)
        except StreamFault:
            raise
        except Exception as raised:
            self.fail(stream, raised)

    # Windows and time.

    def _count_window(self, size: int) -> None:
        """So much of the connection's window was used. It is given back at once: what is kept is bounded elsewhere."""
        self._window_in -= size
        self._owed += size
        if self._window_in < 0:
            raise ConnectionFault(Code.FLOW_CONTROL_ERROR, "more than the connection's window")
        if self._owed * 2 >= self.limits.connection_window_bytes:
            self.give_window(0, self._owed)
            self._window_in += self._owed
            self._owed = 0

    def look(self, tick: int, tick_s: float) -> None:
        """Called once a tick: what is late, silent or idle for too long ends."""
        limits = self.limits
        self.meter.pass_time(tick, tick_s)
        silent_s = (tick - self.since_tick) * tick_s
        block_s = (tick - self._block.began_tick) * tick_s if self._block is not None else 0.0
        if block_s > limits.head_seconds_max or (not self.has_settings and silent_s > limits.head_seconds_max):
            self.end(Code.SETTINGS_TIMEOUT if not self.has_settings else Code.PROTOCOL_ERROR, "too slow")
        elif self.ping_tick >= 0 and (tick - self.ping_tick) * tick_s > limits.ping_seconds_max:
            self.is_ended = True
            self.transport.abort()
        elif not self.streams and (tick - self.idle_tick) * tick_s > limits.idle_seconds_max:
            self.end(Code.NO_ERROR, "idle")
        elif limits.age_seconds_max and (tick - self._made_tick) * tick_s > limits.age_seconds_max:
            self.go_away()
        elif silent_s > limits.silent_seconds_max and self.ping_tick < 0:
            self.ping_tick = tick
            self.transport.write(frame(PING, 0, 0, bytes(PING_BYTES)))
        if self.streams:
            self.end_stalled(tick, tick_s)
            late = CallError(Status.DEADLINE_EXCEEDED, "the message comes too slowly.")
            for stream in list(self.streams.values()):
                if stream.is_slow((tick - stream.began_tick) * tick_s):
                    self.fail(stream, late)
