"""One HTTP/1.1 connection whose slow, greedy or malformed requests end: uvicorn's protocol with a clock and counters."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

import msgspec
from httptools import HttpParserError, HttpParserUpgrade
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from sill.core.errors import HeadersTooLarge, InvalidValue, SillError, TooLarge
from sill.safety.gate import CLOSE, SECURITY_HEADERS, Refusal, Scope, problem_body
from sill.safety.gate_body import PIECE_BYTES_EXPECTED
from sill.safety.turns import IdleConnections, Turns

SLICE_BYTES_MIN, SLICE_BYTES_MAX = 128, 4 * 1024
CHUNKS_A_TURN = 32
"""A chunked body is taken in slices, smaller ones where the chunks are tiny, and after so many chunks others have a turn."""
TINY_CHUNK_BYTES, TINY_SLOWED, TINY_PAUSE_S = 64, 1_024, 0.005
"""A body with more chunks than that, most of them smaller, is read slowly."""
LINGER_S, LINGER_BYTES = 5.0, 2 * 1024**2
"""A client that is refused before its body came may still send it: so long, and so much of it, is passed over, for the
answer is lost to whom the system tells first that nobody reads any more."""


class ListenerLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How patient the listener is with one connection.

    Attributes:
        head_seconds_max: from the connection, or the end of the last answer, to the end of the next head.
        head_bytes_max, head_count_max: of one head with its trailers, before the gate even sees it.
        chunks_max: chunks of one body, and one more for each 4 KiB.
        tiny_chunks_max: the same for a body in tiny chunks, which cost as much each: one more for each 64 bytes.
        silent_bytes_max: bytes that are neither head nor body, such as chunk extensions.
        idle_per_address_max: connections of one address that wait for a head; the oldest is closed beyond that.
        keep_alive_seconds: an unused connection is closed after that.
        stalled_seconds_max: a client that reads nothing is cut off after that.
        connections_max: at once; more are answered 503.
        leaving_seconds: when the server is told to end, an unused connection may bring one more request for so long,
            whose answer says that it is the last; 0 to close it at once, though a request may be on its way.
        looks_first: ask the system before each answer of the short way whether the client is there still. A client that
            left while this process stood still is known of only after its request was read.
    """

    head_seconds_max: float = 10.0
    head_bytes_max: int = 64 * 1024
    head_count_max: int = 200
    chunks_max: int = 65_536
    tiny_chunks_max: int = 8_192
    silent_bytes_max: int = 64 * 1024
    idle_per_address_max: int = 64
    keep_alive_seconds: int = 5
    stalled_seconds_max: float = 60.0
    connections_max: int = 2_000
    leaving_seconds: float = 0.0
    looks_first: bool = False


TurnAway = Callable[[Scope], Refusal | None]
"""The answer to a request whose head is reason enough to refuse it; None if the app must see it."""


