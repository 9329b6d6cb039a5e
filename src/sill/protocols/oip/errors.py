"""Turns error answers of any layer below into the protocol's one form, `{"error": "…"}`. Status and headers stay."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import msgspec

from sill.protocols.oip.types import ProtocolError
from sill.safety.gate import Gate, Refusal

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class _Problem(msgspec.Struct):
    """Our own error form, as far as it is told on."""

    code: str = "internal"
    message: str = "something went wrong inside."
    fix: str = ""


class Translated:
    """The app behind a gate, with every error body rewritten. Our stable code leads the text, for clients to match on.

    Args:
        is_own: true for the paths of another protocol, which tells its errors itself.
    """

    def __init__(self, gate: Gate, is_own: Callable[[str], bool] = lambda path: False) -> None:
        self._gate = gate
        self._is_own = is_own

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        await self._gate(scope, receive, send if self._is_own(scope["path"]) else _Rewriter(send).send)

    def turn_away(self, scope: Scope) -> Refusal | None:
        """See `Gate.turn_away`."""
        refusal = self._gate.turn_away(scope)
        if refusal is None or self._is_own(scope["path"]):
            return refusal
        return refusal._replace(content=error_body(refusal.content))


def error_body(content: bytes) -> bytes:
    """The protocol's error for one of our problem bodies."""
    try:
        problem = msgspec.json.decode(content, type=_Problem)
    except msgspec.DecodeError:
        problem = _Problem()
    text = f"{problem.code}: {problem.message} {problem.fix}".strip()
    return msgspec.json.encode(ProtocolError(error=text))


class _Rewriter:
    """Holds back the start of an error answer until its body is known."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._start: Message | None = None
        self._content = b""

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start" and message["status"] >= 400:
            self._start = message
        elif self._start is None:
            await self._send(message)
        else:
            self._content += message.get("body", b"")
            if not message.get("more_body", False):
                await self._finish(self._start)

    async def _finish(self, start: Message) -> None:
        body = error_body(self._content)
        kept = [pair for pair in start["headers"] if pair[0].lower() not in (b"content-length", b"content-type")]
        kept += [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        self._start = None
        await self._send({**start, "headers": kept})
        await self._send({"type": "http.response.body", "body": body})
