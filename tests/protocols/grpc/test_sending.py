"""Answers go out within the client's windows; one that takes them slowly, or not at all, holds bounded memory, then nothing."""

import asyncio
from typing import Any

import pytest

from sill.protocols.grpc import frames
from sill.protocols.grpc.frames import ACK, DATA, END_HEADERS, HEADERS, INITIAL_WINDOW_SIZE, RST_STREAM, SETTINGS, Code
from sill.protocols.grpc.hpack import Decoder, encode
from sill.protocols.grpc.limits import GrpcLimits
from sill.safety.limits import MemoryBudget
from sill.testing.grpc_peer import Peer, head, message

LARGE = bytes(100_000)


def answer_large(peer: Peer, stream: int) -> Peer:
    """A call with a small question, and its large answer."""
    peer.methods.echo.holds = True
    peer.call(stream, b"x")
    peer.methods.echo.calls[-1].reply(LARGE)
    return peer


def sent(told: list[tuple[int, int, int, bytes]]) -> int:
    """Bytes of answers."""
    return sum(len(content) for kind, _, _, content in told if kind == DATA)


def statuses(told: list[tuple[int, int, int, bytes]]) -> list[bytes]:
    fields = [dict(Decoder(65_536, 100).decode(content)) for kind, _, _, content in told if kind == HEADERS]
    return [one[b"grpc-status"] for one in fields if b"grpc-status" in one]


def test_settings_are_acknowledged_before_what_only_they_allow_is_sent() -> None:
    peer = Peer(GrpcLimits()).greet({INITIAL_WINDOW_SIZE: 10})
    answer_large(peer, 1).told()
    told = peer.send(frames.settings({INITIAL_WINDOW_SIZE: 1_000})).told()

    assert [(kind, flags) for kind, flags, _, _ in told] == [(SETTINGS, ACK), (DATA, 0)]
    assert sent(told) == 990


def test_what_the_window_holds_back_follows_with_it(peer: Peer) -> None:
    first = sent(answer_large(peer, 1).told())
    peer.send(frames.window_update(0, 1_000_000))
    rest = peer.send(frames.window_update(1, 1_000_000)).told()

    assert first == 65_535
    assert first + sent(rest) == len(LARGE) + 5
    assert statuses(rest) == [b"0"]


def test_a_window_given_byte_by_byte_ends_the_connection() -> None:
    peer = Peer(GrpcLimits(noise_max=500)).greet({INITIAL_WINDOW_SIZE: 0})
    answer_large(peer, 1).told()
    for _ in range(1_000):
        peer.send(frames.window_update(1, 1))

    assert peer.goaway() == Code.ENHANCE_YOUR_CALM


def test_a_window_given_answer_by_answer_is_no_noise() -> None:
    peer = Peer(GrpcLimits(noise_max=500)).greet()
    for number in range(1_000):
        peer.call(2 * number + 1).send(frames.window_update(0, 7))

    assert peer.goaway() is None


def test_windows_held_shut_hold_no_more_than_the_memory_for_all() -> None:
    budget = MemoryBudget(250_000)
    peer = Peer(GrpcLimits(), memory=budget).greet({INITIAL_WINDOW_SIZE: 0})
    for number in range(20):
        answer_large(peer, 2 * number + 1)

    assert budget.used_bytes <= 250_000
    assert statuses(peer.told()) == [b"14"] * 18
    peer.connection.connection_lost(None)
    assert budget.used_bytes == 0


@pytest.mark.anyio
async def test_a_client_that_does_not_read_is_sent_nothing_until_it_does(peer: Peer) -> None:
    peer.methods.echo.holds = True
    peer.call(1, b"x").call(3, b"x").told()
    peer.connection.pause_writing()
    for call in peer.methods.echo.calls:
        call.reply(b"answer")

    assert sent(peer.told()) == 0
    peer.connection.resume_writing()
    assert statuses(peer.told()) == [b"0", b"0"]


@pytest.mark.anyio
async def test_who_streams_waits_for_a_reader_that_is_slow_and_for_none_that_is_gone(peer: Peer) -> None:
    def begin(stream: int) -> Any:
        peer.frame(HEADERS, END_HEADERS, stream, encode(head(path=b"/test/Stream")))
        peer.frame(DATA, 0, stream, message(b"x"))
        call = peer.methods.stream.calls[-1]
        call.send(LARGE)
        return asyncio.ensure_future(call.room())

    first, second = begin(1), begin(3)
    await asyncio.sleep(0)
    assert not first.done()

    peer.send(frames.window_update(0, 1_000_000) + frames.window_update(1, 1_000_000))
    peer.send(frames.frame(RST_STREAM, 0, 3, bytes((0, 0, 0, 8))))
    async with asyncio.timeout(1):
        await asyncio.gather(first, second)
