"""The inference plane's HTTP door: paths and headers to the plane, the plane's answers to bytes."""

from sill.api.counting import Counting
from sill.api.describing import (
    main_model,
    model_config,
    model_metadata,
    repository_index,
    server_metadata,
    unready,
)
from sill.api.generating import Generating
from sill.api.inference_heads import (
    Headers,
    check_json,
    coding_of,
    header_bytes,
    project_of,
    read_body,
    secret,
    send_bytes,
    send_packed,
    send_value,
    wishes_of,
)
from sill.api.long_reading import Readers, Wish
from sill.api.recognition import Recognition
from sill.api.scoring import Scoring, is_scoring, present_scoring
from sill.api.serving_gate import serving_gate
from sill.api.siblings import Siblings
from sill.core.clock import SystemClock
from sill.core.errors import InvalidValue, Unavailable
from sill.core.names import shorten
from sill.core.settings import Settings
from sill.core.values import Value
from sill.endpoints.types import PlanToken
from sill.protocols.mlflow.server import MLFLOW_VERSION
from sill.protocols.oip.codec import Inference, read_request, write_response
from sill.protocols.oip.errors import App, Receive, Scope, Send, Translated
from sill.protocols.oip.forms import form_of
from sill.protocols.oip.long import is_long
from sill.protocols.oip.paths import Target, read_path
from sill.protocols.oip.raw import read_raw
from sill.protocols.oip.types import IndexRequest, RepositoryRequest
from sill.safety.listener import HEAD
from sill.safety.strict_json import decode
from sill.traffic.plane import Plane, Told

TEXT_TYPE = b"text/plain; charset=utf-8"
OVERRIDES = ("config", "file:")
"""Parameters of Triton's load that would bring a configuration or a file along. Ours come signed, from the registry."""


class Health(Value, frozen=True, kw_only=True):
    """Answer of the health paths; the protocol names the field differently in its two versions, so both are there."""

    live: bool
    ready: bool


class ModelHealth(Value, frozen=True, kw_only=True):
    """Answer of a model's readiness path."""

    name: str
    ready: bool


