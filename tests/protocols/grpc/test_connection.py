"""The rules of HTTP/2, frame by frame (RFC 9113), and what a hostile client gets."""

import asyncio
import gzip
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sill.protocols.grpc import frames
from sill.protocols.grpc.connection import FRAMES_A_TURN, NOISY_FRAMES, NOISY_PAUSE_S
from sill.protocols.grpc.frames import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PING,
    PRIORITY,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    Code,
)
from sill.protocols.grpc.hpack import Decoder, encode
from sill.protocols.grpc.limits import GrpcLimits
from sill.testing import grpc_peer as peers


def fields(content: bytes) -> dict[bytes, bytes]:
    return dict(Decoder(65_536, 100).decode(content))


def status(peer: Any) -> bytes:
    heads = [fields(content) for kind, _, _, content in peer.told() if kind == HEADERS]
    return heads[-1].get(b"grpc-status", heads[-1].get(b":status", b""))


def test_a_call_is_answered_by_head_message_and_trailers(peer: Any) -> None:
    told = peer.call(1).told()

    assert [(kind, stream) for kind, _, stream, _ in told] == [(HEADERS, 1), (DATA, 1), (HEADERS, 1)]
    assert told[1][3] == peers.message(b"hi")
    assert told[2][1] & END_STREAM


def test_frames_in_single_bytes_mean_the_same() -> None:
    one = peers.Peer(GrpcLimits())
    sent = frames.PREFACE + frames.settings({}) + frames.frame(HEADERS, END_HEADERS, 1, encode(peers.HEAD))
    for byte in sent + frames.frame(DATA, END_STREAM, 1, peers.message(b"hi")):
        one.send(bytes((byte,)))

    assert status(one) == b"0"


@pytest.mark.parametrize(
    ("kind", "flags", "stream", "content", "code"),
    [
        (DATA, 0, 0, b"", Code.PROTOCOL_ERROR),
        (DATA, 0, 1, b"", Code.PROTOCOL_ERROR),
        (HEADERS, END_HEADERS, 0, b"\x82", Code.PROTOCOL_ERROR),
        (HEADERS, END_HEADERS, 2, b"\x82", Code.PROTOCOL_ERROR),
        (HEADERS, END_HEADERS, 1, b"\xbe", Code.COMPRESSION_ERROR),
        (HEADERS, END_HEADERS | 0x8, 1, b"\xff\x82", Code.PROTOCOL_ERROR),
        (PRIORITY, 0, 0, bytes(5), Code.PROTOCOL_ERROR),
        (RST_STREAM, 0, 1, bytes(4), Code.PROTOCOL_ERROR),
        (RST_STREAM, 0, 1, bytes(3), Code.FRAME_SIZE_ERROR),
        (SETTINGS, 0, 1, b"", Code.PROTOCOL_ERROR),
        (SETTINGS, 0, 0, b"x", Code.FRAME_SIZE_ERROR),
        (SETTINGS, ACK, 0, bytes(6), Code.FRAME_SIZE_ERROR),
        (SETTINGS, 0, 0, b"\x00\x02\x00\x00\x00\x02", Code.PROTOCOL_ERROR),
        (SETTINGS, 0, 0, b"\x00\x04\x80\x00\x00\x00", Code.FLOW_CONTROL_ERROR),
        (SETTINGS, 0, 0, b"\x00\x05\x00\x00\x00\x01", Code.PROTOCOL_ERROR),
        (5, 0, 1, bytes(4), Code.PROTOCOL_ERROR),
        (PING, 0, 0, bytes(7), Code.FRAME_SIZE_ERROR),
        (PING, 0, 1, bytes(8), Code.PROTOCOL_ERROR),
        (WINDOW_UPDATE, 0, 0, bytes(4), Code.PROTOCOL_ERROR),
        (WINDOW_UPDATE, 0, 0, b"\x7f\xff\xff\xff", Code.FLOW_CONTROL_ERROR),
        (WINDOW_UPDATE, 0, 1, b"\0\0\0\1", Code.PROTOCOL_ERROR),
        (CONTINUATION, END_HEADERS, 1, b"", Code.PROTOCOL_ERROR),
        (DATA, 0, 1, bytes(16_385), Code.FRAME_SIZE_ERROR),
    ],
)
def test_a_frame_against_the_rules_ends_the_connection(
    peer: Any, kind: int, flags: int, stream: int, content: bytes, code: Code
) -> None:
    assert peer.frame(kind, flags, stream, content).goaway() == code
    assert peer.transport.is_closed


