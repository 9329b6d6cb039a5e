"""Serving: one row of a linear model of two features over HTTP/1.1 on loopback, by one connection and by 16.

Connections are kept open, each sends its next request when it has the last one's answer. The client is one process of
its own on the same machine, on asyncio streams, so that it takes little of the processor the inference plane needs.
"""

import asyncio
import json
import statistics
import time
from collections.abc import Iterator

from bench.home import running
from sill.testing.control_plane import ControlPlane
from sill.testing.furnish import ENDPOINT, PROJECT

SECONDS = 5.0
WARM_UP = 50
CONNECTIONS = (1, 16)
TENSOR = {"name": "input", "datatype": "FP32", "shape": [1, 2], "data": [1.0, 2.0]}


def measure() -> Iterator[str]:
    """One line for each number of connections."""
    with running() as plane:
        for count in CONNECTIONS:
            every = sorted(asyncio.run(ask_together(plane, count)))
            yield (
                f"{len(every) / SECONDS:.0f} requests/s over {count} connection{'s' if count > 1 else ''}; "
                f"p50 {statistics.median(every) * 1e3:.2f} ms, p99 {every[int(0.99 * len(every))] * 1e3:.2f} ms"
            )


async def ask_together(plane: ControlPlane, count: int) -> list[float]:
    """The seconds of every answer over so many connections."""
    found = await asyncio.gather(*(ask(plane) for _ in range(count)))
    return [seconds for one in found for seconds in one]


async def ask(plane: ControlPlane) -> list[float]:
    """One connection's answers."""
    request = question(plane)
    reader, writer = await asyncio.open_connection("127.0.0.1", plane.port + 1)
    taken: list[float] = []
    for _ in range(WARM_UP):
        await answer(reader, writer, request)
    until_s = time.perf_counter() + SECONDS
    while (begun_s := time.perf_counter()) < until_s:
        await answer(reader, writer, request)
        taken.append(time.perf_counter() - begun_s)
    writer.close()
    await writer.wait_closed()
    return taken


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> bytes:
    """Send a request and read its answer.

    Raises:
        RuntimeError: the answer is an error.
    """
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
    body = await reader.readexactly(length)
    if not head.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(body.decode(errors="replace"))
    return body


def question(plane: ControlPlane) -> bytes:
    """The request as it goes over the wire."""
    token = (plane.home / "token").read_text().strip()
    body = json.dumps({"inputs": [TENSOR]}).encode()
    head = (
        f"POST /v2/models/{PROJECT}/{ENDPOINT}/infer HTTP/1.1\r\nHost: 127.0.0.1:{plane.port + 1}\r\n"
        f"Authorization: Bearer {token}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body
