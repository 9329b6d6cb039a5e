"""Whatever arrives together: answers are those got alone, in order; the poisoned fail alone; who sends little waits little."""

import asyncio
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sill.core.errors import SillError
from sill.traffic.batching import Batcher
from sill.traffic.tensors import Question
from sill.traffic.waiting import Part

POISON = -1.0
IMAGE, SEQUENCE = "image", "sequence"
requests = st.lists(
    st.tuples(st.sampled_from(["a", "b", "c"]), st.integers(1, 4), st.integers(1, 5), st.booleans()),
    min_size=1,
    max_size=30,
)
"""Tenant, rows, length of the sequences, whether it is poisoned."""


def answer(arrays: Mapping[str, Any]) -> dict[str, Any]:
    """Two inputs, images and sequences; a row's answer depends on both, and a poisoned row spoils its whole batch."""
    if (arrays[IMAGE] == POISON).any():
        raise ValueError("poisoned")
    return {"sum": arrays[IMAGE].sum(axis=(1, 2, 3)) + 2 * arrays[SEQUENCE].max(axis=1)}


def question(seed: int, rows: int, length: int, is_poisoned: bool) -> Question:
    chance = np.random.default_rng(seed)
    image = chance.integers(0, 9, (rows, 3, 2, 2)).astype(np.float64)
    if is_poisoned:
        image[0, 0, 0, 0] = POISON
    sequence = chance.integers(0, 9, (rows, length)).astype(np.float64)
    return Question(arrays={IMAGE: image, SEQUENCE: sequence}, rows=rows, form=((3, 2, 2), (length,)))


@pytest.mark.parametrize("row_ms", [0.001, 1.0], ids=["inline", "in lanes"])
@settings(max_examples=30, deadline=None)
@given(asked=requests, rows_max=st.integers(1, 12))
def test_whatever_arrives_together_is_answered_as_if_it_came_alone(
    row_ms: float, asked: list[tuple[str, int, int, bool]], rows_max: int
) -> None:
    questions = [question(seed, *one[1:]) for seed, one in enumerate(asked)]

    async def ask() -> list[Any]:
        batcher = Batcher(answer, lambda raw, _rows: dict(raw), row_ms=row_ms, can_batch=True)
        batcher.rows_max = rows_max
        later = asyncio.get_running_loop().time() + 600
        every = (batcher.infer(one, later, tenant) for one, (tenant, *_) in zip(questions, asked, strict=True))
        return await asyncio.gather(*every, return_exceptions=True)

    for told, one, (*_, is_poisoned) in zip(asyncio.run(ask()), questions, asked, strict=True):
        assert isinstance(told, SillError) == is_poisoned
        if not is_poisoned:
            assert np.array_equal(told.outputs["sum"], answer(one.arrays)["sum"])


async def batch_of_each(quiet: int, busy: int, rows_max: int) -> list[int]:
    """In which batch each of the quiet tenant's requests was, while another sends so many at once."""
    batches, places = 0, list[int]()

    def run(arrays: Mapping[str, Any]) -> Mapping[str, Any]:
        nonlocal batches
        batches += 1
        return arrays

    def done(_: Part | SillError) -> None:
        places.append(batches)

    batcher = Batcher(run, lambda raw, _rows: dict(raw), row_ms=0.001, can_batch=True)
    batcher.rows_max = rows_max
    later, one = asyncio.get_running_loop().time() + 600, Question(arrays={"x": np.zeros((1, 1))}, rows=1)
    for _ in range(busy):
        batcher.submit(one, later, lambda _: None, "busy")
    for _ in range(quiet):
        batcher.submit(one, later, done, "quiet")
    while len(places) < quiet:  # noqa: ASYNC110  # the queue answers by a plain call
        await asyncio.sleep(0)
    return places


@settings(max_examples=20, deadline=None)
@given(quiet=st.integers(1, 20), rows_max=st.integers(2, 32))
def test_ten_times_a_tenants_share_does_not_make_another_wait_for_more_than_its_turns(
    quiet: int, rows_max: int
) -> None:
    """Counted in batches, all of one length: beside one who sends its share, and beside one who sends ten times that."""
    fair = asyncio.run(batch_of_each(quiet, quiet, rows_max))
    crowded = asyncio.run(batch_of_each(quiet, 10 * quiet, rows_max))

    assert max(crowded) <= max(fair) + max(1, max(fair) // 4)
