"""The relay's app: what can wait is journaled and acknowledged, what must be asked is passed on, in that order.

A call that only adds points to a run the server knows is answered as soon as it is in the journal. Every other call that
can wait is journaled too, and then waits for the server's own answer; if the server is away it is answered from what the
relay knows. Calls that cannot wait are passed on once all that was journaled before them has arrived, so that a client
reads what it wrote.
"""

import asyncio
import hmac
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from concurrent.futures import Future
from typing import Any, TypeVar
from urllib.parse import parse_qs

import msgspec

from sill.core.errors import SillError, TooLarge, Unauthenticated, Unavailable
from sill.protocols.mlflow import errors, wire
from sill.protocols.mlflow.experiments import ExperimentAnswer
from sill.protocols.mlflow.logged_models import LoggedModelAnswer
from sill.protocols.mlflow.runs import CreateRun, LogBatch, LogMetric, RunAnswer
from sill.relay.deferrable import Deferrable, Said, bare_path, find
from sill.relay.known import Known, as_wire
from sill.relay.passing import Passage
from sill.sdk.carrying import Answer, Away
from sill.sdk.journal_files import Entry
from sill.sdk.mlflow_batches import METRICS_MAX, lane
from sill.sdk.provisional import OFFLINE
from sill.sdk.sending import Sender

T = TypeVar("T")

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

MESSAGE_BYTES_MAX = 16 * 1024**2
"""A message of JSON; files may be as large as the journal has room for."""
ATTEND_S = 5.0
"""How long a call waits for the server's answer before it is taken as journaled."""
BARRIER_S = 60.0
"""How long a call that reads waits until all that was written before it has arrived."""
RETRY_AFTER_S = 5
WORKSPACE = "X-MLFLOW-WORKSPACE"
OFFLINE_TAG = "sill.relay.offline_id"
"""Which id its client knows a run by that began while the server was away, without the `offline-` in front."""
ARTIFACTS = "/mlflow-artifacts/artifacts/"


