"""Models within a bound of memory: who is asked is brought in once, who is not asked leaves, whom it concerns waits."""

import asyncio
import threading
from collections.abc import Callable

import pytest

from sill.core.errors import SillError, Unavailable
from sill.endpoints.types import PlanRevision
from sill.runtimes.port import open_runtime
from sill.testing.serving_models import SIGNATURE, classifier, rows
from sill.traffic.batching import HELD_MAX
from sill.traffic.cache import MODEL_OVERHEAD_BYTES, ModelCache
from sill.traffic.pool import Loaded, Model, measure
from sill.traffic.tensors import Question
from sill.traffic.waiting import Part

CONTENT = classifier()
ROOM_FOR_TWO = 3 * MODEL_OVERHEAD_BYTES - 1


class Shelf:
    """A cache and cold models; loading waits at a gate, and is counted."""

    def __init__(self, models: int, bytes_max: int = ROOM_FOR_TWO, idle_s: float = 0.0) -> None:
        self.cache = ModelCache(bytes_max)
        self.gate = threading.Event()
        self.gate.set()
        self.loads: list[int] = []
        self.failed: list[Exception] = []
        self.models = []
        for number in range(models):
            model = Model(PlanRevision(number=number, model_version=1, files={}, signature=SIGNATURE, weight=100))
            self.cache.add(model, self._load(model), self.failed.append, idle_s)
            self.models.append(model)

    def _load(self, model: Model) -> Callable[[], Loaded]:
        def load() -> Loaded:
            self.gate.wait(60)
            self.loads.append(model.revision.number)
            runtime = open_runtime("onnx", CONTENT)
            return Loaded(runtime=runtime, measures=measure(SIGNATURE, runtime, model.measures), load_ms=1.0)

        return load

    async def ask(self, number: int, seconds: float = 60.0) -> Part:
        deadline_s = asyncio.get_running_loop().time() + seconds
        question = Question(arrays={"input": rows(1, number)}, rows=1)
        model = self.models[number]
        part = await model.batcher.infer(question, deadline_s)
        model.batcher.statistics.told(1, 1.0, 1, is_answer=True)
        return part


@pytest.mark.anyio
async def test_a_model_that_is_not_there_is_loaded_once_for_all_who_ask() -> None:
    shelf = Shelf(1)

    answers = await asyncio.gather(*(shelf.ask(0) for _ in range(50)))

    assert shelf.loads == [0]
    assert len({answer.outputs["label"][0] for answer in answers}) == 1


@pytest.mark.anyio
async def test_models_beyond_the_bound_leave_and_come_back() -> None:
    shelf = Shelf(6)
    for _ in range(2):
        for number in range(6):
            await shelf.ask(number)
            assert shelf.cache.bytes <= shelf.cache.bytes_max

    assert shelf.cache.warm == 2
    assert shelf.loads == [*range(6)] * 2


@pytest.mark.anyio
async def test_the_one_that_is_asked_most_stays() -> None:
    shelf = Shelf(5)
    for number in (1, 2, 3, 4):
        for _ in range(3):
            await shelf.ask(0)
        await shelf.ask(number)

    assert shelf.loads.count(0) == 1


@pytest.mark.anyio
async def test_warm_models_answer_while_another_is_loaded() -> None:
    shelf = Shelf(2)
    await shelf.ask(0)
    shelf.gate.clear()
    held = asyncio.create_task(shelf.ask(1))

    await shelf.ask(0)
    assert not held.done()
    shelf.gate.set()
    await held


@pytest.mark.anyio
async def test_who_is_held_is_told_at_his_deadline_and_when_too_many_are() -> None:
    shelf = Shelf(1)
    shelf.gate.clear()
    told: list[Part | SillError] = []
    now_s = asyncio.get_running_loop().time()
    question = Question(arrays={"input": rows(1)}, rows=1)
    for number in range(HELD_MAX):
        shelf.models[0].batcher.submit(question, now_s + (60 if number else 0), told.append)
    with pytest.raises(Unavailable, match="to be loaded") as refused:
        shelf.models[0].batcher.submit(question, now_s + 60, told.append)
    await asyncio.sleep(0)
    shelf.cache.sweep(0.0)

    assert refused.value.details["retry_after_s"]
    assert ["before the deadline" in str(one) for one in told] == [True]
    shelf.gate.set()
    while len(told) < HELD_MAX:  # noqa: ASYNC110  # the queue answers by a plain call
        await asyncio.sleep(0.001)
    assert sum(isinstance(one, Part) for one in told) == HELD_MAX - 1


@pytest.mark.anyio
async def test_a_model_nobody_asks_leaves_after_its_time_and_wakes_again() -> None:
    shelf = Shelf(1, idle_s=10.0)
    await shelf.ask(0)
    entered_s = asyncio.get_running_loop().time()
    shelf.cache.sweep(entered_s + 5)
    assert shelf.cache.warm == 1

    shelf.cache.sweep(entered_s + 30)
    assert shelf.cache.warm == 0
    await shelf.ask(0)
    assert shelf.loads == [0, 0]


@pytest.mark.anyio
async def test_a_model_that_cannot_be_loaded_is_refused_with_the_reason_and_not_tried_at_once_again() -> None:
    shelf = Shelf(1)
    tries: list[int] = []

    def broken() -> Loaded:
        tries.append(1)
        raise Unavailable("the file is away.")

    shelf.cache.add(shelf.models[0], broken, shelf.failed.append, 0.0)
    for _ in range(3):
        with pytest.raises(Unavailable, match="away"):
            await shelf.ask(0)

    assert len(tries) == len(shelf.failed) == 1


@pytest.mark.anyio
async def test_a_model_larger_than_everything_may_be_is_refused_and_the_bound_told() -> None:
    shelf = Shelf(1, bytes_max=MODEL_OVERHEAD_BYTES)

    with pytest.raises(Unavailable, match=f"{MODEL_OVERHEAD_BYTES:,}"):
        await shelf.ask(0)
    assert shelf.cache.bytes == 0


@pytest.mark.anyio
async def test_a_model_that_left_the_plan_is_closed_and_its_memory_counted_no_more() -> None:
    shelf = Shelf(3)
    for number in range(3):
        await shelf.ask(number)  # the bound holds two: one of them was closed for another

    shelf.cache.keep_only(shelf.models[2:])

    assert [model.is_warm for model in shelf.models] == [False, False, True]
    assert shelf.cache.bytes == shelf.models[2].memory_bytes + MODEL_OVERHEAD_BYTES
    with pytest.raises(Unavailable, match="no more"):
        await shelf.ask(0)


@pytest.mark.anyio
async def test_a_model_that_left_the_plan_answers_first_who_waits_for_it() -> None:
    shelf = Shelf(1)
    shelf.gate.clear()
    held = asyncio.create_task(shelf.ask(0))
    while not shelf.models[0].batcher.waiting:  # noqa: ASYNC110  # the queue tells nobody
        await asyncio.sleep(0)

    shelf.cache.keep_only([])
    shelf.gate.set()
    assert (await held).outputs["label"]
    shelf.cache.sweep(0.0)

    assert not shelf.models[0].is_warm
    assert shelf.cache.bytes == 0
