"""`python -m sill.api.inference`: the inference plane's process. Wires its parts, answers the Open Inference Protocol."""

import asyncio
import contextlib
import gc
import logging
import os
import sys
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import TextIO

import msgspec

from sill import __version__
from sill.api.home import take_lock
from sill.api.hosts import allowed_hosts
from sill.api.recognition import Recognition
from sill.core.clock import SystemClock
from sill.core.errors import Conflict, InvalidValue, SillError, Unavailable, UnsupportedType
from sill.core.names import check_name
from sill.core.settings import Settings, read_settings
from sill.core.values import Value
from sill.protocols.oip.codec import BINARY_HEADER, BINARY_TYPE, JSON_TYPE, Inference, read_request, write_response
from sill.protocols.oip.errors import App, Message, Receive, Scope, Send, translate_errors
from sill.protocols.oip.forms import form_of
from sill.protocols.oip.paths import Target, read_path
from sill.protocols.oip.types import ModelMetadata, ServerMetadata, TensorMetadata
from sill.runtimes.port import Runtime, open_runtime
from sill.safety.gate import Gate, GateLimits
from sill.safety.limits import MemoryBudget
from sill.safety.listener import HEAD, uvicorn_config
from sill.safety.private_files import read_private
from sill.safety.redaction import RedactingFilter, Redactor
from sill.traffic.control import Control
from sill.traffic.following import Follower
from sill.traffic.plane import Plane
from sill.traffic.pool import Model, Route, output_specs
from sill.traffic.recording import Asked
from sill.traffic.shipping import Shipping
from sill.traffic.spool import Spool

DEFAULT_PROJECT = "default"
STICKY_LENGTH_MAX = 200
BODIES_BYTES_MAX = 512 * 1024 * 1024
"""What all bodies together may hold."""
RUNTIME = "onnx"
EXTENSIONS = ("binary_tensor_data", "classification")
LENGTH_DIGITS_MAX = 12
CODINGS = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}
PACKED_BYTES_MIN = 1_024
"""Smaller answers are not worth packing: they fit one packet."""
HOME_LOOK_S = 5.0
"""How often the process looks whether its home is still there."""

_log = logging.getLogger("sill.inference")


class Health(Value, frozen=True, kw_only=True):
    """Answer of the health paths; the protocol names the field differently in its two versions, so both are there."""

    live: bool
    ready: bool


class ModelHealth(Value, frozen=True, kw_only=True):
    """Answer of a model's readiness path."""

    name: str
    ready: bool


class Door:
    """The ASGI app: paths and headers to the plane, the plane's answers to bytes. Errors are raised, the gate tells them."""

    def __init__(self, plane: Plane) -> None:
        self._plane = plane
        self.recognition: Recognition | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        target = read_path(scope["method"], scope["path"])
        if target.verb == "live":
            await _answer(send, Health(live=True, ready=self._plane.has_plan))
        elif target.verb == "ready":
            await self._ready(send)
        elif target.verb == "infer":
            await self._infer(target, scope, receive, send)
        else:
            await self._describe(target, dict(scope["headers"]), send)

    async def _ready(self, send: Send) -> None:
        """Ready: a plan is known, and every endpoint of it is answered."""
        missing = [
            f"{project}/{name}" for project, name in self._plane.planned if (project, name) not in self._plane.routes
        ]
        if not self._plane.has_plan or missing:
            raise Unavailable(
                f"not ready: {', '.join(missing[:10]) or 'no serving plan yet'}.", fix="Try again in a moment."
            )
        await _answer(send, Health(live=True, ready=True))

    async def _describe(self, target: Target, headers: dict[bytes, bytes], send: Send) -> None:
        token = self._plane.authenticate(_secret(headers))
        if target.verb == "server":
            await _answer(send, ServerMetadata(name="sill", version=__version__, extensions=EXTENSIONS))
            return
        project = _project(target, headers)
        route = self._plane.route(token, project, target.name, target.version)
        if target.verb == "model_ready":
            await _answer(send, ModelHealth(name=target.name, ready=True))
        else:
            await _answer(send, describe(target, route))

    async def _infer(self, target: Target, scope: Scope, receive: Receive, send: Send) -> None:
        plane, headers = self._plane, dict(scope["headers"])
        token = plane.authenticate(_secret(headers))
        project = _project(target, headers)
        route = plane.route(token, project, target.name, target.version)  # refused before the body is read
        header_bytes = _header_bytes(headers)
        timeout_ms = _timeout_ms(headers)
        body = await _body(receive)
        if body is None:
            return  # the client left
        request = read_request(body, header_bytes)
        asked = Asked(
            id=request.id or plane.new_id(),
            project=project,
            endpoint=target.name,
            tensors=request.tensors,
            version=target.version,
            entity=request.entity,
            sticky_key=_sticky_key(headers),
            timeout_ms=timeout_ms,
        )
        told = await plane.answer(token, asked)
        outputs = told.part.outputs
        parameters = {"model_version": told.model_version, "revision": told.revision}
        wanted = request.wanted(outputs)
        answer = write_response(target.name, told.model_version, asked.id, parameters, outputs, wanted)
        await _send_answer(send, *answer, headers)
        if self.recognition is not None and HEAD in scope and is_plain(request, headers):
            form = form_of(request, body, header_bytes)
            if form is not None and plane.routes.get((project, target.name)) is route:
                self.recognition.learn(scope[HEAD], token, route, asked, form, len(body))


