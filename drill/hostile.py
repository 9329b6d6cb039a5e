"""Clients that mean no good: slow heads, slow bodies, lies about lengths, requests whose answers nobody reads, and noise."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from drill.house import CHEAP, PATIENT_MS, content

EACH = 30
"""Connections of each kind at a time; one that is hung up on comes again."""
PIECE_S = 0.2
ASKED_AT_ONCE = 20
_CONTENT = content(CHEAP, PATIENT_MS)
_PIECE = b"7" * 64 * 1024
_HEAD = _CONTENT.partition(b"Content-Length:")[0]

Kind = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def hostile(port: int) -> None:
    """All of them, for ever."""
    async with asyncio.TaskGroup() as group:
        for kind in (slow_head, slow_body, too_large_a_body, reads_nothing, noise):
            for number in range(EACH):
                group.create_task(_again_and_again(kind, port, f"127.0.1.{1 + number}"))


async def slow_head(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A byte now and then."""
    writer.write(_HEAD)
    await _drip(reader, writer, b"a", 1_000)


async def slow_body(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """60 MB are announced, some hundred bytes come now and then."""
    writer.write(_HEAD + b"Content-Length: 60000000\r\n\r\n")
    await _drip(reader, writer, _PIECE[:200], 5_000)


async def too_large_a_body(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """10 GB are announced, and come as fast as they are taken."""
    writer.write(_HEAD + b"Content-Length: 10000000000\r\n\r\n")
    await _drip(reader, writer, _PIECE, 150_000)


async def reads_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Many requests at once, and then silence."""
    writer.write(_CONTENT * ASKED_AT_ONCE)
    await asyncio.sleep(30.0)


async def noise(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
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


async def _again_and_again(kind: Kind, port: int, address: str) -> None:
    while True:
        with suppress(OSError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(address, 0))
            try:
                await kind(reader, writer)
            finally:
                writer.transport.abort()
        await asyncio.sleep(PIECE_S)
