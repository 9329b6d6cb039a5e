"""Heads that came before, word for word, and were answered well: what goes to the replica is known for them."""

import asyncio
from collections.abc import Callable
from functools import partial

from sill.core.values import Value
from sill.gateway.refusals import TOO_LATE, TOO_MANY, is_refusal
from sill.gateway.router import Ask, Router
from sill.gateway.shedding import Shedding
from sill.safety.limits import InFlight

HEADS_MAX = 4_096
HEAD_BYTES_MAX = 4_096


class Onward(Value, frozen=True, kw_only=True):
    """What is known of a head.

    Attributes:
        head: as it goes to a replica.
        tenant: who asks, as the gate counts.
    """

    head: bytes
    path: bytes
    is_repeatable: bool
    seconds: float
    tenant: str


class Heads:
    """All that are known. The oldest are forgotten first.

    Args:
        in_flight: of the gate: those that pass it and those that come this way are counted together.
    """

    def __init__(self, router: Router, in_flight: InFlight) -> None:
        self.router = router
        self.in_flight = in_flight
        self._known: dict[bytes, KnownHead] = {}

    def recall(self, head: bytes) -> "KnownHead | None":
        """What is known of a head."""
        return self._known.get(head)

    def learn(self, head: bytes, onward: Onward, body_bytes: int) -> None:
        """Remember a head and how long the body behind it is."""
        if len(head) > HEAD_BYTES_MAX or head in self._known:
            return
        if len(self._known) >= HEADS_MAX:
            del self._known[next(iter(self._known))]
        self._known[head] = KnownHead(self, onward, body_bytes)


class KnownHead:
    """See `safety.listener.Known`."""

    def __init__(self, house: Heads, onward: Onward, body_bytes: int) -> None:
        self.body_bytes = body_bytes
        self._house = house
        self._onward = onward
        self._shedding = Shedding()

    def answer(self, body: bytes, reply: Callable[[bytes], object]) -> bool:
        """Send it on; refused here if too many are on their way, or a replica would refuse it."""
        house, onward, now_s = self._house, self._onward, asyncio.get_running_loop().time()
        if not house.in_flight.try_enter("interactive", onward.tenant):
            return self._refuse(TOO_MANY, reply, now_s)
        if not self._shedding.try_enter(now_s):
            house.in_flight.leave(1, onward.tenant)
            return self._refuse(TOO_LATE, reply, now_s)
        ask = Ask(
            house.router,
            onward.head + body,
            onward.path,
            partial(self._tell, reply, now_s),
            is_repeatable=onward.is_repeatable,
            seconds=onward.seconds,
        )
        house.router.send(ask)
        return True

    def _refuse(self, answer: bytes, reply: Callable[[bytes], object], came_s: float) -> bool:
        self._house.router.counts["shed"] += 1
        asyncio.get_running_loop().call_soon(self._say, reply, came_s, answer)
        return True

    def _say(self, reply: Callable[[bytes], object], came_s: float, answer: bytes) -> None:
        """A refusal, and what it took since it was read."""
        reply(answer)
        self._house.router.refused.add(asyncio.get_running_loop().time() - came_s)

    def _tell(self, reply: Callable[[bytes], object], came_s: float, answer: bytes) -> None:
        self._house.in_flight.leave(1, self._onward.tenant)
        now_s = asyncio.get_running_loop().time()
        if is_refusal(int(answer[9:12]), answer):
            self._shedding.refused(now_s)
            self._say(reply, came_s, answer)
        else:
            self._shedding.answered(now_s)
            reply(answer)
