"""What is remembered of answers: every one is counted, and some are kept with their payload. It never waits.

What is kept is bounded by the endpoint's own sample and by a rate, so that the log never slows the path; what is
left out of it still counts, exactly, for the judge, the bill and the promises.
"""

from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from sill.core.clock import Clock
from sill.core.errors import SillError
from sill.core.values import Value
from sill.endpoints.types import PlanEndpoint
from sill.traffic.admission import INTERACTIVE
from sill.traffic.batching import Part
from sill.traffic.pool import Model
from sill.traffic.routing import is_sampled
from sill.traffic.rules import LATENCY_BOUNDS_MS
from sill.traffic.tensors import Question, agree, feature_rows, predictions
from sill.traffic.types import RequestRow

KEPT_PER_S_MAX = 1_000.0
"""Rows kept with their payload, in the long run; as many again as `KEPT_AT_ONCE_MAX` may come at once."""
KEPT_AT_ONCE_MAX = 20_000
WAITING_MAX = 20_000
ERROR_LENGTH_MAX = 300


class Asked(Value, frozen=True, kw_only=True):
    """A request as the plane takes it. `id` is never empty; `version` 0 leaves the choice to the endpoint."""

    id: str
    project: str
    endpoint: str
    tensors: dict[str, Any]
    version: int = 0
    entity: dict[str, str] = {}
    sticky_key: str = ""
    """Requests with the same key go to the same revision; the id decides when it is empty."""
    timeout_ms: float = 0.0
    priority: str = INTERACTIVE
    """See `admission`: who waits less is served first."""


class Seen(Value, frozen=True, kw_only=True):
    """An answer, or a failure, that is kept with its payload, before it is written out."""

    asked: Asked
    endpoint: PlanEndpoint
    model: Model
    question: Question
    at_us: int
    latency_ms: float
    part: Part | None = None
    failed: SillError | None = None
    live: tuple[Model, Part] | None = None
    """Of a shadow's answer: what the live revision answered."""
    is_shadow: bool = False


class Taken(Value, frozen=True, kw_only=True):
    """What was noted up to now, handed over."""

    kept: tuple[Seen, ...]
    counts: dict[tuple[Any, ...], list[float]]

    def rows(self) -> list[RequestRow]:
        """As rows. For any thread: nothing else holds it any more."""
        rows = [_counted_row(key, sums) for key, sums in self.counts.items()]
        return rows + [row for seen in self.kept for row in kept_rows(seen)]


class Recorder:
    """Takes note of answers. Use it from one event loop.

    Args:
        wake: called after each note.
    """

    def __init__(self, clock: Clock, wake: Callable[[], None]) -> None:
        self._clock = clock
        self._wake = wake
        self._kept: deque[Seen] = deque()
        self._counts: dict[tuple[Any, ...], list[float]] = {}
        self._room = float(KEPT_AT_ONCE_MAX)
        self._room_at_s = clock.monotonic_s()

    def note(self, seen: Seen) -> None:
        """Keep it with its payload if the sample and the rate allow, else count it."""
        rows = seen.question.rows
        if is_sampled(seen.asked.id, seen.endpoint.log_sample) and self._take_room(rows):
            self._kept.append(seen)
        else:
            self._count(seen)
        self._wake()

    def keeps(self, rows: int) -> bool:
        """Whether an answer of so many rows would be kept with its payload, if it is in the sample."""
        return len(self._kept) < WAITING_MAX and self._room_now() >= rows

    def count_all(
        self, endpoint: PlanEndpoint, model: Model, at_us: int, latencies_ms: Sequence[float], rows: int, cpu_ms: float
    ) -> None:
        """`note` for answers that are not kept.

        Args:
            rows: of each of them.
            cpu_ms: of each of them.
        """
        first, last = (
            bisect_left(LATENCY_BOUNDS_MS, min(latencies_ms)),
            bisect_left(LATENCY_BOUNDS_MS, max(latencies_ms)),
        )
        if first == last:
            spread = {first: (len(latencies_ms), sum(latencies_ms))}
        else:
            spread = {}
            for latency_ms in latencies_ms:
                place = bisect_left(LATENCY_BOUNDS_MS, latency_ms)
                times, total_ms = spread.get(place, (0, 0.0))
                spread[place] = (times + 1, total_ms + latency_ms)
        revision = model.revision
        for place, (times, total_ms) in spread.items():
            key = (endpoint.project, endpoint.name, revision.number, revision.model_version, False, 200, None, place)
            sums = self._counts.setdefault(key, [0.0, 0.0, 0.0, float(at_us)])
            sums[0] += times * rows
            sums[1] += total_ms * rows
            sums[2] += cpu_ms * times
        self._wake()

    @property
    def waiting(self) -> int:
        """How much waits to be taken."""
        return len(self._kept) + len(self._counts)

    def take(self, limit: int) -> Taken:
        """At most `limit` of the kept, and all counts."""
        counts, self._counts = self._counts, {}
        kept = tuple(self._kept.popleft() for _ in range(min(limit, len(self._kept))))
        return Taken(kept=kept, counts=counts)

    def _take_room(self, rows: int) -> bool:
        if not self.keeps(rows):
            return False
        self._room -= rows
        return True

    def _room_now(self) -> float:
        now_s = self._clock.monotonic_s()
        self._room = min(self._room + (now_s - self._room_at_s) * KEPT_PER_S_MAX, KEPT_AT_ONCE_MAX)
        self._room_at_s = now_s
        return self._room

    def _count(self, seen: Seen) -> None:
        """One entry for each revision, status and range of latency: a few dozen, however many answers there are."""
        agreed = None if seen.live is None else all(agreements(seen))
        key = (
            seen.endpoint.project,
            seen.endpoint.name,
            seen.model.revision.number,
            seen.model.revision.model_version,
            seen.is_shadow,
            200 if seen.failed is None else seen.failed.status,
            agreed if seen.failed is None else (False if seen.is_shadow else None),
            bisect_left(LATENCY_BOUNDS_MS, seen.latency_ms),
        )
        rows, cpu_ms = seen.question.rows, 0.0 if seen.part is None else seen.part.cpu_ms
        sums = self._counts.setdefault(key, [0.0, 0.0, 0.0, float(seen.at_us)])
        sums[0] += rows
        sums[1] += seen.latency_ms * rows
        sums[2] += cpu_ms


