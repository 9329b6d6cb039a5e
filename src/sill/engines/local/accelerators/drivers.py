"""What is in this machine, asked of one small plug-in for each maker (entry points `sill.accelerator`).

A plug-in finds its devices, and says what a process must be told to see some of them only. Those variables keep programs
apart that mean well: a process may set them anew.
"""

import logging
import re
from collections.abc import Sequence
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import NamedTuple, Protocol

from sill.core.accelerators import AcceleratorType, Device

GROUP = "sill.accelerator"
DEVICES_MAX = 64
"""Of one maker; as many as the scheduler counts in one machine."""

_logger = logging.getLogger("sill.engines")


class Found(NamedTuple):
    """One device: its kind, and what its driver calls it."""

    type: AcceleratorType
    name: str


class Driver(Protocol):
    """The plug-in of one maker."""

    def detect(self, root: Path) -> list[Found]:
        """Devices of this machine, in the order in which the maker's library counts them; none if it has none.

        Args:
            root: where `sys`, `proc` and `dev` lie: `/`, or a copy of them.

        Raises:
            OSError: the kernel or the maker's library does not answer.
        """
        ...

    def environment(self, names: Sequence[str]) -> dict[str, str]:
        """Variables with which a process sees these devices only; none of them if there are no names."""
        ...


@cache
def drivers() -> dict[str, Driver]:
    """The plug-ins by name."""
    return {found.name: found.load()() for found in sorted(entry_points(group=GROUP), key=lambda found: found.name)}


def detect(root: Path = Path("/")) -> tuple[list[Device], list[AcceleratorType]]:
    """All devices that a plug-in finds, and their kinds. A plug-in that fails is logged, and finds nothing."""
    devices: list[Device] = []
    types: dict[str, AcceleratorType] = {}
    for name, driver in drivers().items():
        try:
            found = driver.detect(root)[:DEVICES_MAX]
        except (OSError, ValueError) as wrong:
            _logger.warning("accelerators of %s cannot be looked at: %s", name, wrong)
            continue
        for each in found:
            types.setdefault(each.type.name, each.type)
            devices.append(Device(type=each.type.name, driver=name, name=each.name))
    return devices, list(types.values())


def slug(text: str, *left_out: str) -> str:
    """A product's name as one word of a queue: `NVIDIA H100 80GB HBM3` without `NVIDIA` is `h100-80gb-hbm3`."""
    words = re.findall(r"[a-z0-9.]+", text.lower())
    return "-".join(word for word in words if word not in left_out)
