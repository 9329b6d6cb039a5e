"""Puts long bodies together in place, in memory that is kept for the next one.

A body of 60 MB is 15,000 pages. Measured: taking them from the system anew costs 40 ms and more, and giving them back 4 to
6 ms in one go, during which the event loop answers nobody. So they are kept for a while, and then given back in slices.
"""

import mmap
import sys
import threading
import time
from io import BytesIO

HERE_BYTES = 1024 * 1024
"""Longer bodies are put together in place."""
ROOM_BYTES = 64 * 1024 * 1024
"""Set aside for one at first: addresses, not memory. One that is longer is moved."""
BEFORE_BYTES = 128 * 1024
"""Set aside in front, for a head."""
KEPT_MAX = 8
"""Places that are kept; memory beyond them is given back with its body."""
KEPT_S = 20.0
SLICE_BYTES = 1024 * 1024
"""Given back at a time: tenths of a millisecond."""

Content = bytes | memoryview
"""Of a body: bytes up to `HERE_BYTES`."""


class Gathered:
    """A body out of the pieces it comes in. How much it may be is bounded by who adds to it.

    Attributes:
        size: bytes so far.
    """

    __slots__ = ("_place", "_short", "size")

    def __init__(self) -> None:
        self.size = 0
        self._short = BytesIO()
        self._place: memoryview | None = None

    def add(self, piece: Content) -> None:
        """What came next."""
        at, self.size = self.size, self.size + len(piece)
        if self._place is None and self.size <= HERE_BYTES:
            self._short.write(piece)
            return
        if self._place is None:
            self._place = _PLACES.take(BEFORE_BYTES + self.size)
            self._put(0, self._short.getbuffer())
        elif BEFORE_BYTES + self.size > len(self._place):
            held, self._place = self._place, _PLACES.take(BEFORE_BYTES + 2 * self.size)
            self._put(0, held[BEFORE_BYTES : BEFORE_BYTES + at])
        self._put(at, piece)

    def whole(self, before: bytes = b"") -> Content:
        """All of it.

        Args:
            before: goes in front; `BEFORE_BYTES` at most.
        """
        if self._place is None:
            return before + self._short.getvalue() if before else self._short.getvalue()
        self._put(-len(before), before)
        return self._place[BEFORE_BYTES - len(before) : BEFORE_BYTES + self.size]

    def _put(self, at: int, piece: Content) -> None:
        assert self._place is not None
        self._place[BEFORE_BYTES + at : BEFORE_BYTES + at + len(piece)] = piece


class _Kept:
    """A place that outlives the body in it."""

    __slots__ = ("memory", "used_s")

    def __init__(self, memory: mmap.mmap) -> None:
        self.memory = memory
        self.used_s = time.monotonic()

    @property
    def is_free(self) -> bool:
        """True if nobody looks at it any more: every view of it, and whatever was made of that, refers to the memory."""
        return sys.getrefcount(self.memory) == 2  # ours, and that of the call


class Places:
    """Memory for long bodies. Use it from any thread."""

    def __init__(self, kept_s: float = KEPT_S) -> None:
        self._kept_s = kept_s
        self._kept: list[_Kept] = []
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None

    @property
    def kept(self) -> int:
        """How many there are, in use or not."""
        return len(self._kept)

    def take(self, size_bytes: int) -> memoryview:
        """Room for so much, whatever was there before; it is free again when the last view of it is gone."""
        with self._lock:
            for one in self._kept:
                if len(one.memory) >= size_bytes and one.is_free:
                    one.used_s = time.monotonic()
                    return memoryview(one.memory)
            made = mmap.mmap(
                -1, max(BEFORE_BYTES + ROOM_BYTES, size_bytes), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
            )
            if len(self._kept) < KEPT_MAX:
                self._kept.append(_Kept(made))
                self._sweep_later()
            return memoryview(made)

    def sweep(self) -> None:
        """Give back what was not used for a while."""
        with self._lock:
            self._timer = None
            until_s = time.monotonic() - self._kept_s
            old = [one for one in self._kept if one.used_s <= until_s and one.is_free]
            self._kept = [one for one in self._kept if one not in old]
            if self._kept:
                self._sweep_later()
        for one in old:
            for at in range(0, len(one.memory), SLICE_BYTES):
                one.memory.madvise(mmap.MADV_DONTNEED, at, min(SLICE_BYTES, len(one.memory) - at))
                time.sleep(0)  # whoever waits for the interpreter has it
            one.memory.close()

    def _sweep_later(self) -> None:
        if self._timer is None:
            self._timer = threading.Timer(self._kept_s, self.sweep)
            self._timer.daemon = True
            self._timer.start()


_PLACES = Places()
