"""Every answer counts; payloads are kept by sample and rate."""

import msgspec
import numpy as np
import pytest

from sill.core.clock import ManualClock
from sill.core.errors import Unavailable
from sill.testing.serving_models import rows_model, seen
from sill.traffic.recording import KEPT_AT_ONCE_MAX, KEPT_PER_S_MAX, Recorder, kept_rows
from sill.traffic.tensors import Question

MODEL = rows_model()


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
