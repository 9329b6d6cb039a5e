"""Asks a server as the bench does: from a process of its own, and with an eye on what that costs the server."""

import json
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, replace
from pathlib import Path

from bench.inference.load import Found, Order
from bench.inference.questions import Question
from bench.inference.results import Figure
from bench.inference.running import LOOK_S, START_S_MAX, Server
from sill.testing.control_plane import free_ports

CONNECTIONS = (1, 16, 64)
WARM_UP_S = 0.4
HERE = Path(__file__).parent


def figure(server: Server, protocol: str, connections: int, seconds: float) -> Figure:
    """What a server gives; all zero but `failed` if it breaks down."""
    before_s = server.cpu_s()
    found = ask(server.questions[protocol], connections, seconds)
    cpu_us = (server.cpu_s() - before_s) * 1e6 / max(found.asked, 1)
    return Figure(protocol, connections, found.per_s, found.p50_ms, found.p99_ms, found.failed, cpu_us)


def ask(asked: Question, connections: int, seconds: float) -> Found:
    """Ask for so long, from a process of its own."""
    with tempfile.NamedTemporaryFile() as body:
        body.write(asked.body)
        body.flush()
        order = Order(
            port=asked.port,
            protocol=asked.protocol,
            path=asked.path,
            headers=asked.headers,
            body_file=body.name,
            connections=connections,
            seconds=seconds,
            warm_up_s=WARM_UP_S,
        )
        given = json.dumps(asdict(order)).encode()
        ended = subprocess.run([sys.executable, str(HERE / "load.py")], input=given, capture_output=True, check=False)
    if ended.returncode:
        print(f"      {asked.protocol} c={connections}: {ended.stderr.decode()[-300:]}", file=sys.stderr, flush=True)
        return Found(per_s=0.0, p50_ms=0.0, p99_ms=0.0, answers=0, failed=1, asked=0)
    return Found(**json.loads(ended.stdout))


def ceiling(asked: Question, seconds: float) -> dict[int, Found]:
    """What the load generator reaches, by connections, with a server that does nothing (`servers/nothing.py`)."""
    port = free_ports()
    process = subprocess.Popen([sys.executable, str(HERE / "servers" / "nothing.py"), str(port)])
    try:
        _wait_until_heard(port)
        return {connections: ask(replace(asked, port=port), connections, seconds) for connections in CONNECTIONS}
    finally:
        process.kill()
        process.wait()


def _wait_until_heard(port: int) -> None:
    until_s = time.monotonic() + START_S_MAX
    while time.monotonic() < until_s:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except ConnectionRefusedError:
            time.sleep(LOOK_S)
    raise TimeoutError(f"nobody listens on port {port}")
