"""Sets up uvicorn so that slow, greedy and malformed connections end. What requests mean is left to the gate and the app."""

import asyncio
import logging
import select
import ssl
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import uvicorn

from sill.safety.gate import Refusal, Scope
from sill.safety.guarded import Guarded, ListenerLimits
from sill.safety.turns import IdleConnections, Turns


class Known(Protocol):
    """A head that was seen before, word for word, and found good: its requests need not be taken apart again."""

    body_bytes: int
    """How long the body behind it is."""

    def answer(self, body: bytes, reply: Callable[[bytes], object]) -> bool:
        """Take a request and have `reply` called, later, with the whole answer; false if it must go the long way.

        `reply` returns False, and nothing else that is false, when nobody is there any more to take it.
        """
        ...


@runtime_checkable
class TurnsAway(Protocol):
    """An app that can tell by a head alone that it will refuse the request: no task is made for that."""

    def turn_away(self, scope: Scope) -> Refusal | None:
        """See `Gate.turn_away`."""
        ...


Recognise = Callable[[bytes], Known | None]
"""What is known of a head, from its first byte to the empty line."""
NEWCOMERS_A_TURN, AHEAD_A_TURN = 4, 4
"""In one turn of the loop: new connections whose first bytes are read, and requests that came before the answer to the
one before them."""
HEAD = "sill.head"
"""The key of the ASGI scope under which an app finds the head, word for word; absent if it came in pieces."""


def uvicorn_config(
    app: Any,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    fd: int | None = None,
    uds: str | None = None,
    tls_cert: str = "",
    tls_key: str = "",
    tls: ssl.SSLContext | None = None,
    limits: ListenerLimits = ListenerLimits(),  # noqa: B008  # frozen
    lifespan: str = "auto",
    recognise: Recognise | None = None,
) -> uvicorn.Config:
    """A uvicorn configuration with our limits.

    httptools, because h11 takes Content-Length together with chunked. No WebSockets, no trust in forwarded headers,
    no log of its own (the app logs, redacted).

    Args:
        app: the ASGI app, normally a `Gate`; one that `TurnsAway` is asked for that first.
        fd: an already bound and listening socket, instead of host and port.
        uds: path of a Unix socket, instead of host and port.
        tls: instead of certificate and key.
        recognise: asked for each head; what it knows is answered without gate and app.
    """
    logging.getLogger("uvicorn.error").addFilter(_is_worth_a_line)
    return uvicorn.Config(
        app,
        host=host,
        port=port,
        fd=fd,
        uds=uds,
        http=_protocol(app, limits, recognise),
        ws="none",
        lifespan=lifespan,  # type: ignore[arg-type]  # a Literal of uvicorn's own
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=limits.keep_alive_seconds,
        limit_concurrency=limits.connections_max,
        timeout_graceful_shutdown=10,
        ssl_certfile=tls_cert or None,
        ssl_keyfile=tls_key or None,
        ssl_context_factory=None if tls is None else lambda _config, _default: tls,
    )


def _is_worth_a_line(record: logging.LogRecord) -> bool:
    """False for what anybody could fill the log with: the client is told, and nobody else needs to know."""
    return record.msg not in ("Invalid HTTP request received.", "Exceeded concurrency limit.")


class _Recognising(Guarded):
    """The same for connections that send the same head again and again: those requests take a short way.

    A request takes it only if the connection waits for a head, the head is known, and the whole request came in one
    piece; so nothing of it ever reaches the parser. Anything else goes the long way, from its first byte.
    """

    _recognise: Recognise
    _ahead: Turns

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._is_answering = False
        self._line: select.poll | None = None
        self._closes = False
        self._later = b""
        self._answered_s = 0.0
        self._head = b""

    def data_received(self, data: bytes) -> None:
        if self._is_answering:
            self._later += data
            self.transport.pause_reading()
            return
        if self._is_open:
            self._take_up(data)
        else:
            super().data_received(data)

    def _take_up(self, data: bytes) -> None:
        if left := self._answer_known(data):
            super()._take_up(left)

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        if self._head:
            self.scope[HEAD] = self._head  # type: ignore[literal-required]
            self._head = b""

    def shutdown(self) -> None:
        """What is being answered is answered still."""
        if self._is_answering:
            self._closes = True
        else:
            super().shutdown()

    def timeout_keep_alive_handler(self) -> None:
        left_s = self._answered_s + self.timeout_keep_alive - self.loop.time()
        if self._is_answering or left_s > 0:
            self.timeout_keep_alive_task = self.loop.call_later(
                max(left_s, self.timeout_keep_alive), self.timeout_keep_alive_handler
            )
        else:
            super().timeout_keep_alive_handler()

    def _answer_known(self, data: bytes) -> bytes:
        """Start answering the request in `data`, if it is a known one; what is left for the long way."""
        is_waiting = self._head_is_open and not self._silent_bytes and not self.flow.write_paused
        if not is_waiting or (self.cycle is not None and not self.cycle.response_complete):
            return data
        end = data.find(b"\r\n\r\n") + 4
        if end < 4:
            return data
        head = data[:end]
        known = None if self._is_leaving else self._recognise(head)
        if known is None:
            self._head = head
            return data
        stop = end + known.body_bytes
        if len(data) < stop:
            return data
        self._is_answering = True
        if not known.answer(data[end:stop], self._reply):
            self._is_answering = False
            return data
        self._later = data[stop:]
        return b""

    def _reply(self, content: bytes) -> bool:
        """Send an answer; false if nobody is there any more to take it."""
        self._is_answering = False
        self._answered_s = self.loop.time()
        if self.transport.is_closing() or (self._rules.looks_first and self._is_gone()):
            return False
        if self._closes:
            self.transport.write(content.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n", 1))
            self.transport.close()
            return True
        self.transport.write(content)
        if self._later:
            data, self._later = self._later, b""
            self._hold(data)
            if self._ahead.may_go_on(self):
                self.go_on()
        return True

    def _is_gone(self) -> bool:
        """True if the client has hung up, though the loop has not come to it yet."""
        if self._line is None:
            self._line = select.poll()
            self._line.register(self.transport.get_extra_info("socket").fileno(), select.POLLHUP | select.POLLRDHUP)
        return bool(self._line.poll(0))

    def _head_is_late(self) -> None:
        left_s = self._answered_s + self._rules.head_seconds_max - self.loop.time()
        if self._is_answering or left_s > 0:
            self._head_timer = self.loop.call_later(max(left_s, 1.0), self._head_is_late)
        else:
            super()._head_is_late()


def _protocol(app: Any, limits: ListenerLimits, recognise: Recognise | None) -> type[asyncio.Protocol]:
    shared: dict[str, Any] = {
        "_rules": limits,
        "_idle": IdleConnections(limits.idle_per_address_max),
        "_newcomers": Turns(NEWCOMERS_A_TURN),
        "_turn_away": staticmethod(app.turn_away) if isinstance(app, TurnsAway) else None,
    }
    if recognise is None:
        return type("Guarded", (Guarded,), shared)
    return type(
        "Recognising", (_Recognising,), shared | {"_recognise": staticmethod(recognise), "_ahead": Turns(AHEAD_A_TURN)}
    )
