"""A model's answer in parts: its iterator runs in a thread of its own, a bounded queue lies between it and the loop."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

QUEUE_PARTS_MAX = 16
"""Parts a model may be ahead of who reads them."""
STREAMS_MAX = 16
"""Streams that run at once; others wait for their turn."""

_THREADS = ThreadPoolExecutor(STREAMS_MAX, "stream")
_END = object()


async def follow(parts: Iterator[Any], deadline_s: float) -> AsyncGenerator[Any, None]:
    """What an iterator that blocks gives, as it comes. Who stops reading stops it after the part it is at.

    Args:
        parts: closed at the end, if it can be.
        deadline_s: on the loop's clock, for all parts together.
    Raises:
        TimeoutError: the deadline passed.
        Exception: whatever the iterator raises, after the parts before it.
    """
    loop, queue = asyncio.get_running_loop(), asyncio.Queue[Any](QUEUE_PARTS_MAX)
    room, is_left = threading.Semaphore(QUEUE_PARTS_MAX), threading.Event()

    def tell(part: Any) -> bool:
        room.acquire()
        if is_left.is_set():
            return False
        with suppress(RuntimeError):  # the loop is closed: nobody reads any more
            loop.call_soon_threadsafe(queue.put_nowait, part)
        return True

    def run() -> None:
        last: Any = _END
        try:
            for part in parts:
                if not tell(part):
                    return
        except Exception as failed:  # whatever a model raises is told to who reads
            last = failed
        finally:
            close = getattr(parts, "close", None)
            if close is not None:
                close()
        tell(last)

    _THREADS.submit(run)
    try:
        while (part := await _next(queue, deadline_s)) is not _END:
            if isinstance(part, Exception):
                raise part
            room.release()
            yield part
    finally:
        is_left.set()
        room.release()


async def _next(queue: asyncio.Queue[Any], deadline_s: float) -> Any:
    """The clock runs here only, not while whoever reads does something else: a deadline must not end that."""
    if asyncio.get_running_loop().time() >= deadline_s:
        raise TimeoutError
    async with asyncio.timeout_at(deadline_s):
        return await queue.get()
