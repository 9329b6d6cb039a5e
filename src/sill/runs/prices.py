"""What the scheduler is told of prices: the hours ahead from the operator's series, and a forecast where it ends."""

import logging
from pathlib import Path

from sill.core.errors import SillError
from sill.costs.series import SLOT_S, Series, read_series
from sill.scheduler.rules import blended, forecast_series
from sill.scheduler.types import Priced

LOOK_S = 60.0
"""How often the file is looked at."""
AHEAD = 72
"""Hours that are told: known ones, and forecast ones behind them."""

GAP_MAX = 168
"""A series that ended more hours ago than this says nothing any more."""

_logger = logging.getLogger("sill.runs")


class PriceBook:
    """The series of one file, followed.

    Args:
        usd_per_kg: what a kilogram of carbon dioxide equivalent is taken to cost, beside the price of energy.
    """

    def __init__(self, path: Path, usd_per_kg: float) -> None:
        self._path = path
        self._usd_per_kg = usd_per_kg
        self._looked_us = -1
        self._changed = 0
        self._hour = -1
        self._series: Series | None = None

    def due(self, now_us: int) -> Priced | None:
        """What is to be told now: at the beginning of each hour, and when the file changed. Blocks: it reads the file."""
        hour = now_us // round(SLOT_S * 1e6)
        if 0 <= now_us - self._looked_us < LOOK_S * 1e6 and hour == self._hour:
            return None
        self._looked_us = now_us
        try:
            changed = self._path.stat().st_mtime_ns
            if changed == self._changed and hour == self._hour:
                return None
            if changed != self._changed:
                self._series = read_series(self._path)
            self._changed, self._hour = changed, hour
        except (OSError, SillError) as wrong:
            _logger.warning("the series of prices stays as it was: %s", wrong)
            return None
        return priced(self._series, now_us, self._usd_per_kg) if self._series is not None else None


def priced(series: Series, now_us: int, usd_per_kg: float) -> Priced | None:
    """The hours from this one on; None before the series begins, and when it ended too long ago to say anything."""
    slot_us = round(SLOT_S * 1e6)
    at = (now_us - series.start_us) // slot_us
    values = blended(series.usd_per_kwh, series.carbon_g_per_kwh, usd_per_kg)
    if at < 0 or at > len(values) + GAP_MAX:
        return None
    known = list(values[at : at + AHEAD])
    if len(known) < AHEAD:
        gap = max(at - len(values), 0)  # hours since the series ended
        ahead = forecast_series(values, gap + AHEAD - len(known))
        known += ahead[gap:]
    return Priced(start_us=series.start_us + at * slot_us, slot_s=SLOT_S, values=tuple(known))