def kept_rows(seen: Seen) -> Iterator[RequestRow]:
    """One row for each answered row; those of a shadow say whether the live revision answered the same."""
    asked, revision, rows = seen.asked, seen.model.revision, seen.question.rows
    has_payload = seen.endpoint.log_payload and not (seen.failed is not None and (seen.is_shadow or rows > 1))
    features = feature_rows(seen.model.signature, seen.question) if has_payload else [{}] * rows
    told = None if seen.part is None else predictions(seen.model.signature, seen.part.outputs, rows)
    agreed = list(agreements(seen))
    failed = seen.failed
    for row in range(rows if failed is None else 1):
        yield RequestRow(
            request_id=asked.id if rows == 1 or failed is not None else f"{asked.id}/{row}",
            at_us=seen.at_us,
            project=asked.project,
            endpoint=asked.endpoint,
            revision=revision.number,
            model_version=revision.model_version,
            is_shadow=seen.is_shadow,
            status=200 if failed is None else failed.status,
            latency_ms=seen.latency_ms,
            features=features[row],
            prediction=told[row].text if told is not None and has_payload else "",
            score=told[row].score if told is not None and has_payload else None,
            entity=asked.entity if has_payload else {},
            error="" if failed is None else f"{failed.code}: {failed.message}"[:ERROR_LENGTH_MAX],
            cpu_ms=0.0 if seen.part is None else seen.part.cpu_ms / rows,
            agrees=agreed[row] if agreed else (False if seen.is_shadow else None),
        )


def agreements(seen: Seen) -> Iterator[bool]:
    """For each row of a shadow's answer, whether the live revision answered the same; nothing for others."""
    if seen.live is None or seen.part is None:
        return
    model, part = seen.live
    rows, task = seen.question.rows, seen.model.signature.task
    ours = predictions(seen.model.signature, seen.part.outputs, rows)
    others = predictions(model.signature, part.outputs, rows)
    for one, other in zip(ours, others, strict=True):
        yield agree(task, one.text, other.text)


def _counted_row(key: tuple[Any, ...], sums: list[float]) -> RequestRow:
    project, endpoint, number, version, is_shadow, status, agrees, _ = key
    times, latency_ms, cpu_ms, at_us = sums
    return RequestRow(
        request_id="",
        at_us=int(at_us),
        project=project,
        endpoint=endpoint,
        revision=number,
        model_version=version,
        is_shadow=is_shadow,
        status=status,
        latency_ms=latency_ms / times,
        cpu_ms=cpu_ms / times,
        agrees=agrees,
        is_kept=False,
        times=int(times),
    )
