"""The short way of a request that differs from an earlier one in its numbers only.

The first request of its kind goes the long way, through gate, door and protocol. What was decided there about the
very same bytes (who asks, of whom, in which form) holds until the next plan, and is not decided again.
"""

import asyncio
import math
import time
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np

from sill.core.clock import Clock
from sill.core.errors import SillError
from sill.endpoints.types import PlanToken
from sill.protocols.oip.codec import BINARY_HEADER, BINARY_TYPE, JSON_TYPE
from sill.protocols.oip.errors import error_body
from sill.protocols.oip.forms import AnswerForm, Form
from sill.safety.gate import SECURITY_HEADERS, problem_body
from sill.safety.limits import InFlight
from sill.traffic.plane import Plane, Way, timeout_s
from sill.traffic.pool import Model, Route
from sill.traffic.recording import Asked, SeenTogether
from sill.traffic.statistics import ranges_of
from sill.traffic.tensors import Question
from sill.traffic.waiting import Answered, Packing, Part, Waiting

HEADS_MAX = 4_096
HEAD_BYTES_MAX = 4_096
PACKINGS_MAX = 1_024
FORMS_MAX = 8
"""Forms of body remembered for one head."""
REASONS = {400: b"Bad Request", 422: b"Unprocessable Entity", 429: b"Too Many Requests", 503: b"Service Unavailable"}

_FIXED = b"".join(name + b": " + value + b"\r\n" for name, value in SECURITY_HEADERS)
_OPENING = b"HTTP/1.1 200 OK\r\n" + _FIXED + b"content-type: "
_JSON_OPENING = _OPENING + JSON_TYPE + b"\r\ncontent-length: "
_BINARY_OPENING = _OPENING + BINARY_TYPE + b"\r\n" + BINARY_HEADER + b": "


class Recognition:
    """The heads that are known. The oldest are forgotten first."""

    def __init__(self, plane: Plane, in_flight: InFlight, clock: Clock) -> None:
        self.plane = plane
        self.in_flight = in_flight
        self.clock = clock
        self._heads: dict[bytes, KnownHead] = {}
        self._packings: dict[tuple[Any, ...], Packing] = {}

    def recall(self, head: bytes) -> "KnownHead | None":
        """What is known of a head."""
        known = self._heads.get(head)
        if known is not None and known.generation != self.plane.generation:
            del self._heads[head]
            return None
        return known

    def packing(self, name: str, dtype: Any, inner: tuple[int, ...]) -> Packing:
        """The one for all inputs alike, so that what comes under different heads is joined too."""
        key = (name, str(dtype), inner)
        if len(self._packings) >= PACKINGS_MAX and key not in self._packings:
            self._packings.clear()
        return self._packings.setdefault(key, Packing(name, dtype, inner))

    def learn(self, head: bytes, token: PlanToken, route: Route, asked: Asked, form: Form, body_bytes: int) -> None:
        """Remember a head and the form of its body, after a request with them was answered well."""
        if len(head) > HEAD_BYTES_MAX:
            return
        known = self.recall(head)
        if known is None:
            if len(self._heads) >= HEADS_MAX:
                del self._heads[next(iter(self._heads))]
            known = self._heads[head] = KnownHead(self, token, route, asked, body_bytes)
        if len(known.forms) < FORMS_MAX:
            known.forms.append(form)


class KnownHead:
    """One head: who asks whom, and the forms of body that came with it."""

    def __init__(self, house: Recognition, token: PlanToken, route: Route, asked: Asked, body_bytes: int) -> None:
        self.generation = house.plane.generation
        self.body_bytes = body_bytes
        self.forms: list[Form] = []
        self.house = house
        self.token = token
        self.route = route
        self.asked = asked
        self._seconds = timeout_s(route.endpoint, asked.timeout_ms)
        self._is_settled = len(route.answering) == 1
        """Whether all requests go to the same model, whatever their ids are."""
        self._ways: dict[tuple[Form, Model | None], KnownWay | None] = {}

    def answer(self, body: bytes, reply: Callable[[bytes], None]) -> bool:
        """See `safety.listener.Known`. False for everything that is not plainly good: the long way says what is wrong."""
        house, token = self.house, self.token
        if token.expires_us and token.expires_us <= house.clock.now_us():
            return False
        for form in self.forms:
            packed = form.read(body)
            if packed is not None:
                break
        else:
            return False
        request_id = house.plane.new_id()
        try:
            way = self._way(form, request_id)
        except SillError:
            return False
        if way is None or not house.in_flight.try_enter():
            return False
        # Positions, because names cost: rows, deadline, done, question, group, packed, id.
        waiting = Waiting(way.rows, time.monotonic() + self._seconds, reply, None, way, packed, request_id)
        try:
            way.enqueue(waiting, token.digest, self.asked.priority)
        except SillError as refused:
            house.in_flight.leave()
            return way.refuse(waiting, refused)
        return True

    def _way(self, form: Form, request_id: str) -> "KnownWay | None":
        """How a form of body is put to the model a request goes to; None if it does not fit as it is.

        Raises:
            Unavailable: no revision has a part of the traffic.
        """
        model = None if self._is_settled else self._model(request_id)
        key = (form, model)
        if key not in self._ways:
            self._ways[key] = way_of(self, model or self._model(request_id), form)
        return self._ways[key]

    def _model(self, request_id: str) -> Model:
        return self.house.plane.choose(self.route, self.asked.version, self.asked.sticky_key or request_id)


