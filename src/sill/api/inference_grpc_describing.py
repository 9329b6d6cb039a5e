"""The small gRPC methods: health, what the server says about itself and its models, load and unload."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from sill.api import describing
from sill.api.inference_grpc_access import Accesses
from sill.core.errors import InvalidValue, NotFound, SillError, Unavailable
from sill.protocols.grpc.heads import Head
from sill.protocols.grpc.port import Call
from sill.protocols.grpc.status import Status, call_error
from sill.protocols.oip import grpc_answers
from sill.protocols.oip.grpc_requests import has_field, read_flag, read_texts
from sill.protocols.protobuf import write_number
from sill.safety.bodies import Content
from sill.traffic.plane import Plane

SERVICE = "/inference.GRPCInferenceService/"
HEALTH = "/grpc.health.v1.Health/"
SERVING, NOT_SERVING = 1, 2

_log = logging.getLogger("sill.grpc")

Answer = Callable[[Head, bytes], Coroutine[Any, Any, bytes]]


class Described:
    """A unary method that is answered by a coroutine; it may wait for a model to be loaded."""

    is_streaming = False

    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    def admit(self, head: Head) -> None:
        """Small messages; looked at when they are there."""

    def message(self, call: Call, content: Content) -> None:
        """Answer in a task."""
        call.state = asyncio.get_running_loop().create_task(self._run(call, bytes(content)))

    def half_closed(self, call: Call) -> None:
        """Of streams alone."""

    def cancelled(self, call: Call) -> None:
        """Stop the task."""
        call.state.cancel()

    async def _run(self, call: Call, content: bytes) -> None:
        try:
            call.reply(await self._answer(call.head, content))
        except SillError as refused:
            failed = call_error(refused)
            call.end(failed.status, failed.message)
        except Exception:
            _log.exception("%s failed", call.head.path)
            call.end(Status.INTERNAL, "internal: something went wrong inside.")


class Told:
    """What the server says about itself and its models."""

    def __init__(self, plane: Plane, accesses: Accesses) -> None:
        self._plane = plane
        self._accesses = accesses

    def answers(self) -> dict[str, Answer]:
        """By the path of the method."""
        own: dict[str, Answer] = {
            "ServerLive": self._live,
            "ServerReady": self._ready,
            "ModelReady": self._model_ready,
            "ServerMetadata": self._server,
            "ModelMetadata": self._model,
            "ModelConfig": self._config,
            "ModelStatistics": self._statistics,
            "RepositoryIndex": self._index,
            "RepositoryModelLoad": self._load,
            "RepositoryModelUnload": self._unload,
        }
        return {SERVICE + name: answer for name, answer in own.items()} | {HEALTH + "Check": self._health}

    async def _live(self, head: Head, content: bytes) -> bytes:
        return write_number(1, 1)

    async def _ready(self, head: Head, content: bytes) -> bytes:
        return write_number(1, int(self._is_ready()))

    async def _health(self, head: Head, content: bytes) -> bytes:
        (service,) = read_texts(content, 1)
        if service not in ("", SERVICE.strip("/")):
            raise NotFound(f"there is no service {service[:100]!r}.")
        return write_number(1, SERVING if self._is_ready() else NOT_SERVING)

    def _is_ready(self) -> bool:
        return not describing.unready(self._plane)

    async def _model_ready(self, head: Head, content: bytes) -> bytes:
        access = self._accesses.of(head)
        target = access.target(*read_texts(content, 1, 2))
        try:
            self._plane.route(access.token, target.project, target.name, target.version)
        except (NotFound, Unavailable):  # an answer here, not an error: clients ask for nothing else
            return write_number(1, 0)
        return write_number(1, 1)

    async def _server(self, head: Head, content: bytes) -> bytes:
        self._accesses.of(head)
        return grpc_answers.write_server(describing.server_metadata())

    async def _model(self, head: Head, content: bytes) -> bytes:
        access = self._accesses.of(head)
        target = access.target(*read_texts(content, 1, 2))
        return grpc_answers.write_model(await describing.model_metadata(self._plane, access.token, target))

    async def _config(self, head: Head, content: bytes) -> bytes:
        access = self._accesses.of(head)
        target = access.target(*read_texts(content, 1, 2))
        return grpc_answers.write_config(await describing.model_config(self._plane, access.token, target))

    async def _statistics(self, head: Head, content: bytes) -> bytes:
        access = self._accesses.of(head)
        name, version = read_texts(content, 1, 2)
        target = access.target(name, version) if name else None
        told = describing.model_statistics(self._plane, access.token, target, access.project)
        return grpc_answers.write_statistics(told.model_stats)

    async def _index(self, head: Head, content: bytes) -> bytes:
        access = self._accesses.of(head)
        found = describing.repository_index(self._plane, access.token, access.project, ready_only=read_flag(content, 2))
        return grpc_answers.write_index(found)

    async def _load(self, head: Head, content: bytes) -> bytes:
        access = self._accesses.of(head)
        if has_field(content, 3):
            raise InvalidValue("a model is loaded as it was deployed; parameters are not taken.", field="parameters")
        target = access.target(read_texts(content, 2)[0], "")
        await self._plane.load(access.token, target.project, target.name)
        return b""

    async def _unload(self, head: Head, content: bytes) -> bytes:
        access = self._accesses.of(head)
        target = access.target(read_texts(content, 2)[0], "")
        await self._plane.unload(access.token, target.project, target.name)
        return b""
