"""What is remembered of answers: every one is counted, and some are kept with their payload. It never waits.

What is kept is bounded by the endpoint's own sample and by a rate, so that the log never slows the path; what is
left out of it still counts, exactly, for the judge, the bill and the promises.
"""

from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from sill.core.clock import Clock
from sill.core.errors import SillError
from sill.core.values import Value
from sill.endpoints.types import PlanEndpoint
from sill.traffic.admission import INTERACTIVE
from sill.traffic.pool import Model
from sill.traffic.routing import is_sampled
from sill.traffic.rules import LATENCY_BOUNDS_MS
from sill.traffic.statistics import Ranges
from sill.traffic.tensors import Prediction, Question, agree, feature_rows, predictions
from sill.traffic.types import RequestRow
from sill.traffic.waiting import Answered, Part, Waiting, arrays_of

KEPT_PER_S_MAX = 500.0
"""Rows kept with their payload, in the long run; as many again as `KEPT_AT_ONCE_MAX` may come at once."""
KEPT_AT_ONCE_MAX = 5_000
ROW_BYTES = 256
"""A larger row counts as several: what it costs to keep grows with it."""
WAITING_MAX = 20_000
KEPT_BYTES_MAX = 64 * 1024 * 1024
"""Bytes of inputs that wait to be written; what is above is counted only."""
ERROR_LENGTH_MAX = 300
_UNTOLD = Prediction(text="")


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


class SeenTogether(Value, frozen=True):
    """Answers of one batch to requests alike, kept with their payload; they are taken apart when they are written out.

    Attributes:
        asked: what they have in common; it has no tensors, and an id that is nobody's.
        told_ns: when they were answered, on the performance counter.
    """

    asked: Asked
    endpoint: PlanEndpoint
    model: Model
    batch: list[Waiting]
    answered: Answered
    at_us: int
    told_ns: int

    @property
    def outputs(self) -> dict[str, Any]:
        """Their rows of the batch's answer, in their order."""
        first, last = self.batch[0], self.batch[-1]
        rows = sum(one.rows for one in self.batch)
        if last.start + last.rows - first.start == rows:
            return Part(self.answered, first.start, first.start + rows).outputs
        places = [row for one in self.batch for row in range(one.start, one.start + one.rows)]
        return {name: array[places] for name, array in self.answered.outputs.items()}


class Taken(Value, frozen=True, kw_only=True):
    """What was noted up to now, handed over.

    Attributes:
        requests: how many of them are kept with their payload.
    """

    kept: tuple[Seen | SeenTogether, ...]
    counts: dict[tuple[Any, ...], list[float]]
    requests: int

    def rows(self) -> list[RequestRow]:
        """As rows. For any thread: nothing else holds it any more."""
        rows = [_counted_row(key, sums) for key, sums in self.counts.items()]
        for seen in self.kept:
            rows += kept_rows(seen) if isinstance(seen, Seen) else kept_rows_together(seen)
        return rows


