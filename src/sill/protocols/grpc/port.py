"""What the framing asks of those who answer calls, and what it gives them."""

from typing import Any, Protocol

from sill.protocols.grpc.heads import Head
from sill.protocols.grpc.limits import GrpcLimits
from sill.protocols.grpc.status import Status
from sill.safety.bodies import Content
from sill.safety.limits import MemoryBudget


class Call(Protocol):
    """One call, as who answers it sees it. Use it from the event loop's thread. Calls that are over ignore all of it."""

    head: Head
    state: Any
    """Free for who answers; None at first."""

    @property
    def is_over(self) -> bool:
        """True once it was answered, or the client took it back or left."""
        ...

    def reply(self, message: bytes) -> None:
        """The one answer of a unary call, and its end."""
        ...

    def send(self, message: bytes) -> None:
        """One answer of a streaming call."""
        ...

    def end(self, status: Status = Status.OK, message: str = "") -> None:
        """The end of the call, without a further answer."""
        ...

    async def room(self) -> None:
        """Return once all that was sent is on its way, or the call is over: who sends much waits for who reads slowly."""
        ...

    def taken(self, size_bytes: int) -> None:
        """A message of a streaming call, so long, was dealt with; the client may send another in its place."""
        ...


class Method(Protocol):
    """A method that is served. Errors are raised as `CallError`; whatever else is raised ends the call as INTERNAL."""

    is_streaming: bool

    def admit(self, head: Head) -> None:
        """Called before the body of a call is waited for; may refuse it."""
        ...

    def message(self, call: Call, content: Content) -> None:
        """A whole message: the one of a unary call, which is answered by `reply`, or the next of a stream."""
        ...

    def half_closed(self, call: Call) -> None:
        """The client of a streaming call sends no more."""
        ...

    def cancelled(self, call: Call) -> None:
        """The client took the call back, or left, before it was over."""
        ...


class Service(Protocol):
    """Finds methods."""

    def find(self, path: str) -> Method:
        """The method of a path, as `/package.Service/Method`.

        Raises:
            CallError: UNIMPLEMENTED, or the head alone is reason enough to refuse.
        """
        ...

    def check(self, head: Head) -> None:
        """Look at a head for the first time on a connection (names it may ask for, for instance); may refuse it."""
        ...


class House(Protocol):
    """What all connections of a server share."""

    limits: GrpcLimits
    service: Service
    memory: MemoryBudget | None
    tick: int
    """Rises with time; see `TICK_S` of the server."""

    def enter(self, connection: Any) -> bool:
        """A connection was made; false if there are too many."""
        ...

    def leave(self, connection: Any) -> None:
        """It is gone."""
        ...
