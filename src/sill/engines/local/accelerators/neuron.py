"""Amazon's Inferentia and Trainium: devices of the Neuron driver.

Numbers of the PCI ID database; cores from /sys/devices/virtual/neuron_device (Neuron Sysfs User Guide). A process is
given cores (`NEURON_RT_VISIBLE_CORES`), which are counted through all devices.
"""

from collections.abc import Sequence
from pathlib import Path

from sill.core.accelerators import AcceleratorType
from sill.engines.local.accelerators.drivers import Found
from sill.engines.local.accelerators.sysfs import GIB, number, products

VENDOR = 0x1D0F
CHIPS = {
    0x7064: ("inferentia", 4, 8 * GIB),
    0x7264: ("inferentia2", 2, 32 * GIB),
    0x7164: ("trainium", 2, 32 * GIB),
    0x7364: ("trainium2", 8, 96 * GIB),
}
"""Name, cores and memory."""


class Neuron:
    """The plug-in; see `drivers.Driver`."""

    def detect(self, root: Path) -> list[Found]:
        found: list[Found] = []
        core = 0
        for index, (_, (name, cores, memory_bytes)) in enumerate(products(root, VENDOR, CHIPS)):
            cores = number(root / f"sys/devices/virtual/neuron_device/neuron{index}/core_count") or cores
            kind = AcceleratorType(
                name=name, kind="asic", vendor="amazon", memory_bytes=memory_bytes, capabilities=("bf16",), shares=1
            )
            found.append(Found(kind, ",".join(str(core + offset) for offset in range(cores))))
            core += cores
        return found

    def environment(self, names: Sequence[str]) -> dict[str, str]:
        return {"NEURON_RT_VISIBLE_CORES": ",".join(names)}
