"""Every tenant gets its turn; shapes that differ do not share a batch; what nobody waits for is not answered."""

import asyncio
import threading
import time
from collections.abc import Mapping
from math import ceil
from typing import Any

import numpy as np
import pytest

from sill.core.errors import Limited, SillError
from sill.traffic.batching import CORES, Batcher
from sill.traffic.queueing import WAITING_MAX
from sill.traffic.tensors import Question
from sill.traffic.waiting import Part


class Model:
    """Answers each row with its own number, and remembers what it was asked together."""

    def __init__(self) -> None:
        self.batches: list[list[float]] = []

    def run(self, arrays: Mapping[str, Any]) -> Mapping[str, Any]:
        self.batches.append(arrays["x"].reshape(len(arrays["x"]), -1)[:, 0].tolist())
        return {"x": arrays["x"]}


def batcher_of(model: Model, rows_max: int = 4, row_ms: float = 0.01) -> Batcher:
    batcher = Batcher(model.run, lambda raw, _rows: raw, row_ms=row_ms, can_batch=True)
    batcher.rows_max = rows_max
    return batcher


def question(number: float, width: int = 1) -> Question:
    return Question(arrays={"x": np.full((1, width), number)}, rows=1, form=(width,))


def later() -> float:
    return asyncio.get_running_loop().time() + 60


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.mark.anyio
async def test_a_tenant_with_one_request_is_in_the_next_batch_however_many_another_has() -> None:
    model = Model()
    batcher = batcher_of(model)
    for number in range(20):
        batcher.submit(question(number), later(), lambda _: None, "busy")
    batcher.submit(question(100), later(), lambda _: None, "quiet")

    await settle()

    assert 100.0 in model.batches[0]
    assert sorted(number for batch in model.batches for number in batch) == [*map(float, range(20)), 100.0]


@pytest.mark.anyio
async def test_answers_come_in_the_order_of_a_tenants_requests() -> None:
    model, told = Model(), list[float]()

    def done(part: Part | SillError) -> None:
        assert isinstance(part, Part)
        told.append(float(part.outputs["x"][0, 0]))

    batcher = batcher_of(model, rows_max=3)
    for number in range(10):
        batcher.submit(question(number), later(), done)

    await settle()

    assert told == [*map(float, range(10))]


@pytest.mark.anyio
async def test_ragged_shapes_are_grouped() -> None:
    model = Model()
    batcher = batcher_of(model, rows_max=100)
    for number, width in enumerate((1, 1, 2, 2, 1)):
        batcher.submit(question(number, width), later(), lambda _: None)

    await settle()

    assert model.batches == [[0.0, 1.0], [2.0, 3.0], [4.0]]


@pytest.mark.anyio
async def test_who_filled_the_queue_is_refused_and_who_did_not_is_let_in() -> None:
    batcher = batcher_of(Model())
    for number in range(WAITING_MAX):
        batcher.submit(question(number), later(), lambda _: None, "busy")

    with pytest.raises(Limited):
        batcher.submit(question(0), later(), lambda _: None, "busy")
    batcher.submit(question(0), later(), lambda _: None, "quiet")


@pytest.mark.anyio
async def test_a_request_nobody_waits_for_is_not_asked() -> None:
    model = Model()
    batcher = batcher_of(model)
    gone = asyncio.create_task(batcher.infer(question(1), later()))
    stays = asyncio.create_task(batcher.infer(question(2), later()))
    await asyncio.sleep(0)
    gone.cancel()
    await stays

    assert 2.0 in [number for batch in model.batches for number in batch]


@pytest.mark.anyio
async def test_dear_models_run_in_lanes_and_the_loop_goes_on() -> None:
    model = Model()
    batcher = batcher_of(model, row_ms=50.0)

    answers = await asyncio.gather(*(batcher.infer(question(number), later()) for number in range(9)))

    assert [float(answer.outputs["x"][0, 0]) for answer in answers] == [*map(float, range(9))]


@pytest.mark.anyio
@pytest.mark.parametrize("lanes", [1, 3])
async def test_no_more_batches_of_a_dear_model_run_at_once_than_it_has_lanes(lanes: int) -> None:
    running, most = 0, 0
    counting = threading.Lock()

    def run(arrays: Mapping[str, Any]) -> Mapping[str, Any]:
        nonlocal running, most
        with counting:
            running += 1
            most = max(most, running)
        time.sleep(0.005)
        with counting:
            running -= 1
        return arrays

    batcher = Batcher(run, lambda raw, _rows: dict(raw), row_ms=50.0, can_batch=False, lanes=lanes)
    await asyncio.gather(*(batcher.infer(question(number), later()) for number in range(12)))

    assert most == lanes


@pytest.mark.anyio
async def test_what_waits_for_a_dear_model_is_shared_out_among_the_lanes() -> None:
    model = Model()
    batcher = batcher_of(model, rows_max=64, row_ms=50.0)

    await asyncio.gather(*(batcher.infer(question(number), later()) for number in range(9)))

    assert max(map(len, model.batches)) == ceil(9 / CORES)
