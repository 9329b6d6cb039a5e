"""Hands the body of a request to the app piece by piece, counting bytes, pieces and seconds. Parsing is left to others."""

import zlib
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import anyio
import anyio.lowlevel

from sill.core.clock import Clock
from sill.core.errors import InvalidValue, SillError, TooLarge
from sill.safety.gate_rules import GateLimits, Head
from sill.safety.limits import Reservation

PIECE_BYTES = 64 * 1024
"""Inflated in one turn of the event loop."""
RATIO_FREE_BYTES = 1024**2
PIECE_BYTES_EXPECTED = 4_096

Message = MutableMapping[str, Any]


class Body:
    """Stands between server and app. Its errors are raised in the app's `receive`, and kept in `failure`.

    Attributes:
        failure: the error that ended the body; the answer is made from it whatever the app does with it.
        is_complete: all of it was received.
        is_gone: the client left before that.
    """

    def __init__(
        self,
        receive: Callable[[], Awaitable[Message]],
        head: Head,
        limits: GateLimits,
        bytes_max: int,
        clock: Clock,
        memory: Reservation | None = None,
    ) -> None:
        self.failure: SillError | None = None
        self.is_complete = not head.has_body
        self.is_gone = False
        self._receive = receive
        self._limits = limits
        self._bytes_max = bytes_max
        self._clock = clock
        self._memory = memory
        self._inflater = _Inflater(head.coding, bytes_max, limits.ratio_max) if head.coding and head.has_body else None
        self._received_bytes = 0
        self._pieces = 0
        self._waited_s = 0.0

    async def receive(self) -> Message:
        """The next message for the app."""
        if self.failure is not None:
            raise self.failure
        try:
            if self._inflater is not None:
                return await self._receive_inflated(self._inflater)
            return await self._receive_counted()
        except SillError as failure:
            self.failure = failure
            raise

    async def _receive_inflated(self, inflater: "_Inflater") -> Message:
        while not inflater.is_finished:
            if not inflater.has_input and not self.is_complete:
                message = await self._receive_counted()
                if message["type"] != "http.request":
                    return message
                inflater.feed(message.get("body", b""))
                continue
            await anyio.lowlevel.checkpoint()
            piece = inflater.next_piece()
            if not piece and not inflater.has_input and self.is_complete:
                inflater.finish()
            if piece or inflater.is_finished:
                self._reserve(len(piece))
                return {"type": "http.request", "body": piece, "more_body": not inflater.is_finished}
        return await self._receive()

    async def _receive_counted(self) -> Message:
        if self.is_complete:
            return await self._receive()  # empty body, or waiting for the client to leave: no limit applies
        message = await self._receive_in_time()
        if message["type"] != "http.request":
            self.is_gone = True
            return message
        body = message.get("body", b"")
        self._received_bytes += len(body)
        self._pieces += 1
        self.is_complete = not message.get("more_body", False)
        if self._received_bytes > self._bytes_max:
            raise TooLarge(f"the body is longer than {self._bytes_max:,} bytes.", bytes_max=self._bytes_max)
        # Large bodies may come in more pieces, small pieces not without end.
        if self._pieces > self._limits.chunks_max + self._received_bytes // PIECE_BYTES_EXPECTED:
            raise TooLarge(f"the body came in more than {self._limits.chunks_max:,} pieces.", fix="Send larger pieces.")
        self._reserve(len(body))
        return message

    async def _receive_in_time(self) -> Message:
        limits = self._limits
        by_rate_s = limits.body_grace_s + self._received_bytes / limits.body_bytes_per_s_min
        left_s = min(by_rate_s, limits.body_seconds_max) - self._waited_s
        started_s = self._clock.monotonic_s()
        message: Message | None = None
        if left_s > 0:  # else it dripped: each piece came in time, all together too little
            with anyio.move_on_after(left_s):
                message = await self._receive()
        self._waited_s += self._clock.monotonic_s() - started_s
        if message is None:
            raise InvalidValue(
                f"the body comes too slowly: less than {limits.body_bytes_per_s_min:g} bytes a second after "
                f"{limits.body_grace_s:g} s, or more than {limits.body_seconds_max:g} s in all.",
                fix="Send it again over a better connection, or in parts.",
                field="body",
            )
        return message

    def _reserve(self, size_bytes: int) -> None:
        if self._memory is not None:
            self._memory.grow(size_bytes)


class _Inflater:
    """Inflates gzip or deflate in pieces, and stops before a bomb is one.

    Attributes:
        has_input: there is input that was not inflated yet.
        is_finished: the end was reached and checked.
    """

    def __init__(self, coding: str, bytes_max: int, ratio_max: float) -> None:
        self.has_input = False
        self.is_finished = False
        self._zlib = zlib.decompressobj(16 + zlib.MAX_WBITS if coding == "gzip" else zlib.MAX_WBITS)
        self._coding = coding
        self._input = b""
        self._fed_bytes = 0
        self._produced_bytes = 0
        self._bytes_max = bytes_max
        self._ratio_max = ratio_max

    def feed(self, packed: bytes) -> None:
        self._input += packed
        self._fed_bytes += len(packed)
        self.has_input = bool(self._input)

    def next_piece(self) -> bytes:
        try:
            piece = self._zlib.decompress(self._input, PIECE_BYTES)
        except zlib.error as wrong:
            raise InvalidValue(f"the body is not {self._coding}.", field="body") from wrong
        if self._zlib.unused_data:
            raise InvalidValue(f"something follows the end of the {self._coding} body.", field="body")
        self._input = self._zlib.unconsumed_tail
        self.has_input = bool(self._input)
        self._produced_bytes += len(piece)
        used_bytes = self._fed_bytes - len(self._input)
        is_bomb = self._produced_bytes > RATIO_FREE_BYTES and self._produced_bytes > self._ratio_max * used_bytes
        if self._produced_bytes > self._bytes_max or is_bomb:
            raise TooLarge(
                f"the body inflates to more than {self._bytes_max:,} bytes, or {self._ratio_max:g} times its size.",
                fix="Send it uncompressed, or in parts.",
            )
        return piece

    def finish(self) -> None:
        if not self._zlib.eof:
            raise InvalidValue(f"the {self._coding} body is cut short.", field="body")
        self.is_finished = True