class Relay:
    """One relay, as an ASGI app.

    Args:
        secret: what clients must show as their token.
        project: what calls are about that do not say it themselves; the token's own project when empty.
    """

    def __init__(self, sender: Sender, known: Known, passage: Passage, secret: str, project: str = "") -> None:
        self._project = project
        self._sender = sender
        self._known = known
        self._passage = passage
        self._secret = secret.encode()

    async def authenticate(self, scope: Scope) -> None:
        """Refuse a request without the relay's secret.

        Raises:
            Unauthenticated: it is missing or wrong.
        """
        given = Passage.secret_of(scope)
        if not hmac.compare_digest(given, self._secret):
            raise Unauthenticated(
                "this relay does not know the token.", fix="Set MLFLOW_TRACKING_TOKEN to what `sill relay` printed."
            )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path, method = scope["path"], scope["method"]
        bare = bare_path(path)
        found = find(method, bare) if bare else None
        if found is not None:
            await self._defer(*found, scope, receive, send)
        elif method == "PUT" and bare.startswith(ARTIFACTS):
            await self._keep_file(scope, receive, send)
        else:
            await self._ask(bare, scope, receive, send)

    async def _defer(
        self, kind: Deferrable, values: dict[str, str], scope: Scope, receive: Receive, send: Send
    ) -> None:
        body = await _read(receive)
        workspace = _headers(scope, self._project).get(WORKSPACE, "")
        said = Said(message=_decode(body, kind), values=values, given=self._given(kind), workspace=workspace)
        kind.look(self._known, said)
        entry = self._entry(kind, said, scope, body)
        if entry.lane and self._is_trusted(said.run_id):
            self._sender.journal.append(entry)
            kind.note(self._known, said)
            await _answer(send, 200, b"{}")
            return
        answer = await self._attend(self._sender.submit(entry), ATTEND_S)
        if answer is None:
            told = kind.note(self._known, said)
            if kind.body is CreateRun:
                self._tag(said.given, entry)
            await _answer(send, 200, b"{}" if told is None else wire.encode(told))
            return
        if answer.is_success:
            self._learn(kind, said, answer)
        await _answer(send, answer.status, answer.body)

    def _tag(self, given: str, begun: Entry) -> None:
        """Let the run tell by which id its client knows it."""
        body = msgspec.json.encode({"run_id": given, "key": OFFLINE_TAG, "value": given.removeprefix(OFFLINE)})
        path = begun.path.replace("/runs/create", "/runs/set-tag")
        self._sender.journal.append(msgspec.structs.replace(begun, path=path, body=body, makes=""))

    def _given(self, kind: Deferrable) -> str:
        return self._sender.provisional.new() if kind.makes else ""

    def _is_trusted(self, run_id: str) -> bool:
        run = self._known.runs.get(run_id)
        return run is not None and run.is_trusted

    def _entry(self, kind: Deferrable, said: Said, scope: Scope, body: bytes) -> Entry:
        headers = _headers(scope, self._project)
        path = _target(scope)
        is_points = kind.body is LogMetric or (
            isinstance(said.message, LogBatch)
            and not (said.message.params or said.message.tags)
            and 0 < len(said.message.metrics) <= METRICS_MAX
        )
        return Entry(
            method=scope["method"],
            path=path,
            body=body,
            headers=headers,
            lane=lane(said.run_id, path, headers) if is_points else "",
            makes=said.given,
            at_us=time.time_ns() // 1_000,
        )

    async def _attend(self, outcome: "Future[T]", most_s: float) -> T | None:
        """What is waited for, such as the server's answer; None if it is away, or takes too long."""
        try:
            async with asyncio.timeout(most_s):
                return await asyncio.shield(asyncio.wrap_future(outcome))
        except TimeoutError:
            self._sender.give_up_waiting()
            return None

    def _learn(self, kind: Deferrable, said: Said, answer: Answer) -> None:
        """Take what the server did as what is known."""
        run = self._known.runs.get(said.run_id)
        if run is not None:
            run.is_trusted = True
        if kind.makes:
            self._passage.see(self._known, answer.body)
        else:
            kind.note(self._known, said)

    async def _keep_file(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Journal an upload: its bytes first, then the call."""
        attachment = self._sender.journal.attach()
        try:
            async for piece in _pieces(receive):
                attachment.write(piece)
            await asyncio.to_thread(attachment.close)
            entry = Entry(
                method="PUT",
                path=_target(scope),
                headers=_headers(scope, self._project),
                attachment=attachment.name,
                attachment_bytes=attachment.size_bytes,
                at_us=time.time_ns() // 1_000,
            )
            outcome = self._sender.submit(entry)
        except BaseException:
            attachment.discard()
            raise
        size_s = attachment.size_bytes / Passage.BYTES_PER_S_MIN
        answer = await self._attend(outcome, ATTEND_S + size_s)
        await _answer(send, 200 if answer is None else answer.status, b"{}" if answer is None else answer.body)

    async def _ask(self, bare: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a call on, after all that came before it; while the server is away answer from what is known."""
        settled = self._sender.when_settled()
        if settled is not None:
            await self._attend(settled, BARRIER_S)
        if not self._sender.is_away:
            try:
                answer = await self._passage.through(scope, receive, send, _headers(scope, self._project))
                if answer is not None and answer.is_success:
                    self._passage.see(self._known, answer.body)
                return
            except Away:
                if Passage.has_begun(scope):
                    raise Unavailable("the server went away in the middle of its answer.") from None
        told = self._from_known(bare, scope)
        if told is None:
            raise Unavailable(
                f"the server is away ({self._sender.why_away}); this cannot be answered without it. What is logged "
                "meanwhile is kept.",
                fix="Try again when it is back.",
                retry_after_s=RETRY_AFTER_S,
            )
        await _answer(send, 200, wire.encode(told))

    def _from_known(self, bare: str, scope: Scope) -> wire.Wire | None:
        """What the server would answer, as far as it is known; None if it is not.

        Raises:
            SillError: there is no such experiment as far as is known: it can be made.
        """
        if scope["method"] != "GET":
            return None
        query = {name: values[0] for name, values in parse_qs(scope["query_string"].decode("latin-1")).items()}
        known = self._known
        if bare == "/mlflow/runs/get":
            run = known.runs.get(query.get("run_id", "") or query.get("run_uuid", ""))
            return None if run is None else RunAnswer(run=as_wire(run))
        if bare == "/mlflow/experiments/get":
            experiment = known.experiments.get(query.get("experiment_id", ""))
            return None if experiment is None else ExperimentAnswer(experiment=experiment)
        if bare == "/mlflow/experiments/get-by-name":
            experiment = known.experiment_named(query.get("experiment_name", ""))
            if experiment is None:
                raise errors.refusal(
                    errors.RESOURCE_DOES_NOT_EXIST,
                    f"Could not find experiment with name '{query.get('experiment_name', '')}'",
                )
            return ExperimentAnswer(experiment=experiment)
        if bare.startswith("/mlflow/logged-models/"):
            model = known.models.get(bare.rpartition("/")[2])
            return None if model is None else LoggedModelAnswer(model=model)
        return None


def present(_scope: Scope, error: SillError, request_id: str) -> tuple[int, bytes]:
    """Any error in MLflow's form."""
    return errors.answer(error, request_id)


def _decode(body: bytes, kind: Deferrable) -> wire.Wire:
    """The message of a call, refused as the server would.

    Raises:
        SillError: with MLflow's code.
    """
    try:
        return wire.decode(body, kind.body)
    except msgspec.ValidationError as wrong:
        name, value, is_missing = wire.culprit(json.loads(body or b"{}"), wrong)
        if not name:
            raise errors.invalid(f"the body is not a message: {wrong}.{errors.SEE_DOCS}") from wrong
        if is_missing or (value is None and name in kind.required):
            raise errors.missing_value(name) from wrong
        raise errors.invalid_value(name, value) from wrong


async def _pieces(receive: Receive) -> AsyncIterator[bytes]:
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Unavailable("the client left in the middle of its request.")
        if message.get("body"):
            yield message["body"]
        if not message.get("more_body"):
            return


async def _read(receive: Receive) -> bytes:
    pieces: list[bytes] = []
    size = 0
    async for piece in _pieces(receive):
        size += len(piece)
        if size > MESSAGE_BYTES_MAX:
            raise TooLarge(f"the message is larger than {MESSAGE_BYTES_MAX:,} bytes.", fix="Send it in parts.")
        pieces.append(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _headers(scope: Scope, project: str) -> dict[str, str]:
    """The headers that are kept with a call: what its body is, and which project it is about."""
    given = {name: value.decode("latin-1") for name, value in scope["headers"]}
    workspace = given.get(WORKSPACE.lower().encode(), "") or ("" if scope["path"].startswith("/projects/") else project)
    kept = {"Content-Type": given.get(b"content-type", ""), WORKSPACE: workspace}
    return {name: value for name, value in kept.items() if value}


def _target(scope: Scope) -> str:
    """The path as it was sent, with its query."""
    raw: bytes = scope.get("raw_path") or scope["path"].encode()
    query: bytes = scope["query_string"]
    return (raw + (b"?" + query if query else b"")).decode("latin-1")


async def _answer(send: Send, status: int, body: bytes) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
