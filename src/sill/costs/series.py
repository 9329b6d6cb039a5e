"""A series of hours: what energy emits and costs, from a file of the operator's. Read when it changed, refused when it is
no series."""

import csv
import math
from datetime import UTC, datetime
from pathlib import Path

from sill.core.errors import InvalidValue
from sill.core.names import shorten
from sill.core.values import Value

HOURS_MAX = 8_784
BYTES_MAX = 2 * 1024**2
SLOT_S = 3600.0
COLUMNS = ("start", "carbon_g_per_kwh", "usd_per_kwh")


class Series(Value, frozen=True, kw_only=True):
    """Hours without a gap from `start_us` on; a price of 0 where none is given."""

    start_us: int
    carbon_g_per_kwh: tuple[float, ...]
    usd_per_kwh: tuple[float, ...]


def read_series(path: Path) -> Series:
    """The series in a CSV file with the columns `start` (ISO time), `carbon_g_per_kwh` and, if there is one, `usd_per_kwh`.

    Raises:
        InvalidValue: it is not one; the message names the line.
        OSError: it cannot be read.
    """
    if path.stat().st_size > BYTES_MAX:
        raise InvalidValue(f"{path.name} is larger than {BYTES_MAX:,} bytes.", fix="Keep at most a year of hours.")
    times: list[int] = []
    carbon: list[float] = []
    usd: list[float] = []
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file)
        if not set(COLUMNS[:2]) <= set(rows.fieldnames or ()):
            raise InvalidValue(
                f"{path.name} lacks the columns {' and '.join(COLUMNS[:2])}.", fix="Name them in line 1."
            )
        for number, row in enumerate(rows):
            try:
                times.append(_time_us(row["start"]))
                carbon.append(_number(row["carbon_g_per_kwh"]))
                usd.append(_number(row.get("usd_per_kwh") or "0"))
            except (TypeError, ValueError) as wrong:
                raise InvalidValue(
                    f"{path.name}, line {number + 2}: {shorten(str(wrong))}.", fix="Correct it."
                ) from wrong
            if number and times[-1] - times[-2] != SLOT_S * 1e6:
                raise InvalidValue(f"{path.name}, line {number + 2}: it is not an hour after the line before.")
    if not 0 < len(times) <= HOURS_MAX:
        raise InvalidValue(f"{path.name} has {len(times)} hours; 1 to {HOURS_MAX:,} may be.")
    return Series(start_us=times[0], carbon_g_per_kwh=tuple(carbon), usd_per_kwh=tuple(usd))


def _time_us(text: str) -> int:
    given = datetime.fromisoformat(text.strip())
    return round((given if given.tzinfo else given.replace(tzinfo=UTC)).timestamp() * 1e6)


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is no number")
    return value
