"""Requests alike, of one client to one model: packed rows into its queue, answers back, and note taken of them together.

What was decided for the first of them holds for all; how their answers go over the wire is left to a subclass.
"""

import time
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import msgspec

from sill.core.clock import Clock
from sill.core.errors import SillError
from sill.safety.limits import InFlight
from sill.traffic.plane import Plane, Way
from sill.traffic.pool import Model, Route
from sill.traffic.recording import Asked, SeenTogether
from sill.traffic.statistics import ranges_of
from sill.traffic.tensors import Question
from sill.traffic.waiting import Answered, Part, Waiting

F = TypeVar("F")
W = TypeVar("W")


class House:
    """What all requests go through, whatever their protocol.

    Attributes:
        notes_what_was_taken: an answer that nobody was there to take is no row of the log: a gateway has asked another
            replica the same, and has its answer.
    """

    def __init__(self, plane: Plane, in_flight: InFlight, clock: Clock) -> None:
        self.notes_what_was_taken = False
        self.plane = plane
        self.in_flight = in_flight
        self.clock = clock


class Alike:
    """See `waiting.Group`. Only for a model whose input is packed, and requests of that one input.

    Args:
        asked: what the requests have in common.
        tenant: who asks, as the house counts.
        name: what they call the input.
        rows: of each request.
    """

    def __init__(
        self, house: House, route: Route, model: Model, asked: Asked, tenant: str, name: str, rows: int
    ) -> None:
        assert model.packing is not None
        self.packing = model.packing
        self.rows = rows
        self.enqueue = model.batcher.enqueue
        self.model = model
        self.house = house
        self._route = route
        self._tenant = tenant
        self._name = name
        self._asked = msgspec.structs.replace(asked, id="-", tensors={})

    def reply_all(self, batch: list[Waiting], answered: Answered) -> list[Waiting]:
        """Give everybody his answer; returned are those who were there to take it."""
        raise NotImplementedError

    def refusal(self, one: Waiting, error: SillError) -> Any:
        """What `one.done` is called with when there is no answer."""
        raise NotImplementedError

    def told(self, batch: list[Waiting], answered: Answered) -> None:
        """Answer all who wait still, then take note of them."""
        batch = [one for one in batch if not one.is_cancelled]
        for one in batch:
            one.is_cancelled = True  # who takes it back from now on is too late
        self.house.in_flight.leave(len(batch), self._tenant)
        taken = self.reply_all(batch, answered)
        if self.house.notes_what_was_taken:
            batch = taken
        if batch:
            self._note(batch, answered)

    def failed(self, one: Waiting, error: SillError) -> None:
        """Say why there is no answer, and take note of it."""
        one.is_cancelled = True
        self.house.in_flight.leave(1, self._tenant)
        one.done(self.refusal(one, error))
        self.house.plane.remember(self._way(one), error)

    def _note(self, batch: list[Waiting], answered: Answered) -> None:
        """The first ones with their payload, as far as the log's rate goes; the others are counted together."""
        plane, model, route = self.house.plane, self.model, self._route
        if route.shadows:  # each is copied
            for one in batch:
                plane.remember(self._way(one), Part(answered, one.start, one.start + one.rows))
            return
        now_ns, at_us = time.perf_counter_ns(), self.house.clock.now_us()
        ranges = ranges_of([(now_ns - one.came_ns) / 1e6 for one in batch])
        model.batcher.statistics.told_all(self.rows, ranges, at_us // 1_000)
        rest = plane.recorder.note_together(
            SeenTogether(self._asked, route.endpoint, model, batch, answered, at_us, now_ns)
        )
        if rest:
            if rest is not batch:
                ranges = ranges_of([(now_ns - one.came_ns) / 1e6 for one in rest])
            cpu_ms = answered.cpu_ms * self.rows / max(answered.rows, 1)
            plane.recorder.count_all(route.endpoint, model, at_us, ranges, self.rows, cpu_ms)

    def _way(self, one: Waiting) -> Way:
        """The request as it is on the long way."""
        arrays = one.arrays()
        (array,) = arrays.values()
        return Way(
            asked=msgspec.structs.replace(self._asked, id=one.id, tensors={self._name: array}),
            route=self._route,
            model=self.model,
            question=Question(arrays=arrays, rows=one.rows),
            deadline_s=one.deadline_s,
            started_s=one.came_ns / 1e9,
        )


class Chosen(Generic[F, W]):
    """Which model each of the requests alike goes to: always the same, or one by weight and key.

    Args:
        make: the way of requests to a model; None if they do not fit it as they are.
    """

    __slots__ = ("_asked", "_is_settled", "_make", "_plane", "_route", "_ways")

    def __init__(self, plane: Plane, route: Route, asked: Asked, make: Callable[[Model, F], W | None]) -> None:
        self._plane = plane
        self._route = route
        self._asked = asked
        self._make = make
        self._is_settled = len(route.answering) == 1
        self._ways: dict[tuple[F, Model | None], W | None] = {}

    def way(self, form: F, request_id: str) -> W | None:
        """How a form of request is put to the model a request goes to; None if it does not fit as it is.

        Raises:
            Unavailable: no revision has a part of the traffic.
        """
        model = None if self._is_settled else self._model(request_id)
        key = (form, model)
        if key not in self._ways:
            self._ways[key] = self._make(model or self._model(request_id), form)
        return self._ways[key]

    def _model(self, request_id: str) -> Model:
        return self._plane.choose(self._route, self._asked.version, self._asked.sticky_key or request_id)
