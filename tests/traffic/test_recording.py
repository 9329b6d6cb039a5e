"""Every answer counts; payloads are kept by sample and rate."""

import msgspec
import numpy as np
import pytest

from sill.core.clock import ManualClock
from sill.core.errors import Unavailable
from sill.safety.limits import InFlight
from sill.testing.serving_models import rows_model, seen
from sill.traffic.alike import Alike, House
from sill.traffic.plane import Plane
from sill.traffic.pool import Route
from sill.traffic.recording import (
    KEPT_AT_ONCE_MAX,
    KEPT_BYTES_MAX,
    KEPT_PER_S_MAX,
    ROW_BYTES,
    Recorder,
    SeenTogether,
    kept_rows,
)
from sill.traffic.routing import is_sampled
from sill.traffic.statistics import Statistics, ranges_of
from sill.traffic.tensors import Question
from sill.traffic.waiting import Answered, Waiting

MODEL = rows_model()


def together(count: int, rows: int = 1, log_sample: float = 1.0) -> SeenTogether:
    """A batch of requests of so many rows each, answered by their places."""
    one = seen(model=MODEL, log_sample=log_sample)
    alike = Alike(House(Plane(ManualClock(), Recorder(ManualClock(), lambda: None)), InFlight(8), ManualClock()),
                  Route(endpoint=one.endpoint, answering=(MODEL,)), MODEL, one.asked, "t", "input", rows)  # fmt: skip
    numbers = np.arange(3 * rows * count, dtype=np.float32).reshape(count, rows * 3)
    batch = [
        Waiting(
            rows, 9.0, lambda _: None, None, alike, packed.tobytes(), f"req-{number}", came_ns=0, start=number * rows
        )
        for number, packed in enumerate(numbers)
    ]
    answered = Answered(
        {
            "label": np.array([f"c{row}" for row in range(rows * count)], object),
            "probabilities": np.ones((rows * count, 2)),
        },
        rows * count,
        float(rows * count),
    )
    return SeenTogether(one.asked, one.endpoint, MODEL, batch, answered, at_us=7, told_ns=2_000_000)


def test_what_the_sample_leaves_out_is_counted_by_range_of_latency() -> None:
    recorder = Recorder(ManualClock(), lambda: None)
    for number in range(100):
        recorder.note(seen(number, log_sample=0.0, latency_ms=1.0 if number % 4 else 40.0, model=MODEL))

    rows = recorder.take(500).rows()

    assert {(round(row.latency_ms), row.times) for row in rows} == {(1, 75), (40, 25)}
    assert not any(row.is_kept or row.features for row in rows)
    assert sum(row.cpu_ms * row.times for row in rows) == pytest.approx(50.0)


def test_beyond_the_rate_answers_are_counted_not_kept() -> None:
    clock = ManualClock()
    recorder = Recorder(clock, lambda: None)
    one = seen(1, model=MODEL)
    for _ in range(KEPT_AT_ONCE_MAX + 7):
        recorder.note(one)
    at_once = recorder.take(KEPT_AT_ONCE_MAX)
    clock.advance(1.0)
    for _ in range(int(KEPT_PER_S_MAX) + 5):
        recorder.note(one)
    a_second_later = recorder.take(KEPT_AT_ONCE_MAX)

    assert len(at_once.kept) == KEPT_AT_ONCE_MAX
    assert [row.times for row in at_once.rows() if not row.is_kept] == [7]
    assert len(a_second_later.kept) == int(KEPT_PER_S_MAX)


@pytest.mark.parametrize("count", [0, 2])
def test_a_failed_question_of_no_rows_or_many_is_one_row_without_its_payload(count: int) -> None:
    question = Question(arrays={"input": np.zeros((count, 3), np.float32)}, rows=count)
    one = msgspec.structs.replace(seen(model=MODEL), question=question, part=None, failed=Unavailable("late"))

    assert [(row.status, row.features, row.error) for row in kept_rows(one)] == [(503, {}, "unavailable: late")]


