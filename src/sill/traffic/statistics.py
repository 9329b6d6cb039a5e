"""Counts of one loaded model: how often, how long, in batches of what size. Kept in memory; they start at zero with it.

Times are nanoseconds, as the protocol's statistics extension has them
(triton-inference-server/server, docs/protocol/extension_statistics.md).
"""

from bisect import bisect_left
from collections import Counter

from sill.traffic.rules import LATENCY_BOUNDS_MS

Ranges = list[tuple[int, int, float]]
"""Latencies by range: its place among `LATENCY_BOUNDS_MS`, how many lie in it, and their sum."""


def ranges_of(latencies_ms: list[float]) -> Ranges:
    """Latencies by range; there is at least one. Those of a batch mostly lie in one."""
    first = bisect_left(LATENCY_BOUNDS_MS, latencies_ms[0])
    if len(latencies_ms) == 1:
        return [(first, 1, latencies_ms[0])]
    first = bisect_left(LATENCY_BOUNDS_MS, min(latencies_ms))
    if bisect_left(LATENCY_BOUNDS_MS, max(latencies_ms)) == first:
        return [(first, len(latencies_ms), sum(latencies_ms))]
    counted: dict[int, list[float]] = {}
    for latency_ms in latencies_ms:
        counted.setdefault(bisect_left(LATENCY_BOUNDS_MS, latency_ms), []).append(latency_ms)
    return [(place, len(some), sum(some)) for place, some in counted.items()]


class Statistics:
    """Of one model. Written by the loop's thread alone.

    Attributes:
        answered, failed: requests.
        failures: requests without an answer, by the status they were told.
        rows: rows of answered requests.
        executions: by how many rows were asked at once; how often.
        execution_ns: by the same; the model's own time.
        latency_counts: requests by range of latency, bounded as `LATENCY_BOUNDS_MS` says, and what is above.
        total_ns, failed_ns, queue_ns: summed over requests.
        last_ms: when it was last asked, since 1970 UTC; 0 for never.
    """

    __slots__ = (
        "answered",
        "execution_ns",
        "executions",
        "failed",
        "failed_ns",
        "failures",
        "last_ms",
        "latency_counts",
        "queue_ns",
        "rows",
        "total_ns",
    )

    def __init__(self) -> None:
        self.answered = self.failed = self.rows = 0
        self.total_ns = self.failed_ns = self.queue_ns = 0
        self.last_ms = 0
        self.failures: Counter[int] = Counter()
        self.executions: Counter[int] = Counter()
        self.execution_ns: Counter[int] = Counter()
        self.latency_counts = [0] * (len(LATENCY_BOUNDS_MS) + 1)

    def executed(self, rows: int, took_ns: int, waited_ns: int) -> None:
        """The model was asked once, for requests that had waited so long together."""
        self.executions[rows] += 1
        self.execution_ns[rows] += took_ns
        self.queue_ns += waited_ns

    def told(self, rows: int, latency_ms: float, at_ms: int, *, is_answer: bool, status: int = 500) -> None:
        """A request got its answer, or was told that there is none.

        Args:
            status: of a failure.
        """
        self.last_ms = at_ms
        took_ns = round(latency_ms * 1e6)
        if not is_answer:
            self.failed += 1
            self.failures[status] += 1
            self.failed_ns += took_ns
            return
        self.answered += 1
        self.rows += rows
        self.total_ns += took_ns
        self.latency_counts[bisect_left(LATENCY_BOUNDS_MS, latency_ms)] += 1

    def told_all(self, rows: int, ranges: "Ranges", at_ms: int) -> None:
        """Requests of so many rows each got their answers."""
        self.last_ms = at_ms
        for place, times, total_ms in ranges:
            self.answered += times
            self.rows += rows * times
            self.total_ns += int(total_ms * 1e6)
            self.latency_counts[place] += times

    @property
    def compute_ns(self) -> int:
        """The model's own time in all."""
        return sum(self.execution_ns.values())
