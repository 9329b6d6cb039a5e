"""Heads that came before, word for word, and were answered well: what goes to the replica is known for them."""

import asyncio
from collections.abc import Callable
from functools import partial

from sill.core.values import Value
from sill.gateway.refusals import TOO_LATE, TOO_MANY, is_refusal
from sill.gateway.router import Ask, Router
from sill.gateway.shedding import Shedding
from sill.safety.limits import SHARES, InFlight

HEADS_MAX = 4_096
HEAD_BYTES_MAX = 4_096
TENANT_SHARE = 0.9
"""The part of what may be on its way at once that one tenant may have: the rest is there when another one comes."""


class Onward(Value, frozen=True, kw_only=True):
    """What is known of a head.

    Attributes:
        head: as it goes to a replica.
        tenant: who asks, by the words of his `Authorization`.
    """

    head: bytes
    path: bytes
    is_repeatable: bool
    seconds: float
    tenant: bytes


class Tenant:
    """How many requests one has on their way."""

    __slots__ = ("open",)

    def __init__(self) -> None:
        self.open = 0


class Heads:
    """All that are known. The oldest are forgotten first.

    Args:
        in_flight: of the gate: those that pass it and those that come this way are counted together.
        in_flight_max: its bound.
    """

    def __init__(self, router: Router, in_flight: InFlight, in_flight_max: int) -> None:
        self.router = router
        self.in_flight = in_flight
        self.of_one_max = max(1, int(in_flight_max * SHARES["interactive"] * TENANT_SHARE))
        self._known: dict[bytes, KnownHead] = {}
        self._tenants: dict[bytes, Tenant] = {}

    def recall(self, head: bytes) -> "KnownHead | None":
        """What is known of a head."""
        return self._known.get(head)

    def learn(self, head: bytes, onward: Onward, body_bytes: int) -> None:
        """Remember a head and how long the body behind it is."""
        if len(head) > HEAD_BYTES_MAX or head in self._known:
            return
        if len(self._known) >= HEADS_MAX:
            del self._known[next(iter(self._known))]
        if len(self._tenants) >= HEADS_MAX:
            self._tenants = {name: one for name, one in self._tenants.items() if one.open}
        tenant = self._tenants.setdefault(onward.tenant, Tenant())
        self._known[head] = KnownHead(self, onward, body_bytes, tenant)


class KnownHead:
    """See `safety.listener.Known`."""

    def __init__(self, house: Heads, onward: Onward, body_bytes: int, tenant: Tenant) -> None:
        self.body_bytes = body_bytes
        self._house = house
        self._onward = onward
        self._tenant = tenant
        self._shedding = Shedding()

    def answer(self, body: bytes, reply: Callable[[bytes], object]) -> bool:
        """Send it on; refused here if too many are on their way, or a replica would refuse it."""
        house, onward, now_s = self._house, self._onward, asyncio.get_running_loop().time()
        if self._tenant.open >= house.of_one_max or not house.in_flight.try_enter():
            return self._refuse(TOO_MANY, reply, now_s)
        if not self._shedding.try_enter(now_s):
            house.in_flight.leave()
            return self._refuse(TOO_LATE, reply, now_s)
        self._tenant.open += 1
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
        self._house.in_flight.leave()
        self._tenant.open -= 1
        if is_refusal(int(answer[9:12]), answer):
            self._shedding.refused(asyncio.get_running_loop().time())
            self._say(reply, came_s, answer)
        else:
            self._shedding.answered()
            reply(answer)
