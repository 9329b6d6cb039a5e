"""The short way of a request that differs from an earlier one in its numbers only.

The first request of its kind goes the long way, through gate, door and protocol. What was decided there about the
very same bytes (who asks, of whom, in which form) holds until the next plan, and is not decided again.
"""

import asyncio
import math
import time
from collections.abc import Callable
from functools import cached_property, partial

import numpy as np

from sill.core.clock import Clock
from sill.core.errors import SillError
from sill.endpoints.types import PlanToken
from sill.protocols.oip.codec import BINARY_HEADER, BINARY_TYPE, JSON_TYPE
from sill.protocols.oip.errors import error_body
from sill.protocols.oip.forms import AnswerForm, Form
from sill.safety.gate import SECURITY_HEADERS, problem_body
from sill.safety.limits import InFlight
from sill.traffic.alike import Alike, Chosen, House
from sill.traffic.plane import Plane, timeout_s
from sill.traffic.pool import Model, Route
from sill.traffic.recording import Asked
from sill.traffic.waiting import Answered, Waiting

HEADS_MAX = 4_096
HEAD_BYTES_MAX = 4_096
FORMS_MAX = 8
"""Forms of body remembered for one head."""
REASONS = {400: b"Bad Request", 422: b"Unprocessable Entity", 429: b"Too Many Requests", 503: b"Service Unavailable"}

_FIXED = b"".join(name + b": " + value + b"\r\n" for name, value in SECURITY_HEADERS)
_OPENING = b"HTTP/1.1 200 OK\r\n" + _FIXED + b"content-type: "
_JSON_OPENING = _OPENING + JSON_TYPE + b"\r\ncontent-length: "
_BINARY_OPENING = _OPENING + BINARY_TYPE + b"\r\n" + BINARY_HEADER + b": "


class Recognition(House):
    """The heads that are known. The oldest are forgotten first."""

    def __init__(self, plane: Plane, in_flight: InFlight, clock: Clock) -> None:
        super().__init__(plane, in_flight, clock)
        self._heads: dict[bytes, KnownHead] = {}

    def recall(self, head: bytes) -> "KnownHead | None":
        """What is known of a head."""
        known = self._heads.get(head)
        if known is not None and known.generation != self.plane.generation:
            del self._heads[head]
            return None
        return known

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
        self.asked = asked
        self._seconds = timeout_s(route.endpoint, asked.timeout_ms)
        self._chosen = Chosen(house.plane, route, asked, partial(way_of, house, route, asked, token.digest))

    def answer(self, body: bytes, reply: Callable[[bytes], object]) -> bool:
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
            way = self._chosen.way(form, request_id)
        except SillError:
            return False
        if way is None:
            return False
        # By their places, because names cost: rows, deadline, done, question, group, packed, id.
        waiting = Waiting(way.rows, time.monotonic() + self._seconds, reply, None, way, packed, request_id)
        try:
            house.in_flight.take("interactive", token.digest)
        except SillError as refused:
            return way.refuse(waiting, refused)
        try:
            way.enqueue(waiting, token.digest, self.asked.priority)
        except SillError as refused:
            house.in_flight.leave(1, token.digest)
            return way.refuse(waiting, refused)
        return True


class KnownWay(Alike):
    """One form of body to one model, with answers that need no gate on their way back."""

    def __init__(self, house: Recognition, route: Route, model: Model, asked: Asked, tenant: str, form: Form) -> None:
        super().__init__(house, route, model, asked, tenant, form.name, form.shape[0])
        self._request = form.request

    @cached_property
    def _answers(self) -> AnswerForm:
        """Made with the first answer: before it, the model need not be in memory."""
        name, revision = self._asked.endpoint, self.model.revision
        parameters = {"model_version": revision.model_version, "revision": revision.number}
        return AnswerForm(name, revision.model_version, parameters, self._request, self.model.example, self.rows)

    def reply_all(self, batch: list[Waiting], answered: Answered) -> list[Waiting]:
        """See `Alike`."""
        try:
            write = self._answers.over(answered.outputs, answered.texts)
        except SillError as refused:
            return [one for one in batch if one.done(_refusal(refused, one.id)) is not False]
        taken = []
        for one in batch:
            request_id = one.id.encode()
            body, header_bytes = write(request_id, one.start)
            if one.done(_answer(request_id, body, header_bytes)) is not False:
                taken.append(one)
        return taken

    def refusal(self, one: Waiting, error: SillError) -> bytes:
        """See `Alike`."""
        return _refusal(error, one.id)

    def refuse(self, one: Waiting, error: SillError) -> bool:
        """Say at once that it is not let in, if it is told when to come again; false if the long way must say it."""
        if "retry_after_s" not in error.details:
            return False
        asyncio.get_running_loop().call_soon(one.done, _refusal(error, one.id))
        return True


def way_of(house: Recognition, route: Route, asked: Asked, tenant: str, model: Model, form: Form) -> KnownWay | None:
    """How a form of body is put to a model; None if it does not fit as it is."""
    plain = model.plain
    if plain is None or form.request.entity or plain.question(form.name, np.zeros(form.shape, form.dtype)) is None:
        return None
    return KnownWay(house, route, model, asked, tenant, form)


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
