"""The listener, over real sockets: slow, greedy and malformed connections end, others do not notice."""

import gc
import json
import socket
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import psutil
import pytest
import uvicorn
import uvloop

from sill.safety.gate import Gate, GateLimits
from sill.safety.guarded import CHUNKS_A_TURN, LINGER_BYTES, Guarded, ListenerLimits
from sill.safety.listener import uvicorn_config

pytestmark = pytest.mark.timeout(60)


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Reads the body and says how long it was."""
    size = 0
    if scope["path"] == "/stands-still":
        time.sleep(2 * LIMITS.head_seconds_max)  # noqa: ASYNC251 -- the whole server, as when the machine has no time
    if scope["path"] != "/unread":
        while True:
            message = await receive()
            size += len(message.get("body", b""))
            if not message.get("more_body"):
                break
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    if scope["path"] == "/endless":
        for _ in range(100):
            await send({"type": "http.response.body", "body": bytes(1_000_000), "more_body": True})
    await send({"type": "http.response.body", "body": str(size).encode()})


class Server:
    """uvicorn with our configuration in a thread."""

    def __init__(self, limits: ListenerLimits, gate_limits: GateLimits) -> None:
        listening = socket.create_server(("127.0.0.1", 0), backlog=1_024)
        self.port: int = listening.getsockname()[1]
        gate = Gate(app, hosts=frozenset({"localhost"}), limits=gate_limits)
        self._server = uvicorn.Server(uvicorn_config(gate, limits=limits, lifespan="off"))
        self._server.config.timeout_graceful_shutdown = 1
        self._thread = threading.Thread(target=self._run, args=(listening,), daemon=True)
        self._thread.start()

    def _run(self, listening: socket.socket) -> None:
        uvloop.run(self._server.serve([listening]))  # the loop of every process of ours that listens
        listening.close()

    def close(self) -> None:
        self._server.should_exit = True
        self._thread.join(10)

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)

    def ask(self, request: bytes) -> bytes:
        """Everything the server sends until it hangs up."""
        with self.connect() as connection:
            with suppress(BrokenPipeError, ConnectionResetError):
                connection.sendall(request)
            return read_all(connection)


def read_all(connection: socket.socket) -> bytes:
    received = b""
    with suppress(ConnectionResetError):
        while piece := connection.recv(65_536):
            received += piece
    return received


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


LIMITS = ListenerLimits(
    head_seconds_max=0.5, keep_alive_seconds=5, chunks_max=2_000, tiny_chunks_max=1_000, idle_per_address_max=64
)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    server = Server(LIMITS, GateLimits(body_grace_s=0.4, body_bytes_max=5_000_000))
    yield server
    server.close()


HEAD = b"POST /x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


def test_good_request_is_answered(server: Server) -> None:
    answer = server.ask(CHUNKED + b"5\r\nhello\r\n0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"nosniff" in answer
    assert b"server:" not in answer
    assert b"\r\n5\r\n" not in answer.split(b"\r\n\r\n")[0]


def test_a_request_that_came_in_time_is_answered_though_the_server_stood_still(server: Server) -> None:
    request = b"GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with server.connect() as connection, server.connect() as other:
        connection.sendall(request)
        while not connection.recv(65_536).endswith(b"\r\n0\r\n\r\n"):
            pass
        other.sendall(request.replace(b"/x", b"/stands-still"))
        time.sleep(LIMITS.head_seconds_max / 2)
        connection.sendall(request.replace(b"localhost", b"localhost\r\nConnection: close"))

        assert read_all(connection).startswith(b"HTTP/1.1 200")


def test_connection_is_kept_for_the_next_request(server: Server) -> None:
    request = b"GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with server.connect() as connection:
        for _ in range(3):
            connection.sendall(request)
            answer = b""
            while not answer.endswith(b"\r\n0\r\n\r\n"):
                answer += connection.recv(65_536)
            assert answer.startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    "request_",
    [
        HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        HEAD + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
        HEAD + b"Content-Length: -1\r\n\r\n",
        HEAD + b"Transfer-Encoding: xchunked\r\n\r\n",
        HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        HEAD.replace(b"\r\n", b"\n") + b"\n",
        HEAD + b"A: b\nC: d\r\n\r\n",
        HEAD + b"A: b\r\n c\r\n\r\n",
        HEAD + b"A: b\x00\r\n\r\n",
        CHUNKED + b"5\nhello\n0\n\n",
        CHUNKED + b"5;\x00\r\nhello\r\n0\r\n\r\n",
        CHUNKED + b"5;a\nb\r\nhello\r\n0\r\n\r\n",
        CHUNKED + b"-5\r\nhello\r\n0\r\n\r\n",
        CHUNKED + b"0x5\r\nhello\r\n0\r\n\r\n",
        CHUNKED + b"ffffffffffffffffff\r\nhello\r\n0\r\n\r\n",
        CHUNKED + b"5\r\nhelloo\r\n0\r\n\r\n",
        CHUNKED + b"0\r\nContent-Length: 5\r\n\r\n",
        b"GET /x HTTP/1.1\r\n\r\n",
        b"GET /x\r\n\r\n",
        b"GET /x HTTP/1.0\r\n\r\n",
        b"GET /x HTTP/1.1\r\nHost:\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /a b HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"CONNECT evil.example:443 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ],
)
def test_malformed_request_is_answered_400_in_our_form_and_the_connection_closed(
    server: Server, request_: bytes
) -> None:
    answer = server.ask(request_)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert status(answer) == 400
    assert json.loads(body)["code"] == "invalid_value"
    assert b"connection: close" in head


def test_smuggled_second_request_is_never_served(server: Server) -> None:
    inner = b"GET /unread HTTP/1.1\r\nHost: localhost\r\n\r\n"
    outer = HEAD.replace(b"Connection: close\r\n", b"") + b"Content-Length: %d\r\n\r\n" % len(inner)
    answer = server.ask(outer.replace(b"localhost", b"evil.example") + inner)
    assert answer.count(b"HTTP/1.1 ") == 1
    assert status(answer) == 403


def test_nothing_behind_a_refused_head_is_served(server: Server) -> None:
    bad = b"GET /x HTTP/1.1\r\nHost: evil.example\r\n\r\n"
    answer = server.ask(bad + bad.replace(b"evil.example", b"localhost"))
    assert answer.count(b"HTTP/1.1 ") == 1
    assert status(answer) == 403


def test_a_client_that_is_refused_early_may_send_its_body_and_reads_the_answer(server: Server) -> None:
    with server.connect() as connection:
        connection.sendall(HEAD + b"Content-Length: 10000000000\r\n\r\n")
        for _ in range(15):
            connection.sendall(bytes(100_000))  # a connection that was closed would be reset by this
            time.sleep(0.005)
        head, _, body = read_all(connection).partition(b"\r\n\r\n")
    assert status(head) == 413
    assert b"connection: close" in head
    assert json.loads(body)["code"] == "too_large"


def test_a_client_whose_body_the_app_does_not_read_may_send_it_and_reads_the_answer(server: Server) -> None:
    with server.connect() as connection:
        connection.sendall(HEAD.replace(b"/x", b"/unread") + b"Content-Length: 1500000\r\n\r\n")
        for _ in range(14):
            connection.sendall(bytes(100_000))
            time.sleep(0.005)
        answer = read_all(connection)
    assert status(answer) == 200
    assert answer.endswith(b"\r\n1\r\n0\r\n0\r\n\r\n")  # of none of its bytes


@pytest.mark.parametrize("path", [b"/x", b"/unread"])
def test_what_a_connection_had_is_free_when_it_has_ended(
    server: Server, path: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the collector, which comes seldom here: its body may have been a large one."""
    count, ended, lost = 20, list[weakref.ref[Guarded]](), Guarded.connection_lost

    def note(line: Guarded, exc: Exception | None) -> None:
        ended.append(weakref.ref(line))
        lost(line, exc)

    monkeypatch.setattr(Guarded, "connection_lost", note)
    gc.disable()
    try:
        for _ in range(count):
            server.ask(HEAD.replace(b"/x", path) + b"Content-Length: 3\r\n\r\nabc")
        until_s = time.monotonic() + 10
        while (len(ended) < count or any(one() for one in ended)) and time.monotonic() < until_s:
            time.sleep(0.01)
        assert [one() for one in ended] == [None] * count
    finally:
        gc.enable()


