"""Parts come in their order; who stops reading stops the model; a model that fails on the way is told of."""

import asyncio
import threading
from collections.abc import Iterator

import pytest

from sill.traffic.streaming import QUEUE_PARTS_MAX, follow


def later(seconds: float = 60.0) -> float:
    return asyncio.get_running_loop().time() + seconds


@pytest.mark.anyio
async def test_every_part_comes_in_order_however_many_there_are() -> None:
    count = 5 * QUEUE_PARTS_MAX

    assert [part async for part in follow(iter(range(count)), later())] == list(range(count))


@pytest.mark.anyio
async def test_who_stops_reading_stops_the_model_and_closes_its_iterator() -> None:
    given, closed = list[int](), threading.Event()

    def parts() -> Iterator[int]:
        try:
            for number in range(1_000_000):
                given.append(number)
                yield number
        finally:
            closed.set()

    stream = follow(parts(), later())
    assert await anext(stream) == 0
    await stream.aclose()

    assert await asyncio.to_thread(closed.wait, 60)
    assert len(given) <= QUEUE_PARTS_MAX + 3


@pytest.mark.anyio
async def test_a_failure_comes_after_the_parts_before_it() -> None:
    def parts() -> Iterator[int]:
        yield 1
        raise ValueError("broken")

    stream = follow(parts(), later())
    assert await anext(stream) == 1
    with pytest.raises(ValueError, match="broken"):
        await anext(stream)


@pytest.mark.anyio
async def test_a_stream_ends_at_its_deadline() -> None:
    ends = threading.Event()

    def parts() -> Iterator[int]:
        ends.wait(60)
        yield 1

    with pytest.raises(TimeoutError):
        async for _ in follow(parts(), later(0.01)):
            pass
    ends.set()
