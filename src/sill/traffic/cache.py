"""Which models are in memory. One that nobody asks leaves; one that is asked comes back, while its requests are held.

A model stays in its route all the time; only what answers comes and goes. Who asks for one that is not there waits in
its queue (`Batcher.hold`), so every protocol is held alike. Loading happens in threads, so that warm models go on.
Source of the order of leaving: greedy dual size frequency (Cherkasova, 1998): how often it is asked × what loading
takes ÷ what it holds, aged by what left before.
"""

import asyncio
import contextlib
import ctypes
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from sill.core.errors import SillError, Unavailable
from sill.traffic.pool import Loaded, Model

BYTES_SHARE = 0.5
"""The part of the machine's memory that models may take when the setting does not say."""
MODEL_OVERHEAD_BYTES = 512 * 1024
"""What a loaded model takes beside its weights; measured with ONNX Runtime 1.29, small models."""
LOADS_MAX = 2
"""Models loaded at once."""
LOADS_WAITING_MAX = 256
"""Models that may wait to be loaded; who asks for more is told to come again."""
RETRY_S = 1.0
"""A model that could not be loaded is not tried again before."""
SWEEP_S = 0.2
"""How often is looked for models that are idle, and for requests held past their deadline."""

Load = Callable[[], Loaded]


class Entry:
    """One model, and what the cache knows of it."""

    __slots__ = (
        "asked",
        "asked_s",
        "bytes",
        "failed",
        "idle_s",
        "is_loading",
        "load",
        "model",
        "retry_s",
        "times",
        "why",
        "worth",
    )

    def __init__(self, model: Model, load: Load, failed: Callable[[Exception], None], idle_s: float) -> None:
        self.model = model
        self.load = load
        self.failed = failed
        self.idle_s = idle_s
        self.bytes = 0
        self.asked = self.times = 0
        self.asked_s = time.monotonic()
        self.worth = 0.0
        self.is_loading = False
        self.retry_s = 0.0
        self.why: SillError | None = None


