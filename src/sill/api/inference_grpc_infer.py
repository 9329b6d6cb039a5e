"""ModelInfer: a message to the model's queue, its answer by a callback, without a task of its own.

A message that differs from an earlier one in its numbers only takes a short way; see docs/decisions/0010-the-short-way.md.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from sill.api.inference_grpc_access import Access, Accesses
from sill.api.inference_grpc_known import KnownMessage, Running, Tell, parameters_of
from sill.api.long_reading import Readers, Wish
from sill.core.clock import SystemClock
from sill.core.errors import SillError
from sill.protocols.grpc.heads import Head
from sill.protocols.grpc.port import Call
from sill.protocols.grpc.status import call_error
from sill.protocols.oip import grpc_answers
from sill.protocols.oip.grpc_forms import form_of
from sill.protocols.oip.grpc_requests import GrpcInference, is_long, read_infer
from sill.safety.bodies import Content
from sill.safety.limits import InFlight
from sill.traffic.alike import House
from sill.traffic.plane import Plane, Way
from sill.traffic.pool import Model
from sill.traffic.recording import Asked
from sill.traffic.waiting import Part

_log = logging.getLogger("sill.grpc")


class Infer:
    """ModelInfer."""

    is_streaming = False

    def __init__(self, plane: Plane, in_flight: InFlight, accesses: Accesses, readers: Readers) -> None:
        self.plane = plane
        self._readers = readers
        self.in_flight = in_flight
        self.accesses = accesses
        self.house = House(plane, in_flight, SystemClock())

    def admit(self, head: Head) -> None:
        """Who may not ask is told before the body is read."""
        self.accesses.of(head)

    def message(self, call: Call, content: Content) -> None:
        """One request, one answer."""
        try:
            access = self.accesses.of(call.head)
            if is_long(content):
                call.state = LongMessage(self._ask_long(call, access, content))
            else:
                call.state = self.submit(access, content, partial(self._tell, call), call.head.timeout_s)
        except SillError as refused:
            raise call_error(refused) from refused

    def half_closed(self, call: Call) -> None:
        """Of streams alone."""

    def cancelled(self, call: Call) -> None:
        """Its place in the queue is free."""
        call.state.cancel()

    async def read(self, content: Content, timeout_s: float) -> GrpcInference:
        """A long message. Errors as `Readers.read`."""
        request: GrpcInference = await self._readers.read(Wish(kind="grpc"), content, timeout_s * 1e3)
        return request

    async def _ask_long(self, call: Call, access: Access, content: Content) -> None:
        """`message`, for one that is long."""
        tell, timeout_s = partial(self._tell, call), call.head.timeout_s
        try:
            read = await self.read(content, timeout_s)
            way = self.plane.find_way(access.token, self.asked(access, read, timeout_s))
            call.state.running = self.queue(access, way, partial(self.answer, read), tell)
        except SillError as refused:
            tell(refused)
        except Exception:
            _log.exception("a long message could not be read")
            tell(SillError(""))

    def _tell(self, call: Call, told: bytes | SillError) -> None:
        if isinstance(told, SillError):
            failed = call_error(told)
            call.end(failed.status, failed.message)
        else:
            call.reply(told)

    def submit(self, access: Access, content: Content, tell: Tell, timeout_s: float) -> Running:
        """Queue a request; `tell` is called later with the answer's message or with why there is none.

        Args:
            timeout_s: the call's own; 0 for none.
        Raises:
            SillError: it was not queued.
        """
        # What is so long that it is no `bytes` has no form: telling what differs would be copying it.
        plain, is_new = (content, True) if isinstance(content, bytes) else (b"", False)
        for known in access.known:
            found = known.form.read(plain)
            if found is not None:
                known_running = known.submit(*found, tell, timeout_s)
                if known_running is not None:
                    return known_running
                is_new = False
                break
        read = read_infer(content)
        asked = self.asked(access, read, timeout_s)
        way = self.plane.find_way(access.token, asked)
        running = self.queue(access, way, partial(self.answer, read), tell)
        form = form_of(plain, read) if is_new else None
        if form is not None:
            access.learn(KnownMessage(self.house, access.token, way.route, asked, form))
        return running

    def asked(self, access: Access, asked: GrpcInference, timeout_s: float) -> Asked:
        """A request as the plane takes it."""
        request = asked.request
        target = access.target(asked.model_name, asked.model_version)
        return Asked(
            id=request.id or self.plane.new_id(),
            project=target.project,
            endpoint=target.name,
            tensors=request.tensors,
            version=target.version,
            entity=request.entity,
            sticky_key=access.sticky_key,
            timeout_ms=request.timeout_ms or timeout_s * 1e3,
            priority=request.priority or access.priority,
        )

    def queue(
        self,
        access: Access,
        way: Way,
        answer: Callable[[Way, Part], bytes],
        tell: Tell,
    ) -> Running:
        """Queue what was found to be right.

        Raises:
            SillError: there is no room for it.
        """
        tenant = access.token.digest
        self.in_flight.take("interactive", tenant)
        running = Running(self.in_flight, tenant)
        try:
            running.waiting = way.model.batcher.submit(
                way.question,
                way.deadline_s,
                partial(self._told, running, way, answer, tell),
                tenant,
                way.asked.priority,
            )
        except SillError:
            running.done()
            raise
        return running

    def _told(
        self,
        running: Running,
        way: Way,
        answer: Callable[[Way, Part], bytes],
        tell: Tell,
        told: Part | SillError,
    ) -> None:
        running.done()
        said: bytes | SillError
        if isinstance(told, Part):
            try:
                said = answer(way, told)
            except SillError as refused:
                said = refused
            except Exception:
                _log.exception("an answer of %s could not be written", way.asked.endpoint)
                said = SillError("")
        else:
            said = told
        tell(said)
        self.plane.remember(way, told)

    def answer(self, asked: GrpcInference, way: Way, part: Part) -> bytes:
        """The answer's message."""
        return write_answer(asked, way, way.model, part.outputs)


class LongMessage:
    """A message that is read, and then `running`; for `Infer.cancelled`."""

    def __init__(self, reading: Coroutine[Any, Any, None]) -> None:
        self.running: Running | None = None
        self._task = asyncio.get_running_loop().create_task(reading)

    def cancel(self) -> None:
        """Nobody waits any more."""
        self._task.cancel()
        if self.running is not None:
            self.running.cancel()


def write_answer(
    asked: GrpcInference, way: Way, model: Model, outputs: dict[str, Any], more: dict[str, Any] | None = None
) -> bytes:
    """A ModelInferResponse: raw to who asked with raw contents, typed to others."""
    return grpc_answers.write_infer(
        asked.model_name,
        model.revision.model_version,
        way.asked.id,
        parameters_of(model) | (more or {}),
        outputs,
        asked.request.wanted(outputs),
        is_raw=bool(asked.raw) or asked.request.is_binary,
    )
