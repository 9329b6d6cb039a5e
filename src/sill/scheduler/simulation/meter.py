"""What a simulated run came to: device-seconds, money, energy, carbon, as devices were held."""

from sill.scheduler.carbon import Prices
from sill.scheduler.simulation.types import Workload

HOUR_US = 3_600_000_000


class Meter:
    """Adds up what is held. Money and energy by the type's price and power; carbon by the hour, where it is known."""

    def __init__(self, workload: Workload) -> None:
        self._types = {each.name: each for each in workload.cluster.types}
        self._grams = Prices(0, 3600.0, workload.carbon_g_per_kwh) if workload.carbon_g_per_kwh else None
        self.busy_us = 0.0
        self.usd = self.energy_wh = self.carbon_g = 0.0

    def add(self, accelerator: str, devices: float, from_us: int, until_us: int) -> None:
        """So many devices (or cpus) of one type were held."""
        held_us = (until_us - from_us) * devices
        self.busy_us += held_us
        known = self._types.get(accelerator)
        if known is None:
            return
        hours = held_us / HOUR_US
        self.usd += hours * known.price_usd_per_h
        self.energy_wh += hours * known.power_w
        if self._grams is not None and known.power_w:
            kilowatts = known.power_w * devices / 1e3
            self.carbon_g += kilowatts * self._grams.cost(from_us, (until_us - from_us) / 1e6) / 3600
