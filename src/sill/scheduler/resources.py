"""What is counted: names and order of the resources, how much there is of each, and what a gang takes.

Quantities are integers in one fixed list of resources: thousandths of cpus, bytes, thousandths of accelerators of all
types, the same in effective units (weighted by the types' speed), and thousandths of each type.
Source of the effective units: Narayanan et al., "Heterogeneity-aware cluster scheduling policies" (Gavel), OSDI 2020.
"""

from collections.abc import Iterable

from sill.core.accelerators import AcceleratorType
from sill.core.errors import InvalidValue
from sill.scheduler.ledger import Ledger
from sill.scheduler.machines import MILLI
from sill.scheduler.placement import Amounts, Need

CPUS, MEMORY, ACCELERATORS, EFFECTIVE = range(4)


class Resources:
    """Names and order of the resources that are counted, and how much there is of each."""

    def __init__(self, ledger: Ledger, types: Iterable[AcceleratorType]) -> None:
        speeds = {each.name: each.speed for each in types}
        self.names = ["cpus", "memory_bytes", "accelerators", "accelerators/effective"]
        self.by_type: dict[str, int] = {}
        self.speeds: dict[str, float] = {}
        for name in ledger.devices:
            self.by_type[name] = len(self.names)
            self.speeds[name] = speeds.get(name, 1.0)
            self.names.append(f"accelerators/{name}")
        self.total = [0] * len(self.names)
        self.parts = (0.0, 0.0, 0.0)
        """What one counted unit of cpus, of memory, and of accelerators in effective units is of all there is."""
        self.measure(ledger)

    def measure(self, ledger: Ledger) -> None:
        """Count again what the nodes have in all."""
        self.total[CPUS], self.total[MEMORY] = ledger.cpus_total, ledger.memory_total
        self.total[ACCELERATORS] = self.total[EFFECTIVE] = 0
        for name in ledger.devices:
            if name not in self.by_type:  # the first node of a type nobody declared
                self.by_type[name] = len(self.names)
                self.speeds[name] = 1.0
                self.names.append(f"accelerators/{name}")
                self.total.append(0)
        for name, devices in ledger.devices.items():
            self.total[self.by_type[name]] = devices.total * MILLI
            self.total[ACCELERATORS] += devices.total * MILLI
            self.total[EFFECTIVE] += round(devices.total * MILLI * self.speeds[name])
        cpus, memory, effective = (self.total[resource] or 1 for resource in (CPUS, MEMORY, EFFECTIVE))
        self.parts = (1 / cpus, 1 / memory, 1 / effective)

    def amounts(self, need: Need, accelerator: str) -> Amounts:
        """What a gang of that class takes on that type."""
        known = need.takes.get(accelerator)
        if known is None or len(known) < len(self.names):
            known = need.takes[accelerator] = self.of_workers(need, accelerator, need.workers)
        return known

    def of_workers(self, need: Need, accelerator: str, workers: int) -> Amounts:
        """What so many of its workers take."""
        milli = need.milli * workers
        taken = [0] * len(self.names)
        taken[CPUS], taken[MEMORY] = need.cpus * workers, need.memory * workers
        if milli:
            taken[ACCELERATORS] = taken[self.by_type[accelerator]] = milli
            taken[EFFECTIVE] = round(milli * self.speeds[accelerator])
        return tuple(taken)

    def index(self, name: str) -> int:
        """Position of a resource by its name.

        Raises:
            InvalidValue: there is none of that name.
        """
        if name not in self.names:
            raise InvalidValue(f"there is no resource {name!r}; there are {', '.join(self.names)}.", field="queues")
        return self.names.index(name)

    def unit(self, resource: int) -> float:
        """By what a counted amount is divided to be the amount people use."""
        return 1.0 if resource == MEMORY else float(MILLI)
