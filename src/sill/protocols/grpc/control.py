"""Frames of a connection that carry no call: settings, pings, windows, and calls that are taken back."""

from sill.protocols.grpc.ending import Ending
from sill.protocols.grpc.frames import (
    ACK,
    GOAWAY,
    PING,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    Code,
    ConnectionFault,
    StreamFault,
    frame,
    long_at,
)
from sill.protocols.grpc.port import House

PING_BYTES = 8
PRIORITY_BYTES = 5


class Controlled(Ending):
    """Windows and settings are the client's; `Sending` keeps to them.

    Attributes:
        has_settings: whether the client's first ones came.
        ping_tick: when we asked for a sign; -1 while none is waited for.
    """

    def __init__(self, house: House) -> None:
        super().__init__(house)
        self.has_settings = False
        self.ping_tick = -1

    def control(self, kind: int, flags: int, stream_id: int, content: bytes) -> None:
        """Deal with one.

        Raises:
            ConnectionFault, StreamFault: it breaks a rule, or there are too many.
        """
        self.meter.noise()
        if kind == SETTINGS:
            self._settings(flags, stream_id, content)
        elif kind == PING:
            self._ping(flags, stream_id, content)
        elif kind == WINDOW_UPDATE:
            self._window_update(stream_id, content)
        elif kind == RST_STREAM:
            self._rst_stream(stream_id, content)
        elif kind == PRIORITY:
            check_priority(stream_id, content)
        elif kind == GOAWAY:
            if stream_id or len(content) < 8:
                raise ConnectionFault(Code.PROTOCOL_ERROR, "a malformed GOAWAY")
            self.go_away()
        elif kind == PUSH_PROMISE:  # kinds that are not known are passed over
            raise ConnectionFault(Code.PROTOCOL_ERROR, "clients do not push")

    def _settings(self, flags: int, stream_id: int, content: bytes) -> None:
        if stream_id:
            raise ConnectionFault(Code.PROTOCOL_ERROR, "SETTINGS belong to the connection")
        if flags & ACK:
            if content:
                raise ConnectionFault(Code.FRAME_SIZE_ERROR, "an acknowledgement with content")
            return
        if len(content) % 6:
            raise ConnectionFault(Code.FRAME_SIZE_ERROR, "SETTINGS of a broken length")
        self.has_settings = True
        self.take_settings(content)
        # Before anything is sent that only the new windows allow: the client counts by them from this on.
        self.transport.write(frame(SETTINGS, ACK, 0))
        self.flush()

    def _ping(self, flags: int, stream_id: int, content: bytes) -> None:
        if stream_id:
            raise ConnectionFault(Code.PROTOCOL_ERROR, "PING belongs to the connection")
        if len(content) != PING_BYTES:
            raise ConnectionFault(Code.FRAME_SIZE_ERROR, "a PING of a wrong length")
        if flags & ACK:
            self.ping_tick = -1
        else:
            self.transport.write(frame(PING, ACK, 0, content))

    def _window_update(self, stream_id: int, content: bytes) -> None:
        if len(content) != 4:
            raise ConnectionFault(Code.FRAME_SIZE_ERROR, "a WINDOW_UPDATE of a wrong length")
        more = long_at(content)
        if stream_id == 0:
            self.widen(more)
            return
        stream = self.streams.get(stream_id)
        if stream is not None:
            self.widen_stream(stream, more)
        elif stream_id > self.last_stream_id or not stream_id & 1:
            raise ConnectionFault(Code.PROTOCOL_ERROR, "WINDOW_UPDATE for a stream that was not opened")

    def _rst_stream(self, stream_id: int, content: bytes) -> None:
        if len(content) != 4:
            raise ConnectionFault(Code.FRAME_SIZE_ERROR, "an RST_STREAM of a wrong length")
        if stream_id == 0 or stream_id > self.last_stream_id or not stream_id & 1:
            raise ConnectionFault(Code.PROTOCOL_ERROR, "RST_STREAM for a stream that was not opened")
        stream = self.streams.pop(stream_id, None)
        if stream is None:
            return
        self.cancel(stream)
        self.meter.reset()


def check_priority(stream_id: int, content: bytes) -> None:
    """Priorities are read and passed over.

    Raises:
        ConnectionFault, StreamFault: it is none.
    """
    if stream_id == 0:
        raise ConnectionFault(Code.PROTOCOL_ERROR, "PRIORITY belongs to a stream")
    if len(content) != PRIORITY_BYTES:
        raise StreamFault(stream_id, Code.FRAME_SIZE_ERROR)
    if long_at(content) == stream_id:
        raise StreamFault(stream_id, Code.PROTOCOL_ERROR)