def test_what_is_not_http2_is_refused_and_a_frame_before_settings_too() -> None:
    assert peers.Peer(GrpcLimits()).send(b"GET / HTTP/1.1\r\n").goaway() == Code.PROTOCOL_ERROR
    early = frames.PREFACE + frames.frame(PING, 0, 0, bytes(8))
    assert peers.Peer(GrpcLimits()).send(early).goaway() == Code.PROTOCOL_ERROR


@pytest.mark.parametrize(
    "more",
    [
        (b"Upper", b"x"),
        (b"connection", b"close"),
        (b"te", b"gzip"),
        (b"x", b"a\nb"),
        (b":late", b"x"),
        (b":method", b"POST"),
        (b"content-length", b"-1"),
    ],
)
def test_a_malformed_head_ends_its_stream(peer: Any, more: tuple[bytes, bytes]) -> None:
    peer.frame(HEADERS, END_HEADERS, 1, encode(peers.head(more)))

    assert peer.reset() == Code.PROTOCOL_ERROR


def test_a_body_of_another_length_than_was_said_ends_its_stream(peer: Any) -> None:
    peer.frame(HEADERS, END_HEADERS, 1, encode(peers.head((b"content-length", b"3"))))

    assert peer.frame(DATA, END_STREAM, 1, peers.message(b"hi")).reset() == Code.PROTOCOL_ERROR


def test_frames_for_a_stream_that_is_over_are_refused(peer: Any) -> None:
    assert peer.call(1).frame(DATA, 0, 1, b"x").reset() == Code.STREAM_CLOSED
    peer.call(3).told()
    assert peer.call(3).goaway() == Code.STREAM_CLOSED


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (b"\2\0\0\0\0", b"13"),
        (b"\0\0\0\0\5hi", b"13"),
        (b"", b"13"),
        (peers.message(b"x") + peers.message(b"y"), b"13"),
        (b"\0\xff\xff\xff\xff", b"8"),
        (peers.message(b"x", packed=1), b"13"),
        (peers.message(b"break"), b"13"),
    ],
)
def test_a_broken_message_is_told_as_a_status(peer: Any, sent: bytes, said: bytes) -> None:
    peer.call(1, None).told()

    assert status(peer.frame(DATA, END_STREAM, 1, sent)) == said


def test_a_packed_message_is_unpacked_and_a_bomb_is_refused() -> None:
    one = peers.Peer(GrpcLimits(message_bytes_max=1_000)).greet()
    packed = encode(peers.head((b"grpc-encoding", b"gzip")))
    for stream, content, said in ((1, b"hi" * 100, b"0"), (3, bytes(10_000_000), b"8")):
        one.frame(HEADERS, END_HEADERS, stream, packed)
        one.frame(DATA, END_STREAM, stream, peers.message(gzip.compress(content), packed=1))
        assert status(one) == said


def test_a_message_may_grow_by_two_hundred_times_not_more() -> None:
    one = peers.Peer(GrpcLimits()).greet()
    one.frame(HEADERS, END_HEADERS, 1, encode(peers.head((b"grpc-encoding", b"gzip"))))
    one.frame(DATA, END_STREAM, 1, peers.message(gzip.compress(bytes(3_000_000)), packed=1))

    assert status(one) == b"8"


def test_who_may_not_ask_is_told_before_the_body_is_there(peer: Any) -> None:
    peer.frame(HEADERS, END_HEADERS, 1, encode(peers.head((b"refuse", b"1"))))

    assert status(peer.frame(DATA, 0, 1, b"\0\0\1\0\0begin")) == b"16"