class ModelCache:
    """Models within a bound of bytes. Use it from one event loop.

    Args:
        bytes_max: what all models in memory may hold together; 0 for half of the machine's memory.
    """

    def __init__(self, bytes_max: int = 0) -> None:
        self.bytes_max = bytes_max or int(machine_bytes() * BYTES_SHARE)
        self.bytes = 0
        self.loads = self.evictions = 0
        self._entries: dict[int, Entry] = {}
        self._leaving: list[Entry] = []
        """Forgotten, and answering still."""
        self._room = asyncio.Semaphore(LOADS_MAX)
        self._loading: set[asyncio.Task[None]] = set()
        self._closing: set[asyncio.Task[None]] = set()
        self._age = 0.0
        self._process_bytes_before = process_bytes()

    def add(self, model: Model, load: Load, failed: Callable[[Exception], None], idle_s: float) -> None:
        """Look after a model, in memory or not.

        Args:
            load: brings it in; called in a thread.
            failed: told when it could not be, after those who waited.
            idle_s: after so long without a request it leaves; 0 for never.
        """
        entry = self._entries[id(model)] = Entry(model, load, failed, idle_s)
        if model.is_warm:
            self._count(entry)
            self._make_room(0, entry)
        else:
            model.batcher.hold(lambda: self._wake(entry))

    def idle_after(self, model: Model, idle_s: float) -> None:
        """The time without a request after which a model leaves is another now."""
        self._entries[id(model)].idle_s = idle_s

    def keep_only(self, models: list[Model]) -> None:
        """Forget all others, and close what answers for them; what they are answering still, they answer first."""
        kept = {id(model) for model in models}
        for key in [key for key in self._entries if key not in kept]:
            self._leaving.append(self._entries.pop(key))
        self._close_leaving()

    def leave(self, model: Model) -> bool:
        """Let a model go from memory, if nobody is being answered by it. True if it is gone."""
        entry = self._entries.get(id(model))
        if entry is None or not model.is_warm or not model.is_idle:
            return not model.is_warm
        self._evict(entry)
        return True

    @property
    def warm(self) -> int:
        """Models in memory."""
        return sum(entry.model.is_warm for entry in self._entries.values())

    async def run(self) -> None:
        """Let idle models go, and tell those who are held too long, for ever."""
        while True:
            await asyncio.sleep(SWEEP_S)
            self.sweep(time.monotonic())

    def sweep(self, now_s: float) -> None:
        """One look at every model."""
        self._close_leaving()
        for entry in self._entries.values():
            self._see(entry, now_s)
            if entry.is_loading:
                entry.model.batcher.expire(_not_in_time())
            is_idle = entry.idle_s and now_s - entry.asked_s > entry.idle_s
            if is_idle and entry.model.is_warm and entry.model.is_idle:
                self._evict(entry)

    def _wake(self, entry: Entry) -> None:
        """Somebody asks for a model that is not there. Called once until it is, or those who wait were refused."""
        if entry.is_loading:
            return
        if entry.why is not None and time.monotonic() < entry.retry_s:
            entry.model.batcher.refuse_all(entry.why)
            return
        if len(self._loading) >= LOADS_WAITING_MAX:
            entry.model.batcher.refuse_all(
                Unavailable(
                    f"{len(self._loading)} models wait to be loaded; {LOADS_WAITING_MAX} may.",
                    fix="Try again in a second.",
                    retry_after_s=RETRY_S,
                )
            )
            return
        entry.is_loading = True
        task = asyncio.get_running_loop().create_task(self._load(entry))
        self._loading.add(task)
        task.add_done_callback(self._loading.discard)

    async def _load(self, entry: Entry) -> None:
        model = entry.model
        try:
            async with self._room:
                self._make_room(entry.bytes or MODEL_OVERHEAD_BYTES, entry)
                loaded = await asyncio.to_thread(entry.load)
            self._fit(entry, loaded)
        except Exception as broken:  # whatever a model raises while it is loaded concerns this model
            entry.why = broken if isinstance(broken, SillError) else _broken(broken)
            entry.retry_s = time.monotonic() + RETRY_S
            model.batcher.refuse_all(entry.why)
            entry.failed(broken)
        finally:
            entry.is_loading = False

    def _fit(self, entry: Entry, loaded: Loaded) -> None:
        """Take a loaded model in, and let others go for it.

        Raises:
            Unavailable: those that are there are all at work, or it is larger than everything may be.
        """
        size_bytes = loaded.runtime.memory_bytes() + MODEL_OVERHEAD_BYTES
        if self._entries.get(id(entry.model)) is not entry and entry not in self._leaving:
            self._close(loaded.runtime.close)
            raise _left_the_plan()
        if not self._make_room(size_bytes, entry):
            self._close(loaded.runtime.close)
            raise Unavailable(
                f"the model takes {size_bytes:,} bytes; models in memory hold {self.bytes:,} of {self.bytes_max:,} and "
                "none of them can leave now.",
                fix="Try again in a second, or set SILL_MODEL_CACHE_BYTES higher.",
                retry_after_s=RETRY_S,
            )
        entry.why = None
        self.loads += 1
        entry.model.wake(loaded)
        self._count(entry)

    def _count(self, entry: Entry) -> None:
        entry.bytes = entry.model.memory_bytes + MODEL_OVERHEAD_BYTES
        entry.asked_s = time.monotonic()
        self.bytes += entry.bytes
        self._see(entry, entry.asked_s, more=1)

    def _see(self, entry: Entry, now_s: float, more: int = 0) -> None:
        """Take note of what was asked since the last look. Nothing is counted on the path of a request."""
        counted = entry.model.batcher.statistics
        asked = counted.answered + counted.failed
        fresh, entry.asked = asked - entry.asked + more, asked
        if fresh > 0 or entry.model.batcher.waiting:
            entry.asked_s = now_s
            entry.times += fresh
            entry.worth = self._age + entry.times * entry.model.load_ms / max(entry.bytes, 1)

    def _make_room(self, size_bytes: int, for_whom: Entry) -> bool:
        """Let models go until so many bytes are free, by our count and by what the process holds. False if they are not."""
        now_s, was_over = time.monotonic(), process_bytes() - self._process_bytes_before > self.bytes_max
        free = [one for one in self._entries.values() if one is not for_whom and one.model.is_warm]
        for entry in free:
            self._see(entry, now_s)
        free.sort(key=lambda one: (one.worth, one.asked_s), reverse=True)
        while free and (self.bytes + size_bytes > self.bytes_max or was_over):
            entry = free.pop()
            if entry.model.is_idle:
                self._age = max(self._age, entry.worth)
                self._evict(entry)
                was_over = False  # one for each that comes: freed memory is not given back at once
        return self.bytes + size_bytes <= self.bytes_max

    def _evict(self, entry: Entry) -> None:
        self.evictions += 1
        self._put_to_sleep(entry, lambda: self._wake(entry))

    def _close_leaving(self) -> None:
        """Close what nobody needs any more, as soon as it is idle."""
        for entry in [one for one in self._leaving if one.model.is_idle]:
            self._leaving.remove(entry)
            self._put_to_sleep(entry, partial(entry.model.batcher.refuse_all, _left_the_plan()))

    def _put_to_sleep(self, entry: Entry, wake: Callable[[], None]) -> None:
        is_warm = entry.model.is_warm
        close = entry.model.sleep(wake)
        if is_warm:
            self.bytes -= entry.bytes
            self._close(close)

    def _close(self, close: Callable[[], None]) -> None:
        task = asyncio.get_running_loop().create_task(asyncio.to_thread(_close_and_trim, close))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


def process_bytes() -> int:
    """What this process holds in memory now. 0 where the system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def machine_bytes() -> int:
    """The machine's memory."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _close_and_trim(close: Callable[[], None]) -> None:
    """Let go, and give the memory back to the system, where the C library can (glibc)."""
    close()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def _left_the_plan() -> Unavailable:
    return Unavailable("this revision is served no more.", fix="Ask again: another one answers.", retry_after_s=RETRY_S)


def _not_in_time() -> Unavailable:
    return Unavailable(
        "the model is being loaded, and was not there before the deadline passed.",
        fix="Try again in a second, or allow more time.",
        retry_after_s=RETRY_S,
    )


def _broken(error: Exception) -> Unavailable:
    return Unavailable(f"the model could not be loaded: {type(error).__name__}.", fix="Look at the inference log.")
