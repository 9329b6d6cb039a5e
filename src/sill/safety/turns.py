"""What connections of a listener share: which of them wait for their turn, and which for a head."""

import asyncio
from collections import OrderedDict, deque
from typing import Any, Protocol


class Waiting(Protocol):
    """A connection that has said something which was not heard yet."""

    def go_on(self) -> None:
        """Hear it."""
        ...


class Idle(Protocol):
    """A connection that waits for a head."""

    transport: Any


class Turns:
    """Only so many connections are heard in one turn of the loop, before the others have theirs.

    For those that come at the same moment and for those that ask ahead: to make out that a request is none costs as
    much as to hand on a good one, and without this thirty bad ones would be dealt with before anybody else.
    """

    def __init__(self, at_once: int) -> None:
        self._at_once = self._left = at_once
        self._waiting: deque[Waiting] = deque()

    def may_go_on(self, connection: Waiting) -> bool:
        """True if it may be heard now; else it is told to `go_on` later."""
        if self._left == self._at_once:
            asyncio.get_running_loop().call_soon(self._next_turn)
        if self._left:
            self._left -= 1
            return True
        self._waiting.append(connection)
        return False

    def _next_turn(self) -> None:
        heard = min(self._at_once, len(self._waiting))
        self._left = self._at_once - heard
        if heard:
            asyncio.get_running_loop().call_soon(self._next_turn)
        for _ in range(heard):
            self._waiting.popleft().go_on()


class IdleConnections:
    """Which connections wait for a head, by address, the oldest first."""

    def __init__(self, per_address_max: int) -> None:
        self._per_address_max = per_address_max
        self._by_address: dict[str, OrderedDict[Idle, None]] = {}

    def add(self, address: str, connection: Idle) -> None:
        idle = self._by_address.setdefault(address, OrderedDict())
        idle[connection] = None
        if len(idle) > self._per_address_max:
            oldest, _ = idle.popitem(last=False)
            oldest.transport.close()

    def discard(self, address: str, connection: Idle) -> None:
        idle = self._by_address.get(address)
        if idle is not None:
            idle.pop(connection, None)
            if not idle:
                del self._by_address[address]
