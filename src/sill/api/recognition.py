"""The short way of a request that differs from an earlier one in its numbers only.

The first request of its kind goes the long way, through gate, door and protocol. What was decided there about the
very same bytes (who asks, of whom, in which form) holds until the next plan, and is not decided again.
"""

import time
from collections.abc import Callable
from functools import partial

from sill.core.clock import Clock
from sill.core.errors import SillError
from sill.endpoints.types import PlanToken
from sill.protocols.oip.codec import BINARY_HEADER, BINARY_TYPE, JSON_TYPE
from sill.protocols.oip.errors import error_body
from sill.protocols.oip.forms import AnswerForm, Form
from sill.safety.gate import SECURITY_HEADERS, problem_body
from sill.safety.limits import InFlight
from sill.traffic.batching import Part
from sill.traffic.plane import Plane, Way, timeout_s
from sill.traffic.pool import Model, Route
from sill.traffic.recording import Asked
from sill.traffic.tensors import to_question

HEADS_MAX = 4_096
HEAD_BYTES_MAX = 4_096
FORMS_MAX = 8
"""Forms of body remembered for one head."""
REASONS = {400: b"Bad Request", 422: b"Unprocessable Entity", 429: b"Too Many Requests", 503: b"Service Unavailable"}

_FIXED = b"".join(name + b": " + value + b"\r\n" for name, value in SECURITY_HEADERS)


class Recognition:
    """The heads that are known. The oldest are forgotten first."""

    def __init__(self, plane: Plane, in_flight: InFlight, clock: Clock) -> None:
        self.plane = plane
        self.in_flight = in_flight
        self.clock = clock
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
        self._house = house
        self._token = token
        self._route = route
        self._version = asked.version
        self._sticky_key = asked.sticky_key
        self._seconds = timeout_s(route.endpoint, asked.timeout_ms)
        self._answers: dict[tuple[int, Form], AnswerForm] = {}

    def answer(self, body: bytes, reply: Callable[[bytes], None]) -> bool:
        """See `safety.listener.Known`. False for everything that is not plainly good: the long way says what is wrong."""
        house = self._house
        plane, expires_us = house.plane, self._token.expires_us
        if expires_us and expires_us <= house.clock.now_us():
            return False
        for form in self.forms:
            tensor = form.read(body)
            if tensor is not None:
                break
        else:
            return False
        if not house.in_flight.try_enter():
            return False
        started_s = time.perf_counter()
        route, request_id = self._route, plane.new_id()
        try:
            model = plane.choose(route, self._version, self._sticky_key or request_id)
            question = model.plain.question(form.name, tensor) if model.plain is not None else None
            if question is None:
                question = to_question(model.signature, {form.name: tensor})
            endpoint = route.endpoint
            asked = Asked(
                id=request_id,
                project=endpoint.project,
                endpoint=endpoint.name,
                tensors={form.name: tensor},
                version=self._version,
                sticky_key=self._sticky_key,
            )
            deadline_s = plane.now_s() + self._seconds
            way = Way(
                asked=asked, route=route, model=model, question=question, deadline_s=deadline_s, started_s=started_s
            )
            model.batcher.submit(question, deadline_s, partial(self._tell, way, form, reply), self._token.digest)
        except SillError:
            house.in_flight.leave()
            return False
        return True

    def _tell(self, way: Way, form: Form, reply: Callable[[bytes], None], told: Part | SillError) -> None:
        self._house.in_flight.leave()
        if isinstance(told, Part):
            answer = self._answers.get((way.model.revision.number, form)) or self._answer_form(way.model, form)
            batch = told.of
            body, header_bytes = answer.write(way.asked.id, batch.outputs, batch.lists, told.start, told.end)
            reply(_head(b"200 OK", way.asked.id, body, header_bytes))
        else:
            body = error_body(problem_body(told, way.asked.id))
            reason = REASONS.get(told.status, b"Internal Server Error")
            reply(_head(b"%d %s" % (told.status, reason), way.asked.id, body))
        self._house.plane.remember(way, told)

    def _answer_form(self, model: Model, form: Form) -> AnswerForm:
        revision = model.revision
        parameters = {"model_version": revision.model_version, "revision": revision.number}
        answer = AnswerForm(self._route.endpoint.name, revision.model_version, parameters, form.request, model.example)
        self._answers[revision.number, form] = answer
        return answer


def _head(status: bytes, request_id: str, body: bytes, header_bytes: int | None = None) -> bytes:
    kind = JSON_TYPE if header_bytes is None else BINARY_TYPE + b"\r\n" + BINARY_HEADER + b": %d" % header_bytes
    return b"HTTP/1.1 %s\r\n%scontent-type: %s\r\ncontent-length: %d\r\nx-request-id: %s\r\n\r\n%s" % (
        status,
        _FIXED,
        kind,
        len(body),
        request_id.encode(),
        body,
    )