class Recorder:
    """Takes note of answers. Use it from one event loop.

    Args:
        wake: called with the first note after each `take`.
    """

    def __init__(self, clock: Clock, wake: Callable[[], None]) -> None:
        self._clock = clock
        self._wake = wake
        self._is_awake = False
        self._kept: deque[tuple[Seen | SeenTogether, int, int]] = deque()
        """With how many requests they are, and their bytes."""
        self._kept_requests = self._kept_bytes = 0
        self._counts: dict[tuple[Any, ...], list[float]] = {}
        self._room = float(KEPT_AT_ONCE_MAX)
        self._room_at_s = clock.monotonic_s()

    def note(self, seen: Seen) -> None:
        """Keep it with its payload if the sample and the rate allow, else count it."""
        rows, size = seen.question.rows, sum(array.nbytes for array in seen.question.arrays.values())
        if is_sampled(seen.asked.id, seen.endpoint.log_sample) and self._room_for(rows, size):
            self._keep(seen, 1, room_of(rows, size), size)
        else:
            self._count(seen)
        self._rouse()

    def note_together(self, seen: SeenTogether) -> list[Waiting]:
        """Keep answers with their payload as far as the sample and the rate allow; the others, which are to be counted."""
        batch, share = seen.batch, seen.endpoint.log_sample
        rows, size = batch[0].rows, len(batch[0].packed)
        count = min(self._room_for(rows, size), len(batch))
        if not count:
            return batch
        if share >= 1.0:
            kept, rest = batch[:count], batch[count:]
        else:
            kept = [one for one in batch[:count] if is_sampled(one.id, share)]
            rest = [one for one in batch if one not in kept]
        if kept:
            part = seen if kept is batch else msgspec.structs.replace(seen, batch=kept)
            self._keep(part, len(kept), room_of(rows, size) * len(kept), size * len(kept))
            self._rouse()
        return rest

    def count_all(
        self, endpoint: PlanEndpoint, model: Model, at_us: int, ranges: Ranges, rows: int, cpu_ms: float
    ) -> None:
        """Count answers that are not kept.

        Args:
            ranges: their latencies.
            rows: of each of them.
            cpu_ms: of each of them.
        """
        revision = model.revision
        for place, times, total_ms in ranges:
            key = (endpoint.project, endpoint.name, revision.number, revision.model_version, False, 200, None, place)
            sums = self._counts.get(key)
            if sums is None:
                sums = self._counts[key] = [0.0, 0.0, 0.0, float(at_us)]
            sums[0] += times * rows
            sums[1] += total_ms * rows
            sums[2] += cpu_ms * times
        self._rouse()

    @property
    def waiting(self) -> int:
        """How much waits to be taken."""
        return self._kept_requests + len(self._counts)

    def take(self, limit: int) -> Taken:
        """About `limit` of the kept, and all counts."""
        self._is_awake = False
        counts, self._counts = self._counts, {}
        kept: list[Seen | SeenTogether] = []
        taken = 0
        while self._kept and taken < limit:
            seen, requests, size = self._kept.popleft()
            kept.append(seen)
            taken += requests
            self._kept_bytes -= size
        self._kept_requests -= taken
        return Taken(kept=tuple(kept), counts=counts, requests=taken)

    def _rouse(self) -> None:
        if not self._is_awake:
            self._is_awake = True
            self._wake()

    def _keep(self, seen: Seen | SeenTogether, requests: int, room: int, size: int) -> None:
        self._kept.append((seen, requests, size))
        self._kept_requests += requests
        self._kept_bytes += size
        self._room -= room

    def _room_for(self, rows: int, size: int) -> int:
        """How many answers of so many rows and bytes may be kept now."""
        now_s = self._clock.monotonic_s()
        self._room = min(self._room + (now_s - self._room_at_s) * KEPT_PER_S_MAX, KEPT_AT_ONCE_MAX)
        self._room_at_s = now_s
        room = room_of(rows, size)
        if self._room < room or self._kept_requests >= WAITING_MAX or self._kept_bytes + size > KEPT_BYTES_MAX:
            return 0
        by_bytes = (KEPT_BYTES_MAX - self._kept_bytes) // max(size, 1)
        return min(int(self._room / max(room, 1)), WAITING_MAX - self._kept_requests, by_bytes)

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
    asked, rows, failed = seen.asked, seen.question.rows, seen.failed
    has_payload = seen.endpoint.log_payload and not (failed is not None and (seen.is_shadow or rows != 1))
    features = feature_rows(seen.model.signature, seen.question) if has_payload else [{}] * max(rows, 1)
    told = None if seen.part is None else predictions(seen.model.signature, seen.part.outputs, rows)
    agreed = list(agreements(seen))
    for row in range(rows if failed is None else 1):
        yield _row(
            seen,
            asked.id if rows == 1 or failed is not None else f"{asked.id}/{row}",
            seen.latency_ms,
            features[row],
            told[row] if told is not None and has_payload else _UNTOLD,
            cpu_ms=0.0 if seen.part is None else seen.part.cpu_ms / rows,
            is_shadow=seen.is_shadow,
            entity=asked.entity if has_payload else {},
            failed=failed,
            agrees=agreed[row] if agreed else (False if seen.is_shadow else None),
        )


def kept_rows_together(seen: SeenTogether) -> Iterator[RequestRow]:
    """One row for each row of each request."""
    batch, signature, has_payload = seen.batch, seen.model.signature, seen.endpoint.log_payload
    rows = sum(one.rows for one in batch)
    features: list[dict[str, Any]] = [{}] * rows
    told = [_UNTOLD] * rows
    if has_payload:
        features = feature_rows(signature, Question(arrays=arrays_of(batch), rows=rows))
        told = predictions(signature, seen.outputs, rows)
    cpu_ms = seen.answered.cpu_ms / max(seen.answered.rows, 1)
    at = 0
    for one in batch:
        latency_ms = (seen.told_ns - one.came_ns) / 1e6
        for row in range(one.rows):
            request_id = one.id if one.rows == 1 else f"{one.id}/{row}"
            yield _row(seen, request_id, latency_ms, features[at], told[at], cpu_ms=cpu_ms)
            at += 1


def _row(
    seen: Seen | SeenTogether,
    request_id: str,
    latency_ms: float,
    features: dict[str, Any],
    told: Prediction,
    *,
    cpu_ms: float,
    is_shadow: bool = False,
    entity: dict[str, str] | None = None,
    failed: SillError | None = None,
    agrees: bool | None = None,
) -> RequestRow:
    revision = seen.model.revision
    return RequestRow(
        request_id=request_id,
        at_us=seen.at_us,
        project=seen.asked.project,
        endpoint=seen.asked.endpoint,
        revision=revision.number,
        model_version=revision.model_version,
        is_shadow=is_shadow,
        status=200 if failed is None else failed.status,
        latency_ms=latency_ms,
        features=features,
        prediction=told.text,
        score=told.score,
        entity=entity or {},
        error="" if failed is None else f"{failed.code}: {failed.message}"[:ERROR_LENGTH_MAX],
        cpu_ms=cpu_ms,
        agrees=agrees,
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


def room_of(rows: int, size: int) -> int:
    """How many rows an answer of so many rows, and bytes of input in all, counts as."""
    return max(rows, -(-size // ROW_BYTES))


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