def test_other_methods_verbs_and_codings_are_refused(peer: Any) -> None:
    assert status(peer.call(1, path=b"/test/None")) == b"12"
    get = [(name, b"GET" if name == b":method" else value) for name, value in peers.HEAD]
    assert status(peer.frame(HEADERS, END_HEADERS | END_STREAM, 3, encode(get))) == b"405"
    peer.frame(HEADERS, END_HEADERS | END_STREAM, 5, encode(peers.head((b"grpc-encoding", b"br"))))
    assert status(peer) == b"12"


def test_an_answer_waits_for_the_clients_window(peer: Any) -> None:
    one = peers.Peer(GrpcLimits()).greet({frames.INITIAL_WINDOW_SIZE: 10})
    told = one.call(1, b"x" * 20).told()
    assert sum(len(content) for kind, _, _, content in told if kind == DATA) == 10

    told = one.send(frames.window_update(1, 100)).told()
    assert sum(len(content) for kind, _, _, content in told if kind == DATA) == 15
    assert told[-1][1] & END_STREAM
    assert not one.connection.streams


def test_a_smaller_window_by_settings_may_be_below_zero() -> None:
    one = peers.Peer(GrpcLimits()).greet({frames.INITIAL_WINDOW_SIZE: 10})
    one.call(1, b"x" * 20).told()

    one.send(frames.settings({frames.INITIAL_WINDOW_SIZE: 0})).send(frames.window_update(1, 5))
    assert [kind for kind, _, _, _ in one.told() if kind == DATA] == []


def test_more_than_the_window_ends_the_stream() -> None:
    one = peers.Peer(GrpcLimits(stream_window_bytes=100)).greet()

    assert one.call(1, None).frame(DATA, 0, 1, bytes(101)).reset() == Code.FLOW_CONTROL_ERROR


def test_rapid_reset_ends_the_connection_and_frees_each_call(peer: Any) -> None:
    peer.methods.echo.holds = True
    for stream in range(1, 100_001, 2):
        if peer.connection.is_ended:
            break
        peer.call(stream).send(frames.rst_stream(stream, Code.CANCEL))

    assert peer.goaway() == Code.ENHANCE_YOUR_CALM
    assert peer.methods.echo.cancelled_calls == peer.house.limits.resets_max + 1
    assert not peer.connection.streams


@pytest.mark.anyio
async def test_many_frames_at_once_are_dealt_with_a_few_at_a_time(peer: Any) -> None:
    peer.send(frames.frame(PING, 0, 0, bytes(8)) * 3 * FRAMES_A_TURN)
    at_once = len(peer.told())
    peer.send(frames.frame(PING, 0, 0, bytes(8)))
    await asyncio.sleep(0)
    in_the_next_turn = len(peer.told())
    for _ in range(3):
        await asyncio.sleep(0)

    assert (at_once, in_the_next_turn) == (FRAMES_A_TURN, FRAMES_A_TURN)
    assert len(peer.told()) == FRAMES_A_TURN + 1


@pytest.mark.anyio
async def test_a_connection_that_brings_little_but_noise_is_read_slowly() -> None:
    one = peers.Peer(GrpcLimits(noise_slowed=FRAMES_A_TURN)).greet()
    one.send(frames.frame(PING, 0, 0, bytes(8)) * 4 * FRAMES_A_TURN)
    at_once = len(one.told())
    for _ in range(5):
        await asyncio.sleep(0)
    soon = len(one.told())
    await asyncio.sleep(1.5 * NOISY_PAUSE_S)

    assert (at_once, soon) == (FRAMES_A_TURN, 0)
    assert len(one.told()) in (NOISY_FRAMES, 2 * NOISY_FRAMES)


@pytest.mark.parametrize(
    ("kind", "content"), [(PING, bytes(8)), (SETTINGS, b""), (PRIORITY, bytes(5)), (0x42, b"unknown")]
)
def test_a_flood_of_frames_without_calls_ends_the_connection(peer: Any, kind: int, content: bytes) -> None:
    stream = 3 if kind == PRIORITY else 0
    for _ in range(peer.house.limits.noise_max + 1):
        peer.frame(kind, 0, stream, content)

    assert peer.goaway() == Code.ENHANCE_YOUR_CALM