def describe(target: Target, route: Route) -> ModelMetadata:
    """What an endpoint's main model takes and gives, and the versions that answer now."""
    model: Model = max(route.answering, key=lambda one: one.weight)
    if target.version:
        model = route.version(target.version)
    tensors = [TensorMetadata(name=s.name, datatype=s.datatype, shape=s.shape) for s in model.signature.inputs]
    outputs = [TensorMetadata(name=s.name, datatype=s.datatype, shape=s.shape) for s in output_specs(model)]
    versions = sorted({one.revision.model_version for one in route.answering})
    return ModelMetadata(
        name=target.name,
        versions=tuple(map(str, versions)),
        platform="onnx_onnxv1",
        inputs=tuple(tensors),
        outputs=tuple(outputs),
    )


def is_plain(request: Inference, headers: dict[bytes, bytes]) -> bool:
    """True for a request whose like may take the short way: its answer follows from its numbers alone."""
    odd = {b"expect", b"connection", b"content-encoding", b"transfer-encoding"} & headers.keys()
    has_own = bool(request.id or request.entity or any(one.classes for one in request.outputs))
    return b"content-length" in headers and not odd and not has_own and coding_of(headers) == ""


def build_app(plane: Plane, settings: Settings) -> tuple[App, Recognition]:
    """The door behind the gate, with errors in the protocol's form; and the short way past both."""
    door = Door(plane)
    gate = Gate(
        door,
        hosts=allowed_hosts(settings),
        limits=GateLimits(body_bytes_max=settings.body_bytes_max, in_flight_max=settings.requests_in_flight_max),
        classify=lambda scope: "health" if scope["path"].startswith("/v2/health/") else "interactive",
        memory=MemoryBudget(BODIES_BYTES_MAX),
    )
    door.recognition = Recognition(plane, gate.in_flight, SystemClock())
    return translate_errors(gate), door.recognition