def test_a_body_that_goes_on_for_long_after_its_refusal_is_cut_off(server: Server) -> None:
    with server.connect() as connection:
        connection.sendall(HEAD + b"Content-Length: 10000000000\r\n\r\n")
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            connection.sendall(bytes(20 * LINGER_BYTES))


def test_many_that_come_at_once_are_all_answered(server: Server) -> None:
    requests = [HEAD + b"Content-Length: 3\r\n\r\nabc", b"no request\r\n\r\n"] * 30
    connections = [server.connect() for _ in requests]
    for connection, request in zip(connections, requests, strict=True):
        connection.sendall(request)
    answers = [status(read_all(connection)) for connection in connections]
    for connection in connections:
        connection.close()
    assert answers == [200, 400] * 30


@pytest.mark.parametrize(
    "head",
    [
        b"A: " + b"x" * 200_000,
        b"".join(b"X-%d: y\r\n" % number for number in range(5_000)),
        b"".join(b"X-%d: y\r\n" % number for number in range(200)) + b"\r\n",
        b"x" * 200_000,
    ],
)
def test_large_head_is_431(server: Server, head: bytes) -> None:
    assert status(server.ask(HEAD + head)) == 431


def test_endless_trailers_are_refused(server: Server) -> None:
    assert status(server.ask(CHUNKED + b"0\r\n" + b"X-A: y\r\n" * 20_000)) in (400, 413, 431)


def test_endless_chunk_extension_is_refused(server: Server) -> None:
    assert status(server.ask(CHUNKED + b"5;" + b"a" * 2_000_000)) == 400