class KnownWay:
    """One form of body to one model: packed rows into its queue, and its answers back. See `batching.Group`."""

    def __init__(self, known: KnownHead, model: Model, form: Form, packing: Packing) -> None:
        self.packing = packing
        self.rows = form.shape[0]
        self.enqueue = model.batcher.enqueue
        self._house = known.house
        self._known = known
        self._model = model
        self._form = form
        revision, name = model.revision, known.route.endpoint.name
        parameters = {"model_version": revision.model_version, "revision": revision.number}
        self._answers = AnswerForm(name, revision.model_version, parameters, form.request, model.example, self.rows)
        self._alike = msgspec.structs.replace(known.asked, id="-", tensors={})

    def told(self, batch: list[Waiting], answered: Answered) -> None:
        """Answer all of them, then take note of them."""
        self._house.in_flight.leave(len(batch))
        try:
            write = self._answers.over(answered.outputs, answered.texts)
        except SillError as refused:
            for one in batch:
                one.done(_refusal(refused, one.id))
        else:
            for one in batch:
                request_id = one.id.encode()
                body, header_bytes = write(request_id, one.start)
                one.done(_answer(request_id, body, header_bytes))
        self._note(batch, answered)

    def failed(self, one: Waiting, error: SillError) -> None:
        """Say why there is no answer, and take note of it."""
        self._house.in_flight.leave()
        one.done(_refusal(error, one.id))
        self._house.plane.remember(self._taken(one), error)

    def refuse(self, one: Waiting, error: SillError) -> bool:
        """Say at once that it is not let in, if it is told when to come again; false if the long way must say it."""
        if "retry_after_s" not in error.details:
            return False
        asyncio.get_running_loop().call_soon(one.done, _refusal(error, one.id))
        return True

    def _note(self, batch: list[Waiting], answered: Answered) -> None:
        """The first ones with their payload, as far as the log's rate goes; the others are counted together."""
        plane, model, route = self._house.plane, self._model, self._known.route
        if route.shadows:  # each is copied
            for one in batch:
                plane.remember(self._taken(one), Part(answered, one.start, one.start + one.rows))
            return
        now_ns, at_us = time.perf_counter_ns(), self._house.clock.now_us()
        ranges = ranges_of([(now_ns - one.came_ns) / 1e6 for one in batch])
        model.batcher.statistics.told_all(self.rows, ranges, at_us // 1_000)
        rest = plane.recorder.note_together(
            SeenTogether(self._alike, route.endpoint, model, batch, answered, at_us, now_ns)
        )
        if rest:
            if rest is not batch:
                ranges = ranges_of([(now_ns - one.came_ns) / 1e6 for one in rest])
            cpu_ms = answered.cpu_ms * self.rows / max(answered.rows, 1)
            plane.recorder.count_all(route.endpoint, model, at_us, ranges, self.rows, cpu_ms)

    def _taken(self, one: Waiting) -> Way:
        known = self._known
        array = self._form.array(one.packed)
        return Way(
            asked=msgspec.structs.replace(known.asked, id=one.id, tensors={self._form.name: array}),
            route=known.route,
            model=self._model,
            question=Question(arrays=one.arrays(), rows=one.rows),
            deadline_s=one.deadline_s,
            started_s=one.came_ns / 1e9,
        )


def way_of(known: KnownHead, model: Model, form: Form) -> KnownWay | None:
    """How a form of body is put to a model; None if it does not fit as it is."""
    plain = model.plain
    if plain is None or form.request.entity or plain.question(form.name, np.zeros(form.shape, form.dtype)) is None:
        return None
    spec = model.signature.inputs[0]
    return KnownWay(known, model, form, known.house.packing(spec.name, form.dtype, form.shape[1:]))


def _answer(request_id: bytes, body: bytes, header_bytes: int | None) -> bytes:
    """The whole answer around a body that is good."""
    size = b"%d" % len(body)
    if header_bytes is None:
        return b"".join((_JSON_OPENING, size, b"\r\nx-request-id: ", request_id, b"\r\n\r\n", body))
    opening = (_BINARY_OPENING, b"%d" % header_bytes, b"\r\ncontent-length: ", size)
    return b"".join((*opening, b"\r\nx-request-id: ", request_id, b"\r\n\r\n", body))


def _refusal(error: SillError, request_id: str) -> bytes:
    """The whole answer that says why there is none."""
    body = error_body(problem_body(error, request_id))
    reason = REASONS.get(error.status, b"Internal Server Error")
    again_s = error.details.get("retry_after_s")
    more = b"" if again_s is None else b"retry-after: %d\r\n" % math.ceil(again_s)
    return b"HTTP/1.1 %d %s\r\n%scontent-type: %s\r\ncontent-length: %d\r\nx-request-id: %s\r\n%s\r\n%s" % (
        error.status,
        reason,
        _FIXED,
        JSON_TYPE,
        len(body),
        request_id.encode(),
        more,
        body,
    )
