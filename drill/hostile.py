"""Clients that mean no good: slow heads, slow bodies, lies about lengths, requests whose answers nobody reads, and noise.

`python -m drill.hostile PORT SECONDS` with a good request on its standard input. They run in a process of their own, so
that the client whose answers are timed does not wait for them, and it takes a processor only when nobody else wants one,
as if it were on another machine. It says a word once they are at it, and at the end how many connections they made.
"""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from itertools import count

EACH = 30
"""Connections of each kind at a time; one that is hung up on comes again."""
PIECE_S = 0.2
ASKED_AT_ONCE = 20
LAST = 19
"""The niceness that comes after everybody."""
_PIECE = b"7" * 64 * 1024

Kind = Callable[[asyncio.StreamReader, asyncio.StreamWriter, bytes], Awaitable[None]]


async def hostile(port: int, good: bytes, seconds: float) -> int:
    """All of them, for so long; how many connections they made.

    Args:
        good: a request, head and body, that is in order.
    """
    made = count()
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds), asyncio.TaskGroup() as group:
            for kind in (slow_head, slow_body, too_large_a_body, reads_nothing, noise):
                for number in range(EACH):
                    group.create_task(_again_and_again(kind, port, f"127.0.1.{1 + number}", good, made))
            print("at it", flush=True)
    return next(made)


async def slow_head(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, good: bytes) -> None:
    """A byte now and then."""
    writer.write(_begun(good))
    await _drip(reader, writer, b"a", 1_000)


async def slow_body(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, good: bytes) -> None:
    """60 MB are announced, some hundred bytes come now and then."""
    writer.write(_begun(good) + b"Content-Length: 60000000\r\n\r\n")
    await _drip(reader, writer, _PIECE[:200], 5_000)


async def too_large_a_body(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, good: bytes) -> None:
    """10 GB are announced, and come as fast as they are taken."""
    writer.write(_begun(good) + b"Content-Length: 10000000000\r\n\r\n")
    await _drip(reader, writer, _PIECE, 150_000)


async def reads_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, good: bytes) -> None:
    """Many requests at once, and then silence."""
    writer.write(good * ASKED_AT_ONCE)
    await asyncio.sleep(30.0)


async def noise(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, good: bytes) -> None:
    """What is no request."""
    writer.write(bytes(range(256)) * 16)
    await reader.read(1_000)


async def _drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, piece: bytes, times: int) -> None:
    """Send a piece again and again until the server answers or hangs up."""
    told = asyncio.create_task(reader.read(1_000))
    for _ in range(times):
        writer.write(piece)
        done, _ = await asyncio.wait([told], timeout=PIECE_S)
        if done:
            break
    told.cancel()


def _begun(good: bytes) -> bytes:
    """Its head, up to where it says how long the body is."""
    return good.partition(b"Content-Length:")[0]


async def _again_and_again(kind: Kind, port: int, address: str, good: bytes, made: "count[int]") -> None:
    while True:
        with suppress(OSError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(address, 0))
            next(made)
            try:
                await kind(reader, writer, good)
            finally:
                writer.transport.abort()
        await asyncio.sleep(PIECE_S)


if __name__ == "__main__":
    os.nice(LAST)
    print(asyncio.run(hostile(int(sys.argv[1]), sys.stdin.buffer.read(), float(sys.argv[2]))), flush=True)