def test_the_last_part_of_an_answer_need_not_have_the_rows_of_its_question() -> None:
    question = Question(arrays={"input": np.zeros((3, 3), np.float32)}, rows=3)
    one = msgspec.structs.replace(seen(model=MODEL), question=question)

    assert [row.prediction for row in kept_rows(one)] == ["", "", ""]


@pytest.mark.parametrize("rows", [1, 2])
def test_answers_kept_together_are_the_rows_each_would_be(rows: int) -> None:
    recorder = Recorder(ManualClock(), lambda: None)
    assert recorder.note_together(together(3, rows)) == []

    told = recorder.take(10).rows()

    assert [row.prediction for row in told] == [f"c{row}" for row in range(3 * rows)]
    assert [list(row.features.values()) for row in told] == np.arange(9.0 * rows).reshape(-1, 3).tolist()
    assert len({row.request_id for row in told}) == 3 * rows
    assert {(row.latency_ms, row.cpu_ms, row.status) for row in told} == {(2.0, 1.0, 200)}


def test_of_those_answered_together_the_sample_and_the_room_decide_who_is_kept() -> None:
    recorder = Recorder(ManualClock(), lambda: None)
    rest = recorder.note_together(together(40, log_sample=0.5))

    assert {one.id for one in rest} == {f"req-{n}" for n in range(40) if not is_sampled(f"req-{n}", 0.5)}
    assert [row.request_id for row in recorder.take(99).rows()] == [
        f"req-{n}" for n in range(40) if is_sampled(f"req-{n}", 0.5)
    ]
    for _ in range(KEPT_AT_ONCE_MAX // 100):
        recorder.note_together(together(100))
    assert len(recorder.note_together(together(100))) > 0


def test_a_large_row_takes_the_room_of_several() -> None:
    recorder, one = Recorder(ManualClock(), lambda: None), seen(model=MODEL)
    large = Question(arrays={"input": np.zeros((1, 10 * ROW_BYTES // 8))}, rows=1)
    for _ in range(KEPT_AT_ONCE_MAX // 10 + 3):
        recorder.note(msgspec.structs.replace(one, question=large))

    assert recorder.take(KEPT_AT_ONCE_MAX).requests == KEPT_AT_ONCE_MAX // 10


def test_what_waits_to_be_written_is_bounded_by_its_bytes() -> None:
    recorder, one = Recorder(ManualClock(), lambda: None), seen(model=MODEL)
    large = Question(arrays={"input": np.zeros((1, KEPT_BYTES_MAX // 8 + 1))}, rows=1)
    for _ in range(3):
        recorder.note(msgspec.structs.replace(one, question=large))

    assert recorder.take(10).requests == 0


def test_the_recorder_wakes_once_until_what_it_has_is_taken() -> None:
    woken = []
    recorder = Recorder(ManualClock(), lambda: woken.append(1))
    for _ in range(3):
        recorder.note(seen(model=MODEL))
    recorder.take(10)
    recorder.note(seen(model=MODEL))

    assert len(woken) == 2


@pytest.mark.parametrize("latencies_ms", [[0.05], [0.25, 0.27], [0.1, 3.0, 40.0, 40.0, 99_999.0]])
def test_latencies_counted_together_are_those_counted_one_by_one(latencies_ms: list[float]) -> None:
    one_by_one, at_once = Statistics(), Statistics()
    for latency_ms in latencies_ms:
        one_by_one.told(2, latency_ms, 7, is_answer=True)
    at_once.told_all(2, ranges_of(latencies_ms), 7)

    assert at_once.latency_counts == one_by_one.latency_counts
    assert (at_once.answered, at_once.rows, at_once.last_ms) == (one_by_one.answered, one_by_one.rows, 7)
    assert at_once.total_ns == pytest.approx(one_by_one.total_ns, abs=len(latencies_ms))
