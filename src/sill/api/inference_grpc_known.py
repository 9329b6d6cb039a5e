"""The short way of a message that differs from an earlier one, of the same head, in its numbers (and id) only.

See docs/decisions/0010-the-short-way.md.
"""

import time
from collections.abc import Callable
from functools import cached_property, partial
from typing import Any

import numpy as np

from sill.core.errors import SillError
from sill.endpoints.types import PlanToken
from sill.protocols.oip.grpc_forms import GrpcAnswerForm, GrpcForm
from sill.safety.limits import InFlight
from sill.traffic.alike import Alike, Chosen, House
from sill.traffic.plane import timeout_s
from sill.traffic.pool import Model, Route
from sill.traffic.recording import Asked
from sill.traffic.waiting import Answered, Waiting

Tell = Callable[[bytes | SillError], None]
"""Called once with an answer's message, or with why there is none."""


class Running:
    """What is to be undone when a call is taken back."""

    __slots__ = ("_in_flight", "_tenant", "is_done", "waiting")

    def __init__(self, in_flight: InFlight, tenant: str, waiting: Waiting | None = None) -> None:
        self._in_flight = in_flight
        self._tenant = tenant
        self.is_done = False
        self.waiting = waiting

    def done(self) -> None:
        """The house has room for another. May be called again."""
        if not self.is_done:
            self.is_done = True
            self._in_flight.leave(1, self._tenant)

    def cancel(self) -> None:
        """Nobody waits any more."""
        if self.waiting is not None:
            self.waiting.is_cancelled = True
        self.done()


class KnownRunning(Running):
    """The same for a request that is answered together with others: the house has room once they are, or it is taken back."""

    __slots__ = ()

    def cancel(self) -> None:
        if self.waiting is not None and not self.waiting.is_cancelled:
            super().cancel()


class KnownMessage:
    """One form of message, and what was decided for the first of it. It holds for one plan, as its head's access does."""

    def __init__(self, house: House, token: PlanToken, route: Route, asked: Asked, form: GrpcForm) -> None:
        self._house = house
        self._tenant = token.digest
        self.form = form
        self._asked = asked
        self._endpoint = route.endpoint
        self._own_ms = form.asked.request.timeout_ms
        self._seconds_max = timeout_s(route.endpoint, self._own_ms)
        self._chosen = Chosen(house.plane, route, asked, partial(way_of, house, route, asked, token.digest))

    def submit(self, request_id: str, packed: bytes, tell: Tell, call_s: float) -> Running | None:
        """Queue a message of the form, see `Infer.submit`; None if it does not fit the model as it is.

        Args:
            request_id, packed: what the form read in it.
            call_s: the time limit of the call, 0 for none; the message's own goes before it.
        Raises:
            SillError: it was not queued.
        """
        house = self._house
        request_id = request_id or house.plane.new_id()
        way = self._chosen.way(self.form, request_id)
        if way is None:
            return None
        house.in_flight.take("interactive", self._tenant)
        seconds = timeout_s(self._endpoint, call_s * 1e3) if call_s and not self._own_ms else self._seconds_max
        # By their places, because names cost: rows, deadline, done, question, group, packed, id.
        waiting = Waiting(way.rows, time.monotonic() + seconds, tell, None, way, packed, request_id)
        try:
            way.enqueue(waiting, self._tenant, self._asked.priority)
        except SillError:
            house.in_flight.leave(1, self._tenant)
            raise
        return KnownRunning(house.in_flight, self._tenant, waiting)


class KnownMessages(Alike):
    """One form of message to one model."""

    def __init__(self, house: House, route: Route, model: Model, asked: Asked, tenant: str, form: GrpcForm) -> None:
        super().__init__(house, route, model, asked, tenant, form.name, form.shape[0])
        self._read = form.asked

    @cached_property
    def _answers(self) -> GrpcAnswerForm:
        """Made with the first answer: before it, the model need not be in memory."""
        read, model = self._read, self.model
        version = model.revision.model_version
        return GrpcAnswerForm(read.model_name, version, parameters_of(model), read, model.example, self.rows)

    def reply_all(self, batch: list[Waiting], answered: Answered) -> list[Waiting]:
        """See `Alike`."""
        write = self._answers.over(answered.outputs)
        for one in batch:
            one.done(write(one.id.encode(), one.start))
        return batch

    def refusal(self, one: Waiting, error: SillError) -> Any:
        """See `Alike`."""
        return error


def way_of(house: House, route: Route, asked: Asked, tenant: str, model: Model, form: GrpcForm) -> KnownMessages | None:
    """How a form of message is put to a model; None if it does not fit as it is."""
    plain = model.plain
    if plain is None or plain.question(form.name, np.zeros(form.shape, form.dtype)) is None:
        return None
    return KnownMessages(house, route, model, asked, tenant, form)


def parameters_of(model: Model) -> dict[str, Any]:
    """What every answer says besides its outputs."""
    return {"model_version": model.revision.model_version, "revision": model.revision.number}
