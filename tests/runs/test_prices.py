"""Runs that may wait do so for the hour that costs or emits least, and never longer than agreed."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sill.core.actors import PLATFORM
from sill.core.clock import ManualClock
from sill.core.errors import InvalidValue
from sill.costs.series import read_series
from sill.engines.types import Capacity
from sill.runs.board import Board
from sill.runs.prices import AHEAD, PriceBook, priced
from sill.runs.types import RunSpec
from sill.testing.fake_engine import FakeEngine
from sill.testing.virtual_daemon import Daemon, open_daemon

START = datetime(2026, 1, 1, tzinfo=UTC)
START_US = round(START.timestamp() * 1e6)
HOUR_US = 3_600_000_000


def write(path: Path, carbon: list[float]) -> Path:
    lines = [f"{(START + timedelta(hours=at)).isoformat()},{value},0" for at, value in enumerate(carbon)]
    path.write_text("\n".join(["start,carbon_g_per_kwh,usd_per_kwh", *lines]))
    return path


def test_known_hours_are_told_and_those_behind_them_are_forecast(tmp_path: Path) -> None:
    days = [100.0 + 50 * (at % 24 >= 12) for at in range(20 * 24)]
    series = read_series(write(tmp_path / "s.csv", days))

    told = priced(series, START_US + (20 * 24 - 6) * HOUR_US + 5, usd_per_kg=0.0)
    assert told is not None
    assert (told.start_us, len(told.values)) == (START_US + (20 * 24 - 6) * HOUR_US, AHEAD)
    assert told.values[:6] == tuple(days[-6:])
    assert told.values[6 + 3] == pytest.approx(100, abs=5)  # three at night of the next day
    assert told.values[6 + 15] == pytest.approx(150, abs=5)
    assert priced(series, START_US - 1, 0.0) is None
    assert priced(series, START_US + 1_000 * HOUR_US, 0.0) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hour,grams\n1,2\n",
        "start,carbon_g_per_kwh\n",
        "start,carbon_g_per_kwh\n2026-01-01,nan\n",
        "start,carbon_g_per_kwh\nsoon,1\n",
        "start,carbon_g_per_kwh\n2026-01-01T00:00,1\n2026-01-01T02:00,1\n",
        "start,carbon_g_per_kwh\n2026-01-01T00:00\n",
    ],
)
def test_what_is_no_series_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "s.csv").write_text(text)
    with pytest.raises(InvalidValue):
        read_series(tmp_path / "s.csv")


def test_a_file_that_is_gone_or_damaged_leaves_the_series_as_it_was(tmp_path: Path) -> None:
    book = PriceBook(write(tmp_path / "s.csv", [1.0] * 48), 0.0)
    assert book.due(START_US) is not None
    assert book.due(START_US + 1) is None
    (tmp_path / "s.csv").write_text("nonsense")
    assert book.due(START_US + 61_000_000) is None
    (tmp_path / "s.csv").unlink()
    assert book.due(START_US + HOUR_US) is None


@pytest.mark.anyio
async def test_a_run_waits_for_the_cleanest_hour_and_no_longer_than_it_may(tmp_path: Path) -> None:
    clock = ManualClock(START_US)
    daemon = open_daemon(tmp_path, clock, FakeEngine(clock, Capacity(cpus=2, memory_bytes=1024**3)))
    path = write(tmp_path / "s.csv", [300.0, 300.0, 300.0, 50.0, 300.0, 10.0] + [300.0] * 66)
    board = Board(daemon.database, clock, daemon.engine.capacity(), daemon.runs.costs, prices=PriceBook(path, 0.1))
    waits, at_once = [
        await daemon.runs.submit(PLATFORM, "p", RunSpec(name="r", command=("true",), start_by_s=may_wait_s))
        for may_wait_s in (4 * 3600.0, 0.0)
    ]
    await board.refresh()

    assert [run_id for _, run_id in board.decide().starts] == [at_once.id]
    assert "waits until 2026-01-01T03:00" in board.why(waits.id)
    assert "by 2026-01-01T04:00" in board.why(waits.id)
    await moved(daemon, clock, board, 2.9)
    assert board.decide().starts == []
    await moved(daemon, clock, board, 0.1)
    assert [run_id for _, run_id in board.decide().starts] == [waits.id]
    daemon.close()


async def moved(daemon: Daemon, clock: ManualClock, board: Board, hours: float) -> None:
    clock.advance(hours * 3600)
    await board.refresh()
