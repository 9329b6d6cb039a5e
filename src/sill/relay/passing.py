"""Passes one call through to the server and its answer back, in pieces: nothing of either is held whole."""

import asyncio
import base64
import http.client
import re
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping
from typing import Any

import msgspec

from sill.protocols.mlflow.experiments import WireExperiment
from sill.protocols.mlflow.logged_models import WireLoggedModel
from sill.protocols.mlflow.runs import WireRun
from sill.relay.known import Known
from sill.sdk.carrying import AWAY, Answer, Away, Carrier
from sill.sdk.provisional import Provisional

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

PIECE_BYTES = 256 * 1024
SEEN_BYTES_MAX = 4 * 1024**2
RECEIVE_S = 60.0
_OWN = frozenset(
    (b"host", b"authorization", b"connection", b"content-length", b"transfer-encoding", b"keep-alive", b"te", b"expect")
)
"""Headers between two neighbours, and the client's token for us: they are not passed on."""
_BEGUN = "sill.answer_begun"
_SEEN = re.compile(r"/mlflow/(runs/get|experiments/get|experiments/get-by-name|logged-models/[^/]+)")


class _Seen(msgspec.Struct):
    run: WireRun | None = None
    experiment: WireExperiment | None = None
    model: WireLoggedModel | None = None
    experiment_id: str = ""


class Passage:
    """The way through.

    Args:
        open_carrier: a carrier of its own for each thread.
    """

    BYTES_PER_S_MIN = 1_000_000
    """How slow a server may take an upload before the client is answered from the journal."""

    def __init__(self, open_carrier: Callable[[], Carrier], provisional: Provisional) -> None:
        self._open_carrier = open_carrier
        self._provisional = provisional
        self._own = threading.local()

    async def through(self, scope: Scope, receive: Receive, send: Send, headers: Mapping[str, str]) -> Answer | None:
        """Pass the call on; the answer again if it tells of a run, an experiment or a model.

        Args:
            headers: sent besides the client's own.
        Raises:
            Away: there is no answer.
        """
        loop = asyncio.get_running_loop()
        first = await receive()
        body: bytes | Iterator[bytes] = first.get("body", b"")
        if first.get("more_body"):
            body = _pieces(loop, receive, first.get("body", b""))
        elif isinstance(body, bytes):
            body = self._provisional.resolve(body)
        return await asyncio.to_thread(self._exchange, loop, scope, send, body, headers)

    def _exchange(
        self,
        loop: asyncio.AbstractEventLoop,
        scope: Scope,
        send: Send,
        body: "bytes | Iterator[bytes]",
        more: Mapping[str, str],
    ) -> Answer | None:
        carrier = getattr(self._own, "carrier", None) or self._open_carrier()
        self._own.carrier = carrier
        raw = (scope.get("raw_path") or scope["path"].encode()).decode("latin-1")
        query = scope["query_string"].decode("latin-1")
        target = self._provisional.resolve_text(raw + (f"?{query}" if query else ""))
        answer = carrier.open(scope["method"], target, _headers(scope, more), body)
        if answer.status in AWAY:
            answer.read()
            raise Away(f"it answered {answer.status}")

        def tell(message: Mapping[str, Any]) -> None:
            asyncio.run_coroutine_threadsafe(_send(send, message), loop).result()

        headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in answer.getheaders()]
        kept = [pair for pair in headers if pair[0] not in _HOP]
        if answer.length is not None:
            kept.append((b"content-length", str(answer.length).encode()))
        is_seen = _SEEN.search(raw) is not None and (answer.length or 0) <= SEEN_BYTES_MAX
        scope[_BEGUN] = True
        tell({"type": "http.response.start", "status": answer.status, "headers": kept})
        seen = bytearray()
        try:
            while piece := answer.read(PIECE_BYTES):
                tell({"type": "http.response.body", "body": piece, "more_body": True})
                if is_seen:
                    seen += piece
        except (OSError, http.client.HTTPException) as broken:
            carrier.close()
            raise Away(f"the connection broke: {broken or type(broken).__name__}") from broken
        tell({"type": "http.response.body", "body": b"", "more_body": False})
        return Answer(status=answer.status, body=bytes(seen)) if is_seen else None

    @staticmethod
    def see(known: Known, body: bytes) -> None:
        """Take what an answer tells of a run, an experiment or a logged model."""
        try:
            seen = msgspec.json.decode(body, type=_Seen)
        except msgspec.DecodeError:
            return
        if seen.run is not None:
            known.see_run(seen.run)
        if seen.experiment is not None:
            known.see_experiment(seen.experiment)
        if seen.model is not None:
            known.see_model(seen.model)

    @staticmethod
    def has_begun(scope: Scope) -> bool:
        """True if a part of the answer is on its way already."""
        return bool(scope.get(_BEGUN))

    @staticmethod
    def secret_of(scope: Scope) -> bytes:
        """The token a request shows: as Bearer, or as the password of Basic."""
        given = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
        scheme, _, rest = given.partition(b" ")
        if scheme.lower() == b"basic":
            try:
                return base64.b64decode(rest, validate=True).partition(b":")[2]
            except ValueError:
                return b""
        return rest.strip() if scheme.lower() == b"bearer" else b""


_HOP = frozenset((b"connection", b"transfer-encoding", b"keep-alive", b"content-length", b"date", b"server"))


def _headers(scope: Scope, more: Mapping[str, str]) -> dict[str, str]:
    own = {name.lower().encode() for name in more} | _OWN
    kept = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"] if name not in own}
    return {**kept, **more}


def _pieces(loop: asyncio.AbstractEventLoop, receive: Receive, first: bytes) -> Iterator[bytes]:
    """The rest of a body, asked for piece by piece from another thread."""
    if first:
        yield first
    while True:
        message = asyncio.run_coroutine_threadsafe(_next(receive), loop).result(RECEIVE_S)
        if message.get("body"):
            yield message["body"]
        if not message.get("more_body"):
            return


async def _next(receive: Receive) -> MutableMapping[str, Any]:
    return await receive()


async def _send(send: Send, message: Mapping[str, Any]) -> None:
    await send(dict(message))
