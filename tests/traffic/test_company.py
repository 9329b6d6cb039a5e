"""Who asks alone has the loop's thread, also for a dear model; who has company does not."""

import asyncio
import threading
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from sill.traffic.batching import Batcher
from sill.traffic.company import COMPANY_S, Company
from sill.traffic.tensors import Question

DEAR_MS = 1.0


class House:
    """A dear model that remembers the threads it ran in, and the company's clock."""

    def __init__(self) -> None:
        self.now_s = 1_000.0
        self.threads: list[threading.Thread] = []
        self.company = Company(lambda: self.now_s)
        self.batcher = Batcher(self.run, self.as_it_is, row_ms=DEAR_MS, can_batch=True, company=self.company)

    def run(self, arrays: Mapping[str, Any]) -> Mapping[str, Any]:
        self.threads.append(threading.current_thread())
        return arrays

    @staticmethod
    def as_it_is(raw: Mapping[str, Any], _rows: int) -> dict[str, Any]:
        return dict(raw)

    async def ask(self) -> None:
        later_s = asyncio.get_running_loop().time() + 60
        await self.batcher.infer(Question(arrays={"x": np.zeros((1, 1))}, rows=1), later_s)

    @property
    def ran_on_the_loop(self) -> bool:
        return self.threads[-1] is threading.main_thread()


@pytest.mark.anyio
async def test_two_who_ask_at_once_are_given_lanes() -> None:
    house = House()

    await asyncio.gather(house.ask(), house.ask())

    assert not house.ran_on_the_loop


@pytest.mark.anyio
async def test_who_came_while_the_loop_was_away_ends_the_solitude_for_a_while() -> None:
    house = House()
    first = asyncio.create_task(house.ask())
    await asyncio.sleep(0)
    second = asyncio.create_task(house.ask())  # its request lay ready when the loop came back
    await asyncio.gather(first, second)

    await house.ask()
    assert not house.ran_on_the_loop

    house.now_s += COMPANY_S
    await house.ask()
    assert house.ran_on_the_loop


@pytest.mark.anyio
async def test_who_asks_again_as_soon_as_he_is_answered_is_alone() -> None:
    house = House()

    for _ in range(5):
        await house.ask()

    assert house.ran_on_the_loop


@pytest.mark.anyio
async def test_a_model_that_became_slow_leaves_the_loop_alone() -> None:
    house = House()
    house.batcher.admission.slowness = 50.0

    await house.ask()

    assert not house.ran_on_the_loop


@pytest.mark.anyio
async def test_one_whose_model_is_too_dear_for_the_loop_is_given_all_cores() -> None:
    wide: list[threading.Thread] = []
    house = House()
    house.batcher.calibrate(50.0, 50.0, can_batch=True)

    def run_wide(arrays: Mapping[str, Any]) -> Mapping[str, Any]:
        wide.append(threading.current_thread())
        return arrays

    house.batcher.run_wide = run_wide
    await house.ask()
    assert len(wide) == 1
    assert wide[0] is not threading.main_thread()

    await asyncio.gather(house.ask(), house.ask())
    assert len(wide) == 1
