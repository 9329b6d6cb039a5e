"""The first layer around an app: checks the head, limits the body, and makes every answer safe. Rights are left to others."""

import errno
import logging
import math
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any, NamedTuple

import msgspec

from sill.core.clock import Clock, Ids, SystemClock
from sill.core.errors import Limited, MethodNotAllowed, SillError, Unavailable
from sill.core.names import shorten
from sill.safety.gate_body import Body
from sill.safety.gate_rules import METHODS, GateLimits, Head, check_head
from sill.safety.limits import InFlight, MemoryBudget

__all__ = ["METHODS", "Gate", "GateLimits", "Present", "problem_body"]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Present = Callable[[Scope, SillError, str], tuple[int, bytes] | None]

SECURITY_HEADERS: tuple[tuple[bytes, bytes], ...] = (
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (
        b"content-security-policy",
        b"default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'; "
        b"frame-ancestors 'none'",
    ),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
"""Set on every answer, unless the app set the header itself."""
CLOSE = (b"connection", b"close")

CHECKED = "sill.checked"
"""The key of the ASGI scope under which what is known of a head lies, once it was found good."""
NO_SPACE = (errno.ENOSPC, errno.EDQUOT)

_log = logging.getLogger(__name__)


class Refusal(NamedTuple):
    """The answer to a request that goes no further, and after which the connection ends.

    Attributes:
        has_body: one was announced, and is on its way.
    """

    status: int
    headers: list[tuple[bytes, bytes]]
    content: bytes
    has_body: bool


class Gate:
    """Plain ASGI middleware, the same for the control and the inference plane.

    It refuses what no app should see, puts `request_id` and `actor` into `scope["state"]`, turns a `SillError` into
    problem JSON, and any other exception into a 500 that tells nothing but the request id.

    Args:
        hosts: names this server answers to, with or without port (`localhost`, `127.0.0.1:7455`).
        origins: other sites whose pages may send changes, as `https://host[:port]`.
        authenticate: called with the scope before the body is read; its result is `scope["state"]["actor"]`.
        classify: the `InFlight` class of a request; `interactive` for all if not given.
        body_bytes_max: a limit of its own for a request, such as an upload; `limits.body_bytes_max` if not given.
        memory: what all bodies together may hold.
        tenant: whose a request is, by its head, so that nobody has more than his part; nobody's if not given.
        inflates: False for who hands packed bodies on as they came, to another gate.
        on_refused: told about every refusal, for the audit; must not raise.
        present: status and JSON of an error for a scope (a foreign protocol has a form of its own), or None for ours.
    """

    def __init__(
        self,
        app: App,
        *,
        hosts: frozenset[str],
        origins: frozenset[str] = frozenset(),
        limits: GateLimits = GateLimits(),  # noqa: B008  # frozen
        clock: Clock | None = None,
        authenticate: Callable[[Scope], Awaitable[Any]] | None = None,
        classify: Callable[[Scope], str] | None = None,
        body_bytes_max: Callable[[Scope], int] | None = None,
        memory: MemoryBudget | None = None,
        tenant: Callable[[Scope], str] | None = None,
        inflates: bool = True,
        on_refused: Callable[[Scope, SillError], Awaitable[None]] | None = None,
        present: Present | None = None,
    ) -> None:
        self.in_flight = InFlight(limits.in_flight_max)
        self._app = app
        self._hosts = frozenset(host.lower() for host in hosts)
        self._origins = frozenset(origin.lower().rstrip("/") for origin in origins)
        self._limits = limits
        self._clock = clock or SystemClock()
        self._ids = Ids(self._clock)
        self._authenticate = authenticate
        self._classify = classify
        self._body_bytes_max = body_bytes_max
        self._memory = memory
        self._tenant = tenant
        self._inflates = inflates
        self._on_refused = on_refused
        self._present = present

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._serve(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._serve_websocket(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def turn_away(self, scope: Scope) -> Refusal | None:
        """The answer to a request whose head is reason enough to refuse it; None if the app must see it.

        For a listener, which spares what is refused a task of its own. Whoever is told of refusals is told on the long
        way; a gate with `on_refused` turns nobody away here.
        """
        if self._on_refused is not None:
            return None
        try:
            scope[CHECKED] = self._check(scope)
        except SillError as refused:
            request_id = self._ids.new("req")
            status, content = self._presented(scope, refused, request_id)
            headers = [*_headers_of(refused), CLOSE, *SECURITY_HEADERS, _id_header(request_id)]
            announced = {name for name, _ in scope["headers"]} & _LENGTHS
            return Refusal(status, headers, content, has_body=bool(announced))
        return None

    def _bytes_max(self, scope: Scope) -> int:
        return self._limits.body_bytes_max if self._body_bytes_max is None else self._body_bytes_max(scope)

    def _check(self, scope: Scope) -> Head:
        head = check_head(scope, self._limits, self._hosts, self._origins, self._bytes_max(scope))
        return head if self._inflates else head._replace(coding="")

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = _Answer(send, self._ids.new("req"))
        tenant = self._tenant(scope) if self._tenant is not None else ""
        memory = self._memory.reserve(tenant=tenant) if self._memory is not None else None
        try:
            head = scope.get(CHECKED) or self._check(scope)
            answer.body = Body(receive, head, self._limits, self._bytes_max(scope), self._clock, memory)
            with self.in_flight.enter("interactive" if self._classify is None else self._classify(scope), tenant):
                await self._prepare(scope, answer.request_id, head)
                await self._app(scope, answer.body.receive, answer.send)
            if answer.failure is not None:
                raise answer.failure  # the app did not tell of it
            await answer.finish()
        except Exception as raised:  # the edge: whatever happened inside becomes an answer here
            await self._answer_error(scope, answer, raised)
        finally:
            if memory is not None:
                memory.release()
            if answer.body is not None:
                answer.body.failure = None  # its traceback holds what came of the body, and the body holds it

    async def _serve_websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            head = check_head(scope, self._limits, self._hosts, self._origins)
            await self._prepare(scope, self._ids.new("req"), head)
        except SillError as refused:
            await self._tell(scope, refused)
            await send({"type": "websocket.close", "code": 1008, "reason": refused.code})
            return
        with self.in_flight.enter():
            await self._app(scope, receive, send)

    async def _prepare(self, scope: Scope, request_id: str, head: Head) -> None:
        state = scope.setdefault("state", {})
        state["request_id"] = request_id
        if head.coding:
            # The app sees the inflated body; the old length and coding would lie about it.
            scope["headers"] = [pair for pair in scope["headers"] if pair[0] not in _OF_PACKED_BODY]
        if self._authenticate is not None:
            state["actor"] = await self._authenticate(scope)

    async def _answer_error(self, scope: Scope, answer: "_Answer", raised: Exception) -> None:
        error = answer.failure or _sill_error(raised)
        if answer.is_gone and error is None:
            return  # the client left; frameworks report that by exceptions of their own
        if error is None:
            _log.error("%s %s failed (%s)", *_request_line(scope), answer.request_id, exc_info=raised)
            error = SillError("")
        elif error.code == SillError.code:
            _log.error("%s %s failed (%s): %s", *_request_line(scope), answer.request_id, error)
        await self._tell(scope, error)
        await answer.fail(error, self._presented(scope, error, answer.request_id))

    def _presented(self, scope: Scope, error: SillError, request_id: str) -> tuple[int, bytes]:
        told = self._present(scope, error, request_id) if self._present is not None else None
        return told or (error.status, problem_body(error, request_id))

    async def _tell(self, scope: Scope, error: SillError) -> None:
        if self._on_refused is not None:
            await self._on_refused(scope, error)


def problem_body(error: SillError, request_id: str) -> bytes:
    """The JSON that an error is answered with. An internal error tells its request id and nothing else."""
    problem = error.to_dict()
    if error.code == SillError.code:
        problem = SillError(
            "something went wrong inside.", fix=f"Look for {request_id} in the server's log, or report it."
        ).to_dict()
    return msgspec.json.encode(problem | {"request_id": request_id}, enc_hook=repr)


_LENGTHS = frozenset({b"content-length", b"transfer-encoding"})
_OF_PACKED_BODY = frozenset({b"content-encoding", b"content-length"})
_HELD_BYTES_MAX = 1024**2


class _Answer:
    """What goes back: the app's own answer made safe, or a problem in its place."""

    def __init__(self, send: Send, request_id: str) -> None:
        self.request_id = request_id
        self.body: Body | None = None
        self._send = send
        self._is_started = False
        self._held: list[Message] = []
        self._held_bytes = 0

    @property
    def failure(self) -> SillError | None:
        return self.body.failure if self.body is not None else None

    @property
    def is_gone(self) -> bool:
        return self.body is not None and self.body.is_gone

    async def send(self, message: Message) -> None:
        """The app's `send`."""
        if self.failure is not None and not self._is_started:
            return  # the app answered an error of ours in its own way; ours is sent when it is done
        if message["type"] == "http.response.start" and message["status"] >= 500 and not self._is_started:
            # Starlette answers 500 and then raises what happened; held back until we know which error it was.
            self._held.append(message)
            return
        if self._held:
            self._held.append(message)
            self._held_bytes += len(message.get("body", b""))
            if self._held_bytes > _HELD_BYTES_MAX:
                await self._release()
            return
        await self._pass(message)

    async def finish(self) -> None:
        """The app returned without an exception, and the body was whole."""
        await self._release()

    async def fail(self, error: SillError, presented: tuple[int, bytes]) -> None:
        """Answers with the error; if the answer was begun already, it is left incomplete and the server hangs up."""
        self._held.clear()
        if self._is_started:
            return
        status, content = presented
        headers = _headers_of(error)
        headers.append((b"content-length", str(len(content)).encode()))
        # What follows on the connection may be a body that was never read, or a second, smuggled request.
        if self.body is None or not self.body.is_complete or self.failure is not None:
            headers.append(CLOSE)
        await self._pass({"type": "http.response.start", "status": status, "headers": headers})
        await self._pass({"type": "http.response.body", "body": content})

    async def _release(self) -> None:
        held, self._held = self._held, []
        for message in held:
            await self._pass(message)

    async def _pass(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._is_started = True
            message = {**message, "headers": self._safe_headers(message.get("headers", ()))}
        await self._send(message)

    def _safe_headers(self, headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        kept = [pair for pair in headers if pair[0] != b"x-request-id"]
        names = {name.lower() for name, _ in kept}
        kept += [pair for pair in SECURITY_HEADERS if pair[0] not in names]
        kept.append(_id_header(self.request_id))
        return kept


def _headers_of(error: SillError) -> list[tuple[bytes, bytes]]:
    """What an error says in the head of its answer."""
    headers = [(b"content-type", b"application/json")]
    if isinstance(error, Limited) or "retry_after_s" in error.details:
        headers.append((b"retry-after", str(math.ceil(error.details.get("retry_after_s", 1))).encode()))
    if isinstance(error, MethodNotAllowed):
        headers.append((b"allow", ", ".join(METHODS).encode()))
    return headers


def _id_header(request_id: str) -> tuple[bytes, bytes]:
    return b"x-request-id", request_id.encode()


def _sill_error(raised: BaseException) -> SillError | None:
    """The error of ours in it, also inside the groups that task groups raise."""
    if isinstance(raised, SillError):
        return raised
    if isinstance(raised, BaseExceptionGroup):
        return next(filter(None, map(_sill_error, raised.exceptions)), None)
    if isinstance(raised, OSError) and raised.errno in NO_SPACE:
        return Unavailable("the disk is full; nothing was changed.", fix="Free some space, then try again.")
    return None


def _request_line(scope: Scope) -> tuple[str, str]:
    return scope["method"], shorten(scope["path"], 200)
