"""One node, one rack, the devices of one type: what of them is free. `ledger` keeps all of them in step."""

from sill.scheduler.types import Node

MILLI = 1000
"""One device, or one cpu, in the integer parts that are counted."""
PARTS = 20
"""Partly used devices are indexed by how many twentieths of them are free."""
DEVICES_MAX = 64
"""Most devices of one type in one node."""
_UNUSED = [[MILLI] * count for count in range(DEVICES_MAX + 1)]
"""What so many unused devices look like."""


class Machine:
    """One node as the ledger keeps it: what it has and what is free now."""

    __slots__ = (
        *("bit", "cpu_step", "cpus_free", "devices", "domains", "index", "jobs", "memory_free"),
        *("memory_step", "spec", "total_cpus", "whole"),
    )

    def __init__(self, index: int, spec: Node, domains: tuple[int, ...]) -> None:
        self.index = index
        self.bit = 1 << index
        self.spec = spec
        self.domains = domains
        """Index of its domain at each level."""
        self.total_cpus = round(spec.cpus * MILLI)
        self.cpus_free = self.total_cpus
        self.memory_free = spec.memory_bytes
        self.cpu_step = self.memory_step = 0
        """Into how many of the ledger's sets by free cpus, and by free memory, it is entered."""
        self.devices = {name: [MILLI] * count for name, count in spec.accelerators.items()}
        """Free thousandths of each device."""
        self.whole = dict(spec.accelerators)
        """Devices nobody uses, by type."""
        self.jobs: dict[str, None] = {}
        """Ids of jobs with a worker here, in the order they came."""


class Domain:
    """One rack, block or the like: its nodes, and how many of its devices are free."""

    __slots__ = ("free", "level", "mask", "name")

    def __init__(self, name: str, level: int) -> None:
        self.name = name
        self.level = level
        self.mask = 0
        self.free: dict[str, int] = {}
        """Whole devices that are free, by type, as far as `Ledger.by_free` has counted them."""


class Devices:
    """Where devices of one type are free: `exact[k]` are the nodes with just `k` unused ones, `parts[q]` those with a
    partly used one of which at least `q` twentieths are free."""

    __slots__ = ("exact", "parts", "total")

    def __init__(self) -> None:
        self.exact = [0, 0]
        self.parts = [0] * (PARTS + 2)
        self.total = 0

    @property
    def most(self) -> int:
        """Devices of the node that has most of them."""
        return len(self.exact) - 2

    def unused(self, least: int) -> int:
        """Nodes with at least so many unused ones."""
        mask = 0
        for exact in self.exact[least:]:
            mask |= exact
        return mask


def pick_devices(free: list[int], workers: int, milli: int) -> tuple[int, ...]:
    """Devices for so many workers, worker after worker: the first unused ones, or for parts those with least left."""
    if milli >= MILLI:
        wanted = workers * (milli // MILLI)
        if MILLI in free and wanted <= len(free):
            first = free.index(MILLI)
            if wanted == 1:
                return (first,)
            if free[first : first + wanted] == _UNUSED[wanted]:  # mostly they lie side by side
                return tuple(range(first, first + wanted))
        return tuple([device for device, left in enumerate(free) if left == MILLI][:wanted])
    left = list(free)
    given: list[int] = []
    for _ in range(workers):
        device = min(range(len(left)), key=lambda each: (left[each] < milli, left[each], each))
        left[device] -= milli
        given.append(device)
    return tuple(given)


def best_part(free: list[int]) -> int:
    """Twentieths that are free of the partly used device with most left."""
    return max((left * PARTS // MILLI for left in free if 0 <= left < MILLI), default=0)