def test_a_million_small_chunks_are_refused_within_little_memory(server: Server) -> None:
    process = psutil.Process()
    before = process.memory_info().rss
    assert status(server.ask(CHUNKED + b"1\r\nx\r\n" * 1_000_000)) in (400, 413)
    assert process.memory_info().rss - before < 16_000_000 + 6_000_000  # the request itself has 6 MB


def test_more_chunks_are_taken_the_larger_they_are(server: Server) -> None:
    most = LIMITS.tiny_chunks_max
    tiny, larger = b"1\r\nx\r\n" * (most + 300), (b"64\r\n" + b"x" * 100 + b"\r\n") * (most + 300)
    assert status(server.ask(CHUNKED + tiny + b"0\r\n\r\n")) == 413
    assert status(server.ask(CHUNKED + larger + b"0\r\n\r\n")) == 200


@pytest.mark.parametrize("starts_apart", [False, True])
def test_a_body_of_tiny_chunks_is_taken_a_few_at_a_time(
    starts_apart: bool, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    count, turns, taken = 8 * CHUNKS_A_TURN, list[int](), Guarded._take_in_slices

    def counted(self: Guarded, data: bytes) -> None:
        turns.append(len(data))
        taken(self, data)

    monkeypatch.setattr(Guarded, "_take_in_slices", counted)
    body = b"1\r\n7\r\n" * count + b"0\r\n\r\n"
    with server.connect() as connection:
        connection.sendall(CHUNKED if starts_apart else CHUNKED + body)
        if starts_apart:
            time.sleep(0.05)
            connection.sendall(body)
        answer = read_all(connection)

    assert f"\r\n{count}\r\n".encode() in answer
    assert len(turns) >= 3
    assert turns == sorted(turns, reverse=True)


def test_body_over_the_limit_is_413(server: Server) -> None:
    assert status(server.ask(HEAD + b"Content-Length: 200000000\r\n\r\n")) == 413
    chunk = b"%x\r\n" % 1_000_000 + bytes(1_000_000) + b"\r\n"
    assert status(server.ask(CHUNKED + chunk * 7)) == 413


@pytest.mark.parametrize("start", [b"", b"GET", b"GET /x HTTP/1.1\r\nHost: loc", b"\r\n"])
def test_half_a_head_is_closed_in_time(server: Server, start: bytes) -> None:
    assert server.ask(start) == b""


def test_head_that_drips_is_closed_in_time(server: Server) -> None:
    sent = 0
    with server.connect() as connection, suppress(ConnectionResetError, BrokenPipeError):
        connection.settimeout(0.05)
        for _ in range(200):
            connection.sendall(b"a")
            sent += 1
            with suppress(TimeoutError):
                if connection.recv(100) == b"":
                    break
    assert sent < 40


def test_half_a_body_is_refused_in_time(server: Server) -> None:
    answer = server.ask(HEAD + b"Content-Length: 100\r\n\r\nhalf")
    assert status(answer) == 400
    assert b"too slowly" in answer


def test_half_a_body_that_nobody_reads_is_closed_in_time(server: Server) -> None:
    request = HEAD.replace(b"Connection: close\r\n", b"").replace(b"/x", b"/unread")
    with server.connect() as connection:
        connection.sendall(request + b"Content-Length: 100\r\n\r\nhalf")
        assert read_all(connection).startswith(b"HTTP/1.1 200")


def test_answered_connection_that_stays_silent_is_closed(server: Server) -> None:
    with server.connect() as connection:
        connection.sendall(b"GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert read_all(connection).startswith(b"HTTP/1.1 200")


def test_client_that_reads_nothing_is_cut_off() -> None:
    server = Server(ListenerLimits(stalled_seconds_max=0.2), GateLimits())
    try:
        with server.connect() as connection:
            connection.sendall(b"GET /endless HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert connection.recv(1)
            for _ in range(200):
                if not established(server.port):
                    break
                threading.Event().wait(0.05)
            assert not established(server.port)
    finally:
        server.close()


def established(port: int) -> int:
    return sum(
        1
        for found in psutil.Process().net_connections("tcp")
        if found.laddr.port == port and found.status == psutil.CONN_ESTABLISHED
    )


def test_idle_connections_of_one_address_are_bounded(server: Server) -> None:
    connections = [server.connect() for _ in range(100)]
    try:
        connections[0].settimeout(5)
        assert connections[0].recv(1) == b""  # the oldest made room
        connections[-1].sendall(b"GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert connections[-1].recv(100).startswith(b"HTTP/1.1 200")
    finally:
        for connection in connections:
            connection.close()


def test_pipelined_requests_are_answered_in_order(server: Server) -> None:
    request = b"POST /x HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"
    answer = server.ask(request % 1 + b"a" + request % 2 + b"bb" + HEAD + b"Content-Length: 3\r\n\r\nccc")
    assert [part.split(b"\r\n\r\n")[1][:4] for part in answer.split(b"HTTP/1.1 200 OK")[1:]] == [
        b"1\r\n1",
        b"1\r\n2",
        b"1\r\n3",
    ]
