"""How calls end before their answer, and connections: refused, failed, reset, taken back, hung up."""

import logging
from collections import deque

from sill.core.errors import SillError
from sill.protocols.grpc.frames import Code, goaway, rst_stream
from sill.protocols.grpc.heads import HttpRefusal
from sill.protocols.grpc.port import House
from sill.protocols.grpc.sending import Sending
from sill.protocols.grpc.status import CallError, Status
from sill.protocols.grpc.stream import Stream

RESET_KNOWN_MAX = 256
"""Streams we ended first, for which frames may still be on their way."""

_log = logging.getLogger("sill.grpc")


class Ending(Sending):
    """Whoever waits for a call that ends is told so once.

    Attributes:
        reset_by_us: the streams we ended first, the last ones.
    """

    def __init__(self, house: House) -> None:
        super().__init__(house)
        self.reset_by_us: deque[int] = deque(maxlen=RESET_KNOWN_MAX)

    def refuse(self, stream: Stream, refusal: CallError | HttpRefusal) -> None:
        """Its head was reason enough."""
        if isinstance(refusal, HttpRefusal):
            self.send_http(stream, refusal.status)
        else:
            stream.fail(refusal)

    def fail(self, stream: Stream, raised: Exception) -> None:
        """The edge of a call: whatever happened becomes its status."""
        if not isinstance(raised, CallError | SillError):
            _log.error("%s failed", stream.head.path, exc_info=raised)
            raised = CallError(Status.INTERNAL, "internal: something went wrong inside.")
        self._tell_cancelled(stream)
        stream.fail(raised)

    def reset(self, stream_id: int, code: Code) -> None:
        """End a stream that broke a rule."""
        self.meter.noise()
        self.reset_by_us.append(stream_id)
        self.transport.write(rst_stream(stream_id, code))
        stream = self.streams.pop(stream_id, None)
        if stream is not None:
            self.cancel(stream)

    def cancel(self, stream: Stream) -> None:
        """Nobody waits for it any more."""
        was_over = stream.is_over
        stream.free()
        self.forget_waiting(stream)
        if not was_over:
            self._tell_cancelled(stream)
        self.idle_tick = self.house.tick

    def _tell_cancelled(self, stream: Stream) -> None:
        method = stream.head.method
        if method is not None and stream.state is not None:
            try:
                method.cancelled(stream)
            except Exception:
                _log.exception("taking back %s failed", stream.head.path)

    def closed_early(self, stream_id: int) -> None:
        """We answered before the client had sent all: it may stop."""
        self.reset_by_us.append(stream_id)
        self.transport.write(rst_stream(stream_id, Code.NO_ERROR))

    def end(self, code: Code, why: str = "") -> None:
        """Say why, and hang up."""
        if not self.is_ended:
            self.is_ended = True
            self.transport.write(goaway(self.last_stream_id, code, why))
            self.transport.close()
