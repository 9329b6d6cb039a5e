"""When work that may wait should start: a price for each slot of time, and the start that costs least.

A price is whatever is to be kept low: money, grams of carbon, or both with a shadow price (`blend`). Work opts in with
`Job.start_by_us`. Its start is chosen anew with each new forecast until it has started: what is certain now is compared
with what is expected later, so that a forecast that turns out wrong costs one slot and not the whole wait.
Sources: Wiesner et al., "Let's wait awhile", Middleware 2021; Hanafy et al., "GAIA", ASPLOS 2024.
"""

from collections.abc import Iterable, Sequence
from itertools import accumulate

from sill.core.errors import InvalidValue

SLOTS_MAX = 8_784
"""Most slots of one forecast: a year of hours."""
TAIL_SLOTS = 24
"""What lies beyond the forecast is taken to cost the mean of its last slots, so many."""


class Prices:
    """What one unit of power costs, slot by slot.

    Args:
        start_us: when the first slot begins; before it, the first price holds.
        slot_s: length of a slot in seconds.
        values: price of each slot, in one unit for all.

    Raises:
        InvalidValue: there are no slots, too many, or slots without length.
    """

    __slots__ = ("_sums", "_tail", "slot_s", "start_us", "values")

    def __init__(self, start_us: int, slot_s: float, values: Sequence[float]) -> None:
        if not 0 < len(values) <= SLOTS_MAX or slot_s <= 0:
            raise InvalidValue(
                f"{len(values)} prices for slots of {slot_s} s; there are 1 to {SLOTS_MAX}, of more than 0 s.",
                field="values",
            )
        self.start_us = start_us
        self.slot_s = slot_s
        self.values = tuple(values)
        self._sums = (0.0, *accumulate(self.values))
        last = self.values[-TAIL_SLOTS:]
        self._tail = sum(last) / len(last)

    def cost(self, start_us: int, duration_s: float) -> float:
        """Price times seconds of running from then on."""
        at = self._slot(start_us)
        return (self._until(at + duration_s / self.slot_s) - self._until(at)) * self.slot_s

    def starts_us(self, now_us: int, latest_us: int) -> Iterable[int]:
        """Starts worth comparing, the earliest first: now, each later begin of a slot, the last moment."""
        yield now_us
        slot_us = round(self.slot_s * 1e6)
        following = self.start_us + (max(now_us - self.start_us, -1) // slot_us + 1) * slot_us
        yield from range(following, max(latest_us, following), slot_us)
        if latest_us > now_us:
            yield latest_us

    def _slot(self, at_us: int) -> float:
        return (at_us - self.start_us) / 1e6 / self.slot_s

    def _until(self, slot: float) -> float:
        """The sum of prices until a (broken) slot."""
        known = len(self.values)
        if slot <= 0:
            return slot * self.values[0]
        if slot >= known:
            return self._sums[known] + (slot - known) * self._tail
        whole = int(slot)
        return self._sums[whole] + (slot - whole) * self.values[whole]


def blend(money: Sequence[float], carbon_g: Sequence[float], usd_per_kg: float) -> tuple[float, ...]:
    """One price out of two, per kWh: US dollars, and grams of carbon at a shadow price per kilogram."""
    return tuple(usd + grams / 1000 * usd_per_kg for usd, grams in zip(money, carbon_g, strict=True))


def cheapest_start_us(prices: Prices, now_us: int, latest_us: int, duration_s: float) -> tuple[int, float]:
    """The start until `latest_us` at which running for `duration_s` costs least, and that cost; the earliest of equals."""
    best_us, least = now_us, prices.cost(now_us, duration_s)
    for start_us in prices.starts_us(now_us, latest_us):
        cost = prices.cost(start_us, duration_s)
        if cost < least:
            best_us, least = start_us, cost
    return best_us, least
