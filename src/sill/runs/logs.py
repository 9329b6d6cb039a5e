"""The output of a run's attempts as one text, read in pieces as it grows."""

import asyncio
import codecs
from collections.abc import Awaitable, Callable

from sill.engines.types import Engine
from sill.runs.types import LogChunk, Run

CHUNK_BYTES_MAX = 256 * 1024
WAIT_S_MAX = 30.0
POLL_S = 0.15


async def read(engine: Engine, look: Callable[[], Awaitable[Run]], offset: int) -> LogChunk:
    """The piece from `offset` on; `look` gives the run as it stands."""
    run = await look()  # before the output: what a run wrote before it was over is then surely seen
    data, is_all = await asyncio.to_thread(_read, engine, run, offset)
    is_end = run.state.is_final and is_all
    # Cut before a character that is not whole yet; what is no UTF-8 is shown as �.
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    text = decoder.decode(data, final=is_end)
    kept = len(decoder.getstate()[0])
    return LogChunk(text=text, next_offset=offset + len(data) - kept, is_end=is_end)


def _read(engine: Engine, run: Run, offset: int) -> tuple[bytes, bool]:
    """Bytes from `offset` on, attempts one after the other, and whether they reach the present end."""
    data = b""
    skip = offset
    for attempt in range(1, run.attempt + 1):
        piece = engine.read_log(engine.handle(run.id, attempt), skip, CHUNK_BYTES_MAX - len(data))
        data += piece.data
        if skip + len(piece.data) < piece.size_bytes:
            return data, False
        skip = max(0, skip - piece.size_bytes)
    return data, True