class Door:
    """The ASGI app. Errors are raised, the gate tells them."""

    def __init__(self, plane: Plane, readers: Readers, siblings: Siblings | None) -> None:
        self._plane = plane
        self._counting = Counting(plane, siblings)
        self._readers = readers
        self._generating = Generating(plane, readers)
        self._scoring = Scoring(plane, readers)
        self.recognition: Recognition | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        target = read_path(scope["method"], scope["path"])
        headers = dict(scope["headers"])
        verb = target.verb
        if verb == "infer":
            await self._infer(target, headers, scope, receive, send)
        elif verb == "live":
            await send_value(send, Health(live=True, ready=self._plane.has_plan))
        elif verb == "ready":
            await self._ready(send)
        elif verb == "ping":
            await send_bytes(send, b"\n", TEXT_TYPE)
        elif verb == "version":
            await send_bytes(send, MLFLOW_VERSION.encode(), TEXT_TYPE)
        else:
            await self._ask(target, scope, headers, receive, send)

    async def _ask(self, target: Target, scope: Scope, headers: Headers, receive: Receive, send: Send) -> None:
        """What needs a token, and is not inference in the protocol's own form."""
        token, verb = self._plane.authenticate(secret(headers)), target.verb
        if verb == "invocations":
            await self._scoring.answer(token, target, headers, receive, send)
        elif verb in ("generate", "generate_stream"):
            await self._generating.answer(token, target, headers, receive, send)
        elif verb in ("index", "load", "unload"):
            await self._repository(token, target, headers, receive, send)
        elif verb == "metrics":
            await self._counting.tell_metrics(token, scope, headers, send)
        elif verb in ("stats", "all_stats"):
            await self._counting.tell_statistics(token, target, scope, headers, send)
        elif verb == "server":
            await send_value(send, server_metadata())
        else:
            await self._describe(token, target, headers, send)

    async def _ready(self, send: Send) -> None:
        """Ready: a plan is known, and every endpoint of it is answered."""
        missing = unready(self._plane)
        if missing:
            raise Unavailable(f"not ready: {', '.join(missing[:10])}.", fix="Try again in a moment.")
        await send_value(send, Health(live=True, ready=True))

    async def _describe(self, token: PlanToken, target: Target, headers: Headers, send: Send) -> None:
        plane, project = self._plane, project_of(headers, target)
        of = Target(verb=target.verb, project=project, name=target.name, version=target.version)
        if target.verb == "config":
            await send_value(send, await model_config(plane, token, of))
        elif target.verb == "model_ready":
            plane.route(token, project, target.name, target.version)
            await send_value(send, ModelHealth(name=target.name, ready=True))
        else:
            await send_value(send, await model_metadata(plane, token, of))

    async def _repository(
        self, token: PlanToken, target: Target, headers: Headers, receive: Receive, send: Send
    ) -> None:
        check_json(headers)
        came = await read_body(receive)
        if came is None:
            return
        body, project = bytes(came), project_of(headers, target)
        if target.verb == "index":
            asked = decode(body, IndexRequest) if body.strip() else IndexRequest()
            await send_value(send, repository_index(self._plane, token, project, ready_only=asked.ready))
            return
        wish = decode(body, RepositoryRequest) if body.strip() else RepositoryRequest()
        for name in wish.parameters:
            if name.startswith(OVERRIDES):
                raise InvalidValue(
                    f"parameter {shorten(name)!r} is not allowed: a model's files and configuration come signed, from "
                    "the registry.",
                    fix="Register a version and deploy it.",
                    field="parameters",
                )
        change = self._plane.load if target.verb == "load" else self._plane.unload
        await change(token, project, target.name)
        await send_bytes(send, b"")

    async def _infer(self, target: Target, headers: Headers, scope: Scope, receive: Receive, send: Send) -> None:
        plane = self._plane
        token = plane.authenticate(secret(headers))
        project = project_of(headers, target)
        route = plane.route(token, project, target.name, target.version)  # refused before the body is read
        json_bytes = header_bytes(headers)
        wishes = wishes_of(headers)
        body = await read_body(receive)
        if body is None:
            return  # the client left
        is_raw = json_bytes == 0
        is_known_form = False
        if is_raw:
            request = read_raw(body, main_model(route, target.version).signature)
        elif is_long(body, json_bytes):
            request = await self._readers.read(Wish(kind="infer", header_bytes=json_bytes), body, wishes.timeout_ms)
        else:
            request, is_known_form = read_request(body, json_bytes), True
        place = (project, target.name)
        asked = wishes.asked(place, target.version, request.id or plane.new_id(), request.tensors, request)
        told = await plane.answer(token, asked)
        outputs = told.part.outputs
        parameters = {"model_version": told.model_version, "revision": told.revision}
        answer, told_bytes = write_response(
            target.name, told.model_version, asked.id, parameters, outputs, request.wanted(outputs)
        )
        await send_packed(send, answer, headers, told_bytes)
        if self.recognition is not None and HEAD in scope and is_known_form and is_plain(request, headers):
            form = form_of(request, body, json_bytes) if has_form(told) and isinstance(body, bytes) else None
            if form is not None and plane.routes.get(place) is route:
                self.recognition.learn(scope[HEAD], token, route, asked, form, len(body))


def is_plain(request: Inference, headers: Headers) -> bool:
    """True for a request whose like may take the short way: its answer follows from its numbers alone."""
    odd = {b"expect", b"connection", b"content-encoding", b"transfer-encoding", b"x-sill-priority"} & headers.keys()
    own = (request.id, request.entity, request.priority, request.timeout_ms)
    has_own = any(own) or any(one.classes for one in request.outputs)
    return b"content-length" in headers and not odd and not has_own and coding_of(headers) == ""


def has_form(told: Told) -> bool:
    """True if answers like it can be put together from rows of numbers, or from the names of classes."""
    is_classifier = told.model.signature.task == "classification"
    return not told.part.of.is_whole and all(
        array.dtype.kind in "fiub" or is_classifier for array in told.part.outputs.values()
    )


def build_app(
    plane: Plane, settings: Settings, readers: Readers, siblings: Siblings | None = None
) -> tuple[App, Recognition]:
    """The door behind the gate, with errors in the protocol's form; and the short way past both."""
    door = Door(plane, readers, siblings)
    gate = serving_gate(door, settings, present_scoring)
    door.recognition = Recognition(plane, gate.in_flight, SystemClock())
    return Translated(gate, is_own=is_scoring), door.recognition
