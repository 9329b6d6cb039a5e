"""Asks a server as fast as it answers: so many connections, each sends its next request when it has its last answer.

A process of its own, of the standard library alone, so that any Python runs it. Nothing is made while it asks: requests
are bytes that lie ready, answers are looked at only as far as their length and success. One connection waits in `recv`,
many wait in epoll.

    python load.py < ORDER > FOUND      both JSON; see `Order` and `Found`
"""

import json
import select
import socket
import sys
import time
from array import array
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from load_grpc import Grpc
from load_http import Http

RECEIVE_BYTES = 1 << 18
SILENT_S_MAX = 20.0
"""A server that answers nothing for so long has failed."""


@dataclass(frozen=True)
class Order:
    """What is to be asked. `body` and `headers` as they go over the wire; `path` is the gRPC method for that protocol."""

    port: int
    protocol: str
    path: str
    headers: dict[str, str]
    body_file: str
    connections: int
    seconds: float
    warm_up_s: float


@dataclass(frozen=True)
class Found:
    """What it gave. Times in milliseconds; `failed` counts answers that were errors, `asked` those of the warm-up too."""

    per_s: float
    p50_ms: float
    p99_ms: float
    answers: int
    failed: int
    asked: int


class Wire:
    """One connection: its socket and what is known of the protocol on it."""

    def __init__(self, order: Order, body: bytes) -> None:
        self.socket = socket.create_connection(("127.0.0.1", order.port), timeout=SILENT_S_MAX)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.talk = (Grpc if order.protocol == "grpc" else Http)(order.path, order.headers, body, order.port)
        self.asked_s = 0.0

    def ask(self) -> None:
        """Send the next request."""
        self.asked_s = time.perf_counter()
        self.socket.sendall(self.talk.request())

    def hear(self) -> bool:
        """Take what came; true if the answer is whole.

        Raises:
            ConnectionError: the server hung up.
        """
        data = self.socket.recv(RECEIVE_BYTES)
        if not data:
            raise ConnectionError("the server closed the connection")
        is_whole = self.talk.hear(data)
        if self.talk.to_send:
            self.socket.sendall(self.talk.to_send)
            self.talk.to_send = b""
        return is_whole


def ask(order: Order) -> Found:
    """Ask for so long.

    Raises:
        OSError: the server is not there, hangs up, or says nothing.
    """
    body = Path(order.body_file).read_bytes()
    wires = {wire.socket.fileno(): wire for wire in (Wire(order, body) for _ in range(order.connections))}
    run = alone if len(wires) == 1 else together
    before = run(wires, order.warm_up_s)
    for wire in wires.values():
        wire.talk.failed = 0
    started_s = time.perf_counter()
    taken = run(wires, order.seconds)
    passed_s = time.perf_counter() - started_s
    ordered = sorted(taken)
    if not ordered:
        raise TimeoutError("no answer came")
    return Found(
        per_s=len(ordered) / passed_s,
        p50_ms=ordered[len(ordered) // 2] * 1e3,
        p99_ms=ordered[int(len(ordered) * 0.99)] * 1e3,
        answers=len(ordered),
        failed=sum(wire.talk.failed for wire in wires.values()),
        asked=len(before) + len(taken),
    )


def alone(wires: dict[int, Wire], seconds: float) -> "array[float]":
    """Seconds of every answer, over one connection."""
    (wire,) = wires.values()
    taken: array[float] = array("d")
    until_s = time.perf_counter() + seconds
    while True:
        wire.ask()
        while not wire.hear():
            pass
        now_s = time.perf_counter()
        taken.append(now_s - wire.asked_s)
        if now_s >= until_s:
            return taken


def together(wires: dict[int, Wire], seconds: float) -> "array[float]":
    """Seconds of every answer, over many connections; all are quiet when it returns."""
    taken: array[float] = array("d")
    poll = select.epoll()
    for number in wires:
        poll.register(number, select.EPOLLIN)
    until_s = time.perf_counter() + seconds
    for wire in wires.values():
        wire.ask()
    under_way = len(wires)
    while under_way:
        ready = poll.poll(SILENT_S_MAX)
        if not ready:
            raise TimeoutError(f"no answer for {SILENT_S_MAX:g} s")
        for number, _ in ready:
            wire = wires[number]
            if not wire.hear():
                continue
            now_s = time.perf_counter()
            taken.append(now_s - wire.asked_s)
            if now_s < until_s:
                wire.ask()
            else:
                under_way -= 1
    poll.close()
    return taken


if __name__ == "__main__":
    json.dump(asdict(ask(Order(**json.load(sys.stdin)))), sys.stdout)
