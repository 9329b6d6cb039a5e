"""What a tree of processes uses: processor time, memory over time, peak. Standard library only."""

import os
import resource
import time

from sill.engines.local import processes

PSS_FROM = 0.8
"""Part of the memory limit from which shared pages are counted properly, which is slower."""


class Meter:
    """Meters all descendants of this process. Call `sample` every `interval_s`, and after the last one has ended.

    Processor time is exact: the kernel adds up what each waited-for child used. Memory is sampled.
    """

    def __init__(self, memory_bytes_limit: int) -> None:
        self._limit = memory_bytes_limit
        self.without = 0
        """A child that is not metered, with its children."""
        self._start = self._last = time.monotonic()
        self._memory_byte_s = 0.0
        self._memory_bytes = 0
        self.memory_bytes_max = 0

    def sample(self) -> int:
        """Look once; the memory in use now, in bytes."""
        now = time.monotonic()
        pids = processes.descendants(os.getpid(), self.without) if processes.HAS_PROC else []
        memory = sum(map(processes.resident_bytes, pids))
        if self._limit and memory > PSS_FROM * self._limit:
            memory = sum(map(processes.proportional_bytes, pids))
        self._memory_byte_s += (self._memory_bytes + memory) / 2 * (now - self._last)
        self._last = now
        self._memory_bytes = memory
        self.memory_bytes_max = max(self.memory_bytes_max, memory)
        return memory

    def usage(self, accelerators: float = 0.0) -> dict[str, float]:
        """The fields of `sill.costs.types.Usage`."""
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        living = processes.descendants(os.getpid(), self.without) if processes.HAS_PROC else []
        # The largest single process is known exactly even if it lived between two samples (KiB on Linux).
        peak = max(self.memory_bytes_max, children.ru_maxrss * (1024 if processes.HAS_PROC else 1))
        wall_s = time.monotonic() - self._start
        return {
            "wall_s": wall_s,
            "cpu_s": children.ru_utime + children.ru_stime + sum(map(processes.cpu_seconds, living)),
            "memory_gib_s": self._memory_byte_s / 1024**3,
            "accelerator_s": wall_s * accelerators,
            "memory_bytes_max": peak,
        }
