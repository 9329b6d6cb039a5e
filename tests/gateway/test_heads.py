"""The short way through the gateway: what is let in at once, and for whom there is always room."""

import asyncio

import pytest

from sill.gateway.heads import Heads, Onward
from sill.gateway.refusals import TOO_MANY
from sill.gateway.router import Router
from sill.safety.limits import InFlight

IN_FLIGHT_MAX = 100
OF_ONE_MAX = 81
"""Nine tenths of the 90 that interactive requests may be."""


class Clients:
    """Tenants who ask replicas that are not there yet: nothing is answered, everything waits."""

    def __init__(self) -> None:
        self.in_flight = InFlight(IN_FLIGHT_MAX)
        self.heads = Heads(Router(), self.in_flight)
        self.told: list[bytes] = []

    def ask(self, tenant: str, times: int) -> None:
        head = tenant.encode()
        onward = Onward(head=b"POST / HTTP/1.1\r\n\r\n", path=b"/", is_repeatable=True, seconds=5.0, tenant=tenant)
        self.heads.learn(head, onward, 0)
        known = self.heads.recall(head)
        assert known is not None
        for _ in range(times):
            assert known.answer(b"", self.told.append)


@pytest.mark.anyio
async def test_one_tenant_cannot_take_all_the_room_there_is() -> None:
    clients = Clients()
    clients.ask("greedy", 1_000)
    held = clients.in_flight.count

    clients.ask("modest", 5)

    assert held == OF_ONE_MAX < IN_FLIGHT_MAX
    assert clients.in_flight.count == held + 5


@pytest.mark.anyio
async def test_who_takes_too_much_is_told_at_once_and_what_is_on_its_way_stays() -> None:
    clients = Clients()
    clients.ask("greedy", OF_ONE_MAX + 3)
    await asyncio.sleep(0)

    assert clients.told == [TOO_MANY] * 3
