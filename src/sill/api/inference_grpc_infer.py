"""ModelInfer: a message to the model's queue, its answer by a callback, without a task of its own.

A message that differs from an earlier one in its numbers only takes a short way; see docs/decisions/0010-the-short-way.md.
"""

import logging
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from sill.api.inference_grpc_access import Access, Accesses
from sill.core.errors import Limited, SillError
from sill.protocols.grpc.heads import Head
from sill.protocols.grpc.port import Call
from sill.protocols.grpc.status import call_error
from sill.protocols.oip import grpc_answers
from sill.protocols.oip.grpc_forms import GrpcAnswerForm, GrpcForm, form_of
from sill.protocols.oip.grpc_requests import GrpcInference, read_infer
from sill.safety.limits import InFlight
from sill.traffic.plane import Plane, Way, timeout_s
from sill.traffic.pool import Model
from sill.traffic.recording import Asked
from sill.traffic.tensors import to_question
from sill.traffic.waiting import Part

_log = logging.getLogger("sill.grpc")

Tell = Callable[[bytes | SillError], None]
"""Called once with an answer's message, or with why there is none."""


class Running:
    """What is to be undone when a call is taken back."""

    __slots__ = ("_in_flight", "is_done", "waiting")

    def __init__(self, in_flight: InFlight) -> None:
        self._in_flight = in_flight
        self.is_done = False
        self.waiting: Any = None

    def done(self) -> None:
        """The house has room for another. May be called again."""
        if not self.is_done:
            self.is_done = True
            self._in_flight.leave()

    def cancel(self) -> None:
        """Nobody waits any more."""
        if self.waiting is not None:
            self.waiting.is_cancelled = True
        self.done()


class Infer:
    """ModelInfer."""

    is_streaming = False

    def __init__(self, plane: Plane, in_flight: InFlight, accesses: Accesses) -> None:
        self.plane = plane
        self.in_flight = in_flight
        self.accesses = accesses

    def admit(self, head: Head) -> None:
        """Who may not ask is told before the body is read."""
        self.accesses.of(head)

    def message(self, call: Call, content: bytes) -> None:
        """One request, one answer."""
        try:
            access = self.accesses.of(call.head)
            call.state = self.submit(access, content, partial(self._tell, call))
        except SillError as refused:
            raise call_error(refused) from refused

    def half_closed(self, call: Call) -> None:
        """Of streams alone."""

    def cancelled(self, call: Call) -> None:
        """Its place in the queue is free."""
        call.state.cancel()

    def _tell(self, call: Call, told: bytes | SillError) -> None:
        if isinstance(told, SillError):
            failed = call_error(told)
            call.end(failed.status, failed.message)
        else:
            call.reply(told)

    def submit(self, access: Access, content: bytes, tell: Tell) -> Running:
        """Queue a request; `tell` is called later with the answer's message or with why there is none.

        Raises:
            SillError: it was not queued.
        """
        for form in access.forms:
            found = form.read(content)
            if found is not None:
                return self._submit_known(access, form, found, tell)
        asked = read_infer(content)
        way = self.plane.find_way(access.token, self.asked(access, asked))
        running = self.queue(access, way, partial(self.answer, asked, None, access), tell)
        form_found = form_of(content, asked)
        if form_found is not None:
            access.learn(form_found)
        return running

    def asked(self, access: Access, asked: GrpcInference) -> Asked:
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
            timeout_ms=request.timeout_ms or access.timeout_ms,
            priority=request.priority or access.priority,
        )

    def _submit_known(
        self,
        access: Access,
        form: GrpcForm,
        found: tuple[str, dict[str, Any]],
        tell: Tell,
    ) -> Running:
        """The short way: everything but the numbers was looked at before."""
        plane, asked = self.plane, form.asked
        started_s = time.perf_counter()
        target = access.target(asked.model_name, asked.model_version)
        route = plane.route(access.token, target.project, target.name, target.version)
        request_id, tensors = found
        request_id = request_id or plane.new_id()
        model = plane.choose(route, target.version, access.sticky_key or request_id)
        question = None
        if model.plain is not None and len(tensors) == 1:
            [(name, tensor)] = tensors.items()
            question = model.plain.question(name, tensor)
        if question is None:
            question = to_question(model.signature, tensors)
        request = asked.request
        timeout_ms = request.timeout_ms or access.timeout_ms
        way = Way(
            asked=Asked(
                id=request_id,
                project=target.project,
                endpoint=target.name,
                tensors=tensors,
                version=target.version,
                sticky_key=access.sticky_key,
                timeout_ms=timeout_ms,
                priority=request.priority or access.priority,
            ),
            route=route,
            model=model,
            question=question,
            deadline_s=plane.now_s() + timeout_s(route.endpoint, timeout_ms),
            started_s=started_s,
        )
        return self.queue(access, way, partial(self.answer, asked, form, access), tell)

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
        if not self.in_flight.try_enter():
            raise Limited("too many requests at once.", fix="Try again in a second.", retry_after_s=1.0)
        running = Running(self.in_flight)
        try:
            running.waiting = way.model.batcher.submit(
                way.question,
                way.deadline_s,
                partial(self._told, running, way, answer, tell),
                access.token.digest,
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

    def answer(self, asked: GrpcInference, form: GrpcForm | None, access: Access, way: Way, part: Part) -> bytes:
        """The answer's message; of a known form, from what stays the same."""
        outputs, model = part.outputs, way.model
        if form is None:
            return write_answer(asked, way, model, outputs)
        number = model.revision.number
        written = access.answers.get((number, form))
        if written is None:
            revision = model.revision
            written = access.answers[number, form] = GrpcAnswerForm(
                asked.model_name, revision.model_version, parameters_of(model), asked, outputs
            )
        return written.write(way.asked.id, outputs)


def parameters_of(model: Model) -> dict[str, Any]:
    """What every answer says besides its outputs."""
    return {"model_version": model.revision.model_version, "revision": model.revision.number}


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
