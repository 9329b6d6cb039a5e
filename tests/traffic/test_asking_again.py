"""What a model's dead process did not answer is asked once more of a fresh one; what kills it twice fails alone."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
from tests.runtimes.conftest import doubling

from sill.core.errors import SillError, Unavailable
from sill.runtimes.port import Runtime, WorkerDied, open_runtime
from sill.traffic.asking_again import AT_ONCE, Again
from sill.traffic.batching import Batcher
from sill.traffic.tensors import Question

DIES_ONCE, DIES_ALWAYS = 5, 666
CODE = """
import os
from pathlib import Path


def predict(inputs):
    x = inputs["x"]
    seen = Path(os.environ["TMPDIR"]) / "seen"
    is_new = not seen.exists()
    if 666 in x or (5 in x and is_new):
        seen.touch()
        os._exit(3)
    return {"y": x * 2}
"""


@pytest.fixture
def runtime(tmp_path: Path) -> Iterator[Runtime]:
    (tmp_path / "code.py").write_text(CODE)
    spec = {"file": "code.py", "name": "predict", "signature": doubling()}
    (tmp_path / "callable.json").write_bytes(msgspec.json.encode(spec))
    opened = open_runtime("python", tmp_path)
    yield opened
    opened.close()


async def answers(runtime: Runtime, *values: float) -> list[float | SillError]:
    """Of one batch."""
    batcher = Batcher(runtime.infer, lambda raw, _rows: dict(raw), row_ms=5.0, batch_row_ms=0.0, can_batch=True)
    batcher.rows_max = len(values)

    async def answer(value: float) -> float | SillError:
        rows = {"x": np.full((1, 3), value, np.float32)}
        try:
            part = await batcher.infer(Question(arrays=rows, rows=1, form=(3,)), time.monotonic() + 60)
        except SillError as failed:
            return failed
        return float(part.outputs["y"][0, 0])

    return list(await asyncio.gather(*map(answer, values)))


@pytest.mark.anyio
async def test_a_request_whose_process_died_is_asked_once_more_and_answered(runtime: Runtime) -> None:
    assert await answers(runtime, DIES_ONCE) == [10.0]


@pytest.mark.anyio
async def test_a_row_that_kills_the_process_twice_fails_alone(runtime: Runtime) -> None:
    first, bad, last = await answers(runtime, 1.0, DIES_ALWAYS, 3.0)

    assert (first, last) == (2.0, 6.0)
    assert isinstance(bad, WorkerDied)


def test_what_is_asked_again_is_bounded_by_time_and_by_a_budget() -> None:
    died, again = WorkerDied("it died."), Again()
    soon = time.monotonic() + 60

    assert not again.may(Unavailable("it is late."), soon)
    assert not again.may(died, time.monotonic() - 1)
    assert [again.may(died, soon) for _ in range(int(AT_ONCE) + 1)] == [True] * int(AT_ONCE) + [False]
