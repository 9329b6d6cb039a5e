"""Whose turn it is among the connections of a listener."""

import asyncio

import pytest

from sill.safety.turns import Turns


class Client:
    """A connection that notes when it was heard."""

    def __init__(self, heard: list["Client"]) -> None:
        self._heard = heard

    def go_on(self) -> None:
        self._heard.append(self)


@pytest.mark.anyio
async def test_only_so_many_are_heard_in_one_turn_and_the_rest_in_their_order() -> None:
    heard: list[Client] = []
    turns, clients = Turns(2), [Client(heard) for _ in range(7)]

    at_once = [one for one in clients if turns.may_go_on(one)]
    counts = []
    for _ in range(3):
        await asyncio.sleep(0)
        counts.append(len(heard))

    assert at_once == clients[:2]
    assert counts == [2, 4, 5]
    assert heard == clients[2:]


@pytest.mark.anyio
async def test_who_comes_in_the_next_turn_is_heard_at_once() -> None:
    turns = Turns(1)
    one, other = Client([]), Client([])

    assert turns.may_go_on(one)
    await asyncio.sleep(0)
    assert turns.may_go_on(other)
