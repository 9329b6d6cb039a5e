"""What clients meet: the same strict listener and gate as on both planes, and behind it the router.

A request is taken apart and written anew, so that no two readers of it can disagree on where it ends.
"""

import asyncio
from functools import partial

import msgspec

from sill.api.adding_up import CONTENT_TYPE, COUNTING_S, add_statistics, join_metrics
from sill.api.serving_gate import serving_gate, tenant_of
from sill.core.errors import NotFound, Unauthenticated
from sill.core.settings import Settings
from sill.gateway.heads import Heads, Onward
from sill.gateway.metrics import exposition
from sill.gateway.router import LATE_S, Ask, Router
from sill.gateway.upstream import Replica
from sill.protocols.oip.errors import App, Receive, Scope, Send, Translated
from sill.safety.bodies import Content, Gathered
from sill.safety.listener import HEAD

OWN_FIELDS = frozenset(
    {
        *(b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade"),
        *(b"content-length", b"expect", b"x-sill-idempotent"),
    }
)
"""Not handed on: they are between two ends of one connection, or for the gateway."""
ODD = frozenset({b"expect", b"connection", b"transfer-encoding", b"content-encoding"})
REPOSITORY = "/v2/repository/models/"


class Door:
    """The ASGI app behind the gate."""

    def __init__(self, router: Router) -> None:
        self._router = router
        self.heads: Heads | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        if path == "/v2/health/live":
            ready = any(one.may_serve for one in self._router.replicas)
            await _send_json(send, msgspec.json.encode({"live": True, "ready": ready}))
            return
        body = await _body(receive)
        if body is None:
            return  # the client left
        if path == "/metrics":
            await self._tell_counts(scope, send)
            return
        if path.endswith("/stats") and scope["method"] == "GET":
            await self._tell_statistics(scope, send)
            return
        fields = dict(scope["headers"])
        body_bytes = body.size
        head = head_of(scope, body_bytes)
        content = body.whole(head)
        seconds, is_repeatable = _seconds(fields), _is_repeatable(fields)
        target = path.encode()
        if path.startswith(REPOSITORY) and path.endswith(("/load", "/unload")):
            serving = (one for one in self._router.replicas if one.may_serve)
            answers = await asyncio.gather(*(self._ask_one(one, content) for one in serving))
            answer = max(answers, key=_status, default=b"")
        else:
            answer = await self._ask(content, target, is_repeatable, scope["method"] == "HEAD", seconds)
        await _send_answer(send, answer)
        is_plain = scope["method"] == "POST" and b"content-length" in fields and not ODD & fields.keys()
        if self.heads is not None and HEAD in scope and is_plain and _status(answer) == b"200":
            tenant = tenant_of(scope)
            onward = Onward(head=head, path=target, is_repeatable=is_repeatable, seconds=seconds, tenant=tenant)
            self.heads.learn(scope[HEAD], onward, body_bytes)

    async def _ask(
        self,
        content: Content,
        path: bytes,
        is_repeatable: bool = True,
        has_no_body: bool = False,
        seconds: float = LATE_S,
    ) -> bytes:
        told: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        ask = Ask(
            self._router, content, path, partial(_settle, told), is_repeatable=is_repeatable, has_no_body=has_no_body,
            seconds=seconds,
        )  # fmt: skip
        self._router.send(ask)
        try:
            return await told
        finally:
            self._router.leave(ask)

    async def _ask_one(self, replica: Replica, content: Content) -> bytes:
        """The answer of one replica: what changes a replica is told to each."""
        told: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        ask = Ask(self._router, content, b"", partial(_settle, told), is_repeatable=False)
        ask.attempts = 1
        replica.ask(ask, is_repeatable=False)
        return await told

    async def _tell_counts(self, scope: Scope, send: Send) -> None:
        """The gateway's counts and those of its replicas, to whom they tell them: the gateway knows no tokens."""
        answers = await self._ask_each(scope)
        told = {name: _content(answer).decode() for name, answer in answers.items() if _status(answer) == b"200"}
        if not told and any(_status(answer) == b"401" for answer in answers.values()):
            raise Unauthenticated("the request has no token that may infer.", fix="Send Authorization: Bearer TOKEN.")
        if not told:
            raise NotFound("no replica answers.")
        await _send_json(send, exposition(self._router) + join_metrics(told).encode(), CONTENT_TYPE.encode())

    async def _tell_statistics(self, scope: Scope, send: Send) -> None:
        """The sums of the replicas' statistics; where none has any, what one says of that."""
        answers = (await self._ask_each(scope)).values()
        told = [msgspec.json.decode(_content(answer)) for answer in answers if _status(answer) == b"200"]
        if told:
            await _send_json(send, msgspec.json.encode(add_statistics(told)))
        elif answers:
            await _send_answer(send, next(iter(answers)))
        else:
            raise NotFound("no replica answers.")

    async def _ask_each(self, scope: Scope) -> dict[str, bytes]:
        """What each replica that answers soon answers, by its name; those that get no requests have counted too."""
        kept = [(name, value) for name, value in scope["headers"] if name not in (b"accept", b"accept-encoding")]
        content = head_of({**scope, "headers": kept}, 0)
        asked = {one.name: asyncio.ensure_future(self._ask_one(one, content)) for one in self._router.replicas}
        if asked:
            _, silent = await asyncio.wait(asked.values(), timeout=COUNTING_S)
            for one in silent:
                one.cancel()
        answers = {name: one.result() for name, one in asked.items() if one.done()}
        return {name: answer for name, answer in answers.items() if _status(answer) in (b"200", b"401", b"404")}


def build_app(router: Router, settings: Settings) -> tuple[App, Heads]:
    """The door behind the gate, and the short way past both."""
    door = Door(router)
    gate = serving_gate(door, settings, inflates=False)  # replicas do, by the same rules
    door.heads = Heads(router, gate.in_flight)
    return Translated(gate), door.heads


def head_of(scope: Scope, body_bytes: int) -> bytes:
    """The head as it goes to a replica: checked by the gate, written anew, with one length."""
    target = scope["raw_path"] + (b"?" + scope["query_string"] if scope["query_string"] else b"")
    lines = [scope["method"].encode() + b" " + target + b" HTTP/1.1"]
    lines += [name + b": " + value for name, value in scope["headers"] if name not in OWN_FIELDS]
    if body_bytes or scope["method"] not in ("GET", "HEAD"):
        lines.append(b"content-length: %d" % body_bytes)
    return b"\r\n".join(lines) + b"\r\n\r\n"


def _is_repeatable(fields: dict[bytes, bytes]) -> bool:
    return fields.get(b"x-sill-idempotent", b"").strip().lower() != b"false"


def _seconds(fields: dict[bytes, bytes]) -> float:
    given = fields.get(b"x-sill-timeout-ms", b"")
    return min(int(given) / 1e3 + 1.0, LATE_S) if given.isdigit() and len(given) <= 9 else LATE_S


def _status(answer: bytes) -> bytes:
    return answer[9:12]


def _content(answer: bytes) -> bytes:
    return answer.partition(b"\r\n\r\n")[2]


def _settle(told: "asyncio.Future[bytes]", answer: bytes) -> None:
    if not told.done():
        told.set_result(answer)


async def _body(receive: Receive) -> Gathered | None:
    gathered = Gathered()
    while (message := await receive())["type"] == "http.request":
        gathered.add(message.get("body", b""))
        if not message.get("more_body", False):
            return gathered
    return None


async def _send_answer(send: Send, answer: bytes) -> None:
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *lines = head.split(b"\r\n")
    pairs = [(name.lower(), value.strip()) for name, _, value in (line.partition(b":") for line in lines)]
    kept = [(name, value) for name, value in pairs if name not in (b"connection", b"date")]
    await send({"type": "http.response.start", "status": int(status[9:12]), "headers": kept})
    await send({"type": "http.response.body", "body": body})


async def _send_json(send: Send, body: bytes, kind: bytes = b"application/json") -> None:
    headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