class Guarded(HttpToolsProtocol):
    """uvicorn's httptools protocol with a clock on the head and counters on what arrives.

    `_rules`, `_idle`, `_newcomers` and `_turn_away` are set on a subclass for each configuration.
    """

    _rules: ListenerLimits
    _idle: IdleConnections
    _newcomers: Turns
    _turn_away: TurnAway | None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._head_timer: asyncio.TimerHandle | None = None
        self._stall_timer: asyncio.TimerHandle | None = None
        self._refusal: SillError | None = None
        self._is_open = False
        """What comes is taken at once: it is not the first that is heard, nothing is held, and no answer was the last."""
        self._lingers_bytes = 0
        self._head_is_open = True
        self._head_bytes = 0
        self._head_count = 0
        self._chunks = 0
        self._body_bytes = 0
        self._silent_bytes = 0
        self._is_leaving = False
        self._is_chunked = False
        self._held = b""
        self._slice_bytes = SLICE_BYTES_MIN

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_head_timer()
        self._stop_stall_timer()
        super().connection_lost(exc)
        if self.cycle is not None:
            self.cycle.transport = self.transport  # nothing here refers to itself then: its memory is free at once

    def data_received(self, data: bytes) -> None:
        if self.parser is None or self.transport.is_closing():
            return  # cut off while more was on its way
        if self._is_open:
            self._take_up(data)
        elif self._lingers_bytes:
            self._pass_over(data)
        elif self._held:
            self._held += data  # its turn comes after what is held
        elif self._newcomers.may_go_on(self):
            self._is_open = True
            self._take_up(data)
        else:
            self._hold(data)

    def _take_up(self, data: bytes) -> None:
        if len(data) > SLICE_BYTES_MIN and self._may_be_chunked(data):
            self._take_in_slices(data)
        else:
            self._take(data)

    def _may_be_chunked(self, data: bytes) -> bool:
        if not self._head_is_open:
            return self._is_chunked
        end = data.find(b"\r\n\r\n")
        return b"chunked" in data[:end].lower() or data.find(b"\r\n\r\n", end + 4) > end >= 0  # more than one head

    def _take_in_slices(self, data: bytes) -> None:
        """A chunked body may be thousands of tiny chunks: only so many in one turn of the loop."""
        before, at = self._chunks, 0
        while at < len(data) and not self._is_refused():
            if self._chunks > before + CHUNKS_A_TURN:
                self._slice_bytes = SLICE_BYTES_MIN
                self._hold(data[at:])
                if self._chunks > TINY_SLOWED + self._body_bytes // TINY_CHUNK_BYTES:
                    self.loop.call_later(TINY_PAUSE_S, self.go_on)
                else:
                    self.loop.call_soon(self.go_on)
                return
            self._take(data[at : at + self._slice_bytes])
            at += self._slice_bytes
        self._slice_bytes = min(2 * self._slice_bytes, SLICE_BYTES_MAX)

    def _hold(self, data: bytes) -> None:
        self._held = data
        self._is_open = False
        self.transport.pause_reading()

    def go_on(self) -> None:
        """Take what was held, in a later turn of the loop."""
        held, self._held = self._held, b""
        if not self._is_refused():
            self._is_open = True
            if not self.flow.read_paused:
                self.transport.resume_reading()
            self._take_up(held)

    def _is_refused(self) -> bool:
        """Nothing more is taken."""
        return bool(self._lingers_bytes) or self.transport.is_closing()

    def _pass_over(self, data: bytes) -> None:
        self._lingers_bytes -= len(data)
        if self._lingers_bytes <= 0:
            self.transport.abort()

    def _take(self, data: bytes) -> None:
        self._silent_bytes += len(data)
        self._feed(data)
        # A head in progress is counted by its bytes: one endless line never becomes a header.
        limit = self._rules.head_bytes_max if self._head_is_open else self._rules.silent_bytes_max
        if self._silent_bytes > limit + len(data) and not self._is_refused():
            self._refuse(
                HeadersTooLarge(f"the head of the request has more than {limit:,} bytes.")
                if self._head_is_open
                else InvalidValue("the body has more framing than content.")
            )
            self.send_400_response("")

    def _feed(self, data: bytes) -> None:
        """As uvicorn does it, but that nothing is logged: anybody could fill the log with it."""
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except HttpParserError:
            self.send_400_response("")
        except HttpParserUpgrade:
            pass  # to nothing that is spoken here; the request itself is answered

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head_bytes = self._head_count = self._chunks = self._body_bytes = 0
        self._is_chunked = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head_count += 1
        self._head_bytes += len(name) + len(value)
        if self._head_count > self._rules.head_count_max or self._head_bytes > self._rules.head_bytes_max:
            # Also for trailers, which uvicorn keeps in the same list. httptools turns this into a parser error.
            self._refuse(HeadersTooLarge("the request has too many headers, or too large ones."))
            raise ValueError("too many headers")
        self._is_chunked = self._is_chunked or name.lower() == b"transfer-encoding"
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._head_is_open = False
        self._silent_bytes = 0
        self._stop_head_timer()
        super().on_headers_complete()
        self.cycle.transport = _Parting(self, self.transport)  # type: ignore[assignment]  # all of one that a cycle uses
        if self._is_leaving:
            self.cycle.keep_alive = False

    def on_chunk_header(self) -> None:
        """Called by httptools for each chunk."""
        self._chunks += 1
        few = self._rules.tiny_chunks_max + self._body_bytes // TINY_CHUNK_BYTES
        if self._chunks > min(few, self._rules.chunks_max + self._body_bytes // PIECE_BYTES_EXPECTED):
            self._refuse(TooLarge(f"the body came in {self._chunks:,} chunks of few bytes.", fix="Send larger chunks."))
            raise ValueError("too many chunks")

    def on_body(self, body: bytes) -> None:
        self._silent_bytes = 0
        self._body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._silent_bytes = 0
        self._head_is_open = True
        super().on_message_complete()

    def on_response_complete(self) -> None:
        if self._lingers_bytes:
            return
        super().on_response_complete()
        # A pipelined request may be under way already; its head was in time.
        if self.cycle.response_complete and not self.transport.is_closing():
            self._await_head()

    def shutdown(self) -> None:
        """Called when the server is told to end."""
        if self._held and (self.cycle is None or self.cycle.response_complete):
            self.loop.call_soon(self.shutdown)  # it has asked; its turn comes
        elif self._rules.leaving_seconds and not self._is_leaving and (not self.cycle or self.cycle.response_complete):
            self._is_leaving = True
            self.loop.call_later(self._rules.leaving_seconds, self.shutdown)
        else:
            super().shutdown()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stall_timer = self.loop.call_later(self._rules.stalled_seconds_max, self.transport.abort)

    def resume_writing(self) -> None:
        self._stop_stall_timer()
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """What uvicorn calls when the parser gave up; answered in our form."""
        is_busy = self.cycle is not None and not self.cycle.response_complete
        if self.pipeline or (is_busy and self.cycle.response_started):
            self.transport.close()  # an answer may be half written; another must not be mixed into it
            return
        if is_busy:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        error = self._refusal or _MALFORMED
        content = problem_body(error, "")
        self.transport.write(STATUS_LINE[error.status] + _written(_LAST, len(content)) + content)
        self.transport.close()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        """A request whose head is refused gets no task, nor does what came behind it."""
        if self._is_refused():
            return
        refusal = None if self._turn_away is None or app is not self.app else self._turn_away(cycle.scope)  # type: ignore[arg-type]  # a TypedDict
        if refusal is None:
            super()._start_asgi_task(cycle, app)
            return
        cycle.response_started = cycle.response_complete = True
        headers = self.server_state.default_headers + refusal.headers
        content = b"" if cycle.scope["method"] == "HEAD" else refusal.content
        self.transport.write(STATUS_LINE[refusal.status] + _written(headers, len(refusal.content)) + content)
        self.part(is_sending=refusal.has_body)

    def part(self, *, is_sending: bool) -> None:
        """The last answer is written.

        Args:
            is_sending: the client has not sent all of its request.
        """
        if not is_sending or self.transport.is_closing() or not self.transport.can_write_eof():
            self.transport.close()
            return
        self.transport.write_eof()
        self._lingers_bytes, self._is_open = LINGER_BYTES, False
        self._stop_head_timer()
        self._head_timer = self.loop.call_later(LINGER_S, self.transport.abort)
        self.flow.resume_reading()

    def _refuse(self, error: SillError) -> None:
        self._refusal = self._refusal or error

    def _await_head(self) -> None:
        self._stop_head_timer()
        self._head_timer = self.loop.call_later(self._rules.head_seconds_max, self._head_is_late)
        if self.client is not None:
            self._idle.add(self.client[0], self)

    def _head_is_late(self) -> None:
        self.transport.close()

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
        if self.client is not None:
            self._idle.discard(self.client[0], self)

    def _stop_stall_timer(self) -> None:
        if self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None


class _Parting:
    """The transport as an app's answer sees it: its end waits for a client that sends a body nobody reads."""

    def __init__(self, line: Guarded, transport: asyncio.Transport) -> None:
        self._line = line
        self.write = transport.write
        self.is_closing = transport.is_closing

    def close(self) -> None:
        """After the last answer."""
        cycle = self._line.cycle
        self._line.part(is_sending=cycle.more_body and not cycle.disconnected)


_MALFORMED = InvalidValue("this is not an HTTP/1.1 request that can be accepted.")
_LAST = [(b"content-type", b"application/json"), CLOSE, *SECURITY_HEADERS]


def _written(headers: Iterable[tuple[bytes, bytes]], content_bytes: int) -> bytes:
    lines = [name + b": " + value for name, value in headers]
    return b"\r\n".join(lines) + b"\r\ncontent-length: %d\r\n\r\n" % content_bytes
