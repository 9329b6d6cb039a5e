"""Messages come out as they went in, however they were cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sill.protocols.grpc.assembling import Assembly
from sill.protocols.grpc.status import CallError
from sill.safety.bodies import HERE_BYTES
from sill.testing.grpc_peer import message

SIZES = st.one_of(st.integers(0, 40), st.sampled_from([HERE_BYTES, HERE_BYTES + 1, HERE_BYTES + 70_000]))

EARLY, LATER_BYTES = 2_000, 4_096
"""So many pieces may be of single bytes; what comes later comes in larger ones, or an example takes seconds."""


@given(sizes=st.lists(SIZES, max_size=4), cuts=st.lists(st.integers(1, 100_000), min_size=1, max_size=30))
def test_messages_come_out_as_they_went_in(sizes: list[int], cuts: list[int]) -> None:
    wanted = [bytes([number]) * size for number, size in enumerate(sizes)]
    stream, assembly, found, at, turn = b"".join(map(message, wanted)), Assembly(1 << 21), [], 0, 0
    while at < len(stream):
        cut = max(cuts[turn % len(cuts)], LATER_BYTES if turn > EARLY else 1)
        assembly.add(stream[at : at + cut])
        at, turn = at + cut, turn + 1
        while (taken := assembly.take()) is not None:
            found.append(taken[0])
            assembly.go_on()

    assert found == wanted
    assert assembly.size == 0


@pytest.mark.parametrize("content", [message(bytes(101)), b"\2\0\0\0\1x", message(b"fine") + b"\2\0\0\0\1x"])
def test_what_begins_no_message_or_a_long_one_is_refused(content: bytes) -> None:
    with pytest.raises(CallError):
        take_byte_by_byte(content)


def take_byte_by_byte(content: bytes) -> None:
    assembly = Assembly(100)
    for place in range(len(content)):
        assembly.add(content[place : place + 1])
        if assembly.take() is not None:
            assembly.go_on()


def test_a_message_is_known_to_be_packed_or_not() -> None:
    assembly = Assembly(100)
    assembly.add(message(b"a", packed=1) + message(b"b"))
    packed = []
    for _ in range(2):
        assert assembly.take() is not None
        packed.append(assembly.is_packed)
        assembly.go_on()

    assert packed == [True, False]
