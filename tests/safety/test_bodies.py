"""A body is what came, byte by byte, however it came; its memory is used again, and given back."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sill.safety import bodies
from sill.safety.bodies import BEFORE_BYTES, HERE_BYTES, KEPT_MAX, Gathered, Places

CONTENT = bytes(range(256)) * 10_000


@given(cuts=st.lists(st.integers(0, len(CONTENT)), max_size=8), before=st.binary(max_size=20))
def test_a_body_is_its_pieces_in_their_order(cuts: list[int], before: bytes) -> None:
    gathered = Gathered()
    for start, stop in pairwise([0, *sorted(cuts), len(CONTENT)]):
        gathered.add(CONTENT[start:stop])

    assert gathered.size == len(CONTENT)
    assert bytes(gathered.whole(before)) == before + CONTENT
    assert bytes(gathered.whole()) == CONTENT


@pytest.mark.parametrize(("size", "kind"), [(0, bytes), (HERE_BYTES, bytes), (HERE_BYTES + 1, memoryview)])
def test_only_a_long_body_is_put_together_in_place(size: int, kind: type) -> None:
    gathered = Gathered()
    gathered.add(bytes(size))

    assert type(gathered.whole()) is kind


def test_a_body_beyond_its_room_is_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "ROOM_BYTES", 2 * HERE_BYTES)
    monkeypatch.setattr(bodies, "_PLACES", Places())
    gathered = Gathered()
    for _ in range(5):
        gathered.add(CONTENT)

    assert bytes(gathered.whole(b"x" * BEFORE_BYTES)) == b"x" * BEFORE_BYTES + CONTENT * 5


def test_memory_is_used_again_only_when_nobody_looks_at_it() -> None:
    places = Places()
    first = places.take(100)
    first[:5] = b"first"
    part = first[:5]
    del first
    second = places.take(100)
    second[:5] = b"other"

    assert bytes(part) == b"first"
    assert places.kept == 2

    del part, second
    third = places.take(100)

    assert len(third) >= 100
    assert places.kept == 2


def test_so_many_places_are_kept_and_no_more() -> None:
    places = Places()
    views = [places.take(100) for _ in range(KEPT_MAX + 3)]

    assert len(views) == KEPT_MAX + 3
    assert places.kept == KEPT_MAX


def test_what_is_not_used_for_a_while_is_given_back() -> None:
    places = Places(kept_s=0.0)
    used = places.take(100)
    places.take(100)
    places.sweep()

    assert places.kept == 1
    assert bytes(used[:1]) == b"\0"