def test_a_flood_of_continuations_ends_the_connection(peer: Any) -> None:
    peer.frame(HEADERS, 0, 1, b"")
    for _ in range(100):
        peer.frame(CONTINUATION, 0, 1, b"")

    assert peer.goaway() == Code.ENHANCE_YOUR_CALM


def test_a_million_metadata_are_too_many(peer: Any) -> None:
    block = encode(peers.head()) + encode([(b"a", b"")]) * 3_000
    for start in range(0, len(block), 16_000):
        last = END_HEADERS if start + 16_000 >= len(block) else 0
        peer.frame(CONTINUATION if start else HEADERS, last, 1, block[start : start + 16_000])

    assert status(peer) == b"8"


def test_more_calls_at_once_than_allowed_are_refused() -> None:
    one = peers.Peer(GrpcLimits(streams_max=2)).greet()

    assert one.call(1, None).call(3, None).call(5, None).reset() == Code.REFUSED_STREAM


def test_slow_bodies_heads_and_greetings_end() -> None:
    one = peers.Peer(GrpcLimits()).greet()
    one.call(1, None).frame(DATA, 0, 1, b"\0\0\1\0\0x").told()
    one.connection.look(100, 1.0)
    assert b"4" in [fields(content).get(b"grpc-status") for kind, _, _, content in one.told() if kind == HEADERS]

    silent = peers.Peer(GrpcLimits())
    silent.connection.look(11, 1.0)
    assert silent.transport.is_closed


def test_a_client_that_does_not_answer_a_ping_is_gone(peer: Any) -> None:
    peer.call(1, None).told()
    peer.connection.look(61, 1.0)
    peer.house.tick = 61
    assert [kind for kind, _, _, _ in peer.told()][:1] == [PING]

    peer.connection.look(90, 1.0)
    assert peer.transport.is_closed


def test_going_away_lets_running_calls_end(peer: Any) -> None:
    peer.methods.echo.holds = True
    peer.call(1)
    peer.connection.go_away()
    assert peer.goaway() == Code.NO_ERROR
    assert not peer.transport.is_closed
    assert peer.call(3).reset() == Code.REFUSED_STREAM

    peer.methods.echo.calls[0].reply(b"done")
    assert status(peer) == b"0"
    assert peer.transport.is_closed


def test_a_stream_is_answered_message_by_message(peer: Any) -> None:
    peer.call(1, None, path=b"/test/Stream")
    for number in range(3):
        peer.frame(DATA, 0, 1, peers.message(b"%d" % number))
    told = peer.frame(DATA, END_STREAM, 1).told()

    assert [content[5:] for kind, _, _, content in told if kind == DATA] == [b"0", b"1", b"2"]
    assert told[-1][1] & END_STREAM


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 10), st.integers(0, 255), st.integers(0, 7), st.binary(max_size=60)), max_size=30)
)
def test_any_frames_leave_the_connection_whole_or_ended(sent: list[tuple[int, int, int, bytes]]) -> None:
    one = peers.Peer(GrpcLimits()).greet()
    for kind, flags, stream, content in sent:
        one.frame(kind, flags, stream, content)

    assert one.transport.is_closed == one.connection.is_ended
    assert len(one.connection.streams) <= one.house.limits.streams_max


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=400))
def test_any_bytes_leave_the_connection_whole_or_ended(sent: bytes) -> None:
    one = peers.Peer(GrpcLimits()).greet()
    one.send(sent)

    assert one.transport.is_closed == one.connection.is_ended


def test_an_old_connection_is_told_to_go_and_its_calls_end() -> None:
    one = peers.Peer(GrpcLimits(age_seconds_max=5)).greet()
    one.methods.echo.holds = True
    one.call(1).connection.look(6, 1.0)
    assert one.goaway() == Code.NO_ERROR

    one.methods.echo.calls[0].reply(b"done")
    assert status(one) == b"0"
    assert one.transport.is_closed