async def serve(settings: Settings) -> None:
    """Serve until told to stop."""
    import uvicorn

    home = settings.home / "inference"
    clock = SystemClock()
    url = os.environ.get("SILL_URL", "") or settings.url
    token_file = Path(os.environ.get("SILL_TOKEN_FILE", "") or settings.home / "token")

    def token() -> str:
        return read_private(token_file).decode().strip()

    def load(content: bytes) -> Runtime:
        return open_runtime(RUNTIME, content)

    shipping = Shipping(Spool(home / "spool", clock), Control(url, token), clock)
    plane = Plane(clock, shipping.recorder)
    follower = Follower(plane, Control(url, token), load, home)
    await follower.start_from_cache()
    app, recognition = build_app(plane, settings)
    config = uvicorn_config(
        app,
        host=settings.host,
        port=settings.inference_port,
        tls_cert=settings.tls_cert,
        tls_key=settings.tls_key,
        lifespan="off",
        recognise=recognition.recall,
    )
    server = uvicorn.Server(config)
    gc.collect()
    gc.freeze()  # what start-up made lives as long as the process
    works = (follower.run(), shipping.run(), plane.shadow_for_ever(), until_gone(home))
    tasks = [asyncio.create_task(work) for work in works]
    serving = asyncio.create_task(server.serve())
    try:
        # A worker that ends by an error ends the process: the control plane starts it again, from what is on disk.
        done, _ = await asyncio.wait([serving, *tasks], return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        server.should_exit = True
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await shipping.flush()
        with contextlib.suppress(asyncio.CancelledError):
            await serving


async def until_gone(home: Path) -> None:
    """Return when the home is no more: a process that outlives its control plane must not outlive its data.

    Raises:
        Unavailable: always, once it is gone; it ends the process.
    """
    while (home / "alive.lock").exists():  # noqa: ASYNC110 -- a file that goes sends no event
        await asyncio.sleep(HOME_LOOK_S)
    raise Unavailable(f"{home} is gone.", fix="Start the platform on a home of its own.")


def main() -> int:
    """Serve until told to stop. Exit code 2 for what the caller can mend, with the reason on standard error."""
    try:
        settings = read_settings()
        start_logging(settings)
        with hold_lock(settings.home / "inference"):
            asyncio.run(serve(settings))
    except SillError as refused:
        print(f"sill inference: {refused}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 0
    return 0


def hold_lock(folder: Path) -> TextIO:
    """Say that this process is alive, as long as the returned file is open; the file holds its process id.

    Raises:
        Conflict: another inference plane serves from this home.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = take_lock(folder / "alive.lock")
    if file is None:
        raise Conflict(f"another inference plane serves from {folder}.", fix="Stop it first.")
    return file


def start_logging(settings: Settings) -> None:
    """One redacted line a record, to standard error, which is the log file when the control plane started this."""
    handler = logging.StreamHandler()
    handler.addFilter(RedactingFilter(Redactor()))
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    logging.basicConfig(level=settings.log_level.upper(), handlers=[handler], force=True)


def _secret(headers: dict[bytes, bytes]) -> str:
    scheme, _, secret = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
    return secret.strip() if scheme.lower() == "bearer" else ""


def _project(target: Target, headers: dict[bytes, bytes]) -> str:
    named = headers.get(b"x-sill-project", b"").decode("latin-1")
    return target.project or check_name(named or DEFAULT_PROJECT, "project")


def _header_bytes(headers: dict[bytes, bytes]) -> int | None:
    """How much of the body is JSON, if something else follows."""
    kind = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
    said = headers.get(BINARY_HEADER)
    if said is None and kind not in (b"", JSON_TYPE):
        raise UnsupportedType(
            "the body must be application/json.", fix="Send content-type: application/json, or the binary extension."
        )
    if said is None:
        return None
    if kind not in (b"", JSON_TYPE, BINARY_TYPE):
        raise UnsupportedType("a body with binary tensors is application/octet-stream.", fix="Send it as such.")
    if not said.isdigit() or len(said) > LENGTH_DIGITS_MAX:
        raise InvalidValue(
            "Inference-Header-Content-Length is a number of bytes.", field="inference-header-content-length"
        )
    return int(said)


def coding_of(headers: dict[bytes, bytes]) -> str:
    """The coding an answer may be packed in: the first we know of those accepted; empty for none."""
    for given in headers.get(b"accept-encoding", b"").decode("latin-1").lower().split(","):
        name, _, quality = given.strip().partition(";")
        if name in CODINGS and quality.strip() not in ("q=0", "q=0.0"):
            return name
    return ""


def _timeout_ms(headers: dict[bytes, bytes]) -> float:
    given = headers.get(b"x-sill-timeout-ms")
    if given is None:
        return 0.0
    if not given.isdigit() or len(given) > 9 or int(given) == 0:
        raise InvalidValue("X-Sill-Timeout-Ms is a whole number of milliseconds, 1 or more.", field="x-sill-timeout-ms")
    return float(given)


def _sticky_key(headers: dict[bytes, bytes]) -> str:
    key = headers.get(b"x-sill-sticky-key", b"").decode("latin-1")
    if len(key) > STICKY_LENGTH_MAX:
        raise InvalidValue(f"X-Sill-Sticky-Key has at most {STICKY_LENGTH_MAX} characters.", field="x-sill-sticky-key")
    return key


async def _body(receive: Receive) -> bytes | None:
    """All of the body, as far as the gate lets it through; None if the client left."""
    message: Message = await receive()
    if message["type"] == "http.request" and not message.get("more_body", False):
        return bytes(message.get("body", b""))
    pieces = []
    while message["type"] == "http.request":
        pieces.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(pieces)
        message = await receive()
    return None


async def _answer(send: Send, value: Value) -> None:
    await _send_json(send, msgspec.json.encode(value))


async def _send_answer(send: Send, body: bytes, header_bytes: int | None, asked: dict[bytes, bytes]) -> None:
    more = [] if header_bytes is None else [(BINARY_HEADER, str(header_bytes).encode())]
    coding = coding_of(asked) if len(body) >= PACKED_BYTES_MIN else ""
    if coding:
        packer = zlib.compressobj(1, wbits=CODINGS[coding])
        body = packer.compress(body) + packer.flush()
        more.append((b"content-encoding", coding.encode()))
    await _send_json(send, body, JSON_TYPE if header_bytes is None else BINARY_TYPE, more)


async def _send_json(
    send: Send, body: bytes, kind: bytes = JSON_TYPE, more: Iterable[tuple[bytes, bytes]] = ()
) -> None:
    headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode()), *more]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


if __name__ == "__main__":
    raise SystemExit(main())
