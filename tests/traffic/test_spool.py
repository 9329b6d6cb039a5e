"""What was flushed is delivered once it can be, whatever dies in between; the oldest goes when there is no room."""

import asyncio
import threading
from pathlib import Path

import msgspec
import pytest

from sill.core.clock import SystemClock
from sill.core.errors import InvalidValue, Unavailable
from sill.testing.serving_models import seen
from sill.traffic.shipping import Shipping
from sill.traffic.spool import Spool
from sill.traffic.types import LogBatch, RequestRow


def row(number: int) -> RequestRow:
    return RequestRow(
        request_id=f"req-{number}",
        at_us=number,
        project="p",
        endpoint="churn",
        revision=1,
        model_version=1,
        is_shadow=False,
        status=200,
        latency_ms=1.0,
        features={"a": 1.0, "text": "x\ny"},
    )


def ids(batch: bytes) -> list[str]:
    return [one.request_id for one in msgspec.json.decode(batch, type=LogBatch).rows]


def drain(spool: Spool) -> list[str]:
    found: list[str] = []
    while batch := spool.next():
        found += ids(batch[1])
        spool.remove(batch[0])
    return found


def test_a_segment_keeps_its_id_until_it_is_delivered(tmp_path: Path) -> None:
    spool = Spool(tmp_path, SystemClock())
    spool.append([row(1), row(2)])
    first = spool.next()
    spool.append([row(3)])

    assert first is not None
    assert spool.next() == first
    assert ids(first[1]) == ["req-1", "req-2"]


def test_rows_gather_in_one_batch_while_the_one_before_is_on_its_way(tmp_path: Path) -> None:
    spool = Spool(tmp_path, SystemClock())
    spool.append([row(1)])
    first = spool.next()
    for number in (2, 3, 4):
        spool.append([row(number)])
    assert first is not None
    spool.remove(first[0])

    second = spool.next()

    assert second is not None
    assert ids(second[1]) == ["req-2", "req-3", "req-4"]


def test_what_a_killed_process_left_is_delivered_under_the_same_id_but_for_a_torn_line(tmp_path: Path) -> None:
    killed = Spool(tmp_path, SystemClock())
    killed.append([row(1), row(2)])
    (left,) = tmp_path.glob("*.open")
    left.write_bytes(left.read_bytes()[:-9])

    found = Spool(tmp_path, SystemClock()).next()

    assert found is not None
    assert (found[0], ids(found[1])) == (left.stem, ["req-1"])


def test_a_flipped_bit_costs_its_line_and_is_counted(tmp_path: Path) -> None:
    spool = Spool(tmp_path, SystemClock())
    spool.append([row(1), row(2)])
    (left,) = tmp_path.glob("*.open")
    content = bytearray(left.read_bytes())
    content[40] ^= 4
    left.write_bytes(bytes(content))

    assert drain(spool) == ["req-2"]
    assert spool.lines_damaged == 1


def test_a_full_spool_drops_the_oldest_and_counts_them(tmp_path: Path) -> None:
    spool = Spool(tmp_path, SystemClock(), bytes_max=10_000)
    for number in range(200):
        spool.append([row(number)])
        if number % 10 == 0:
            spool.next()  # seals, as a shipper that is never acknowledged does
            spool._seal()

    kept = drain(spool)

    assert spool.rows_dropped > 0
    assert kept[-1] == "req-199"
    assert len(kept) + spool.rows_dropped == 200


class Receiver:
    def __init__(self, *answers: Exception | None) -> None:
        self.answers = list(answers)
        self.taken: list[str] = []

    def log(self, batch: bytes) -> None:
        answer = self.answers.pop(0) if self.answers else None
        if answer is not None:
            raise answer
        self.taken += ids(batch)


@pytest.mark.anyio
async def test_a_batch_that_can_never_be_taken_does_not_hold_up_the_others(tmp_path: Path) -> None:
    spool, receiver = Spool(tmp_path, SystemClock()), Receiver(InvalidValue("no"))
    shipping = Shipping(spool, receiver, SystemClock())
    spool.append([row(1)])
    for _ in range(2):
        found = spool.next()
        assert found is not None
        await shipping._deliver(*found)
        spool.append([row(2)])

    assert shipping.batches_refused == 1
    assert receiver.taken == ["req-2"]


@pytest.mark.anyio
async def test_an_absent_receiver_loses_nothing(tmp_path: Path) -> None:
    spool = Spool(tmp_path, SystemClock())
    shipping = Shipping(spool, Receiver(Unavailable("away")), SystemClock())
    shipping.recorder.note(seen(1))
    await shipping.flush()
    found = spool.next()
    assert found is not None

    with pytest.raises(Unavailable):
        await shipping._deliver(*found)

    assert drain(spool) == ["req-1"]


@pytest.mark.anyio
async def test_a_row_that_is_being_written_when_the_end_comes_is_delivered_too(tmp_path: Path) -> None:
    began, may_go_on = threading.Event(), threading.Event()

    class SlowDisk(Spool):
        def append(self, rows: list[RequestRow]) -> None:
            began.set()
            may_go_on.wait(10)
            super().append(rows)

    receiver = Receiver()
    shipping = Shipping(SlowDisk(tmp_path, SystemClock()), receiver, SystemClock())
    shipping.recorder.note(seen(1))
    work = asyncio.create_task(shipping.flush())
    await asyncio.to_thread(began.wait, 10)
    work.cancel()
    await asyncio.wait([work])
    asyncio.get_running_loop().call_later(0.05, may_go_on.set)

    await shipping.flush()
    await shipping.deliver()

    assert receiver.taken == ["req-1"]
