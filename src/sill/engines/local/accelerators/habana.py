"""Intel's Gaudi (Habana Labs): devices of the habanalabs driver.

Numbers of the PCI ID database. `HABANA_VISIBLE_MODULES` (Intel Gaudi documentation, "Multiple Workloads"): modules are
counted by where they sit in the host, which the driver shows.
"""

from collections.abc import Sequence
from pathlib import Path

from sill.core.accelerators import AcceleratorType
from sill.engines.local.accelerators.drivers import Found
from sill.engines.local.accelerators.sysfs import GIB, line, number, products

VENDOR = 0x1DA3
CARDS = {
    0x1000: ("gaudi", 32 * GIB),
    0x1010: ("gaudi", 32 * GIB),
    0x1020: ("gaudi2", 96 * GIB),
    0x1060: ("gaudi3", 128 * GIB),
}


class Habana:
    """The plug-in; see `drivers.Driver`."""

    def detect(self, root: Path) -> list[Found]:
        found: list[Found] = []
        for address, (name, memory_bytes) in products(root, VENDOR, CARDS):
            kind = AcceleratorType(
                name=name, kind="asic", vendor="habana", memory_bytes=memory_bytes, capabilities=("bf16",), shares=1
            )
            found.append(Found(kind, _module(root, address, len(found))))
        return found

    def environment(self, names: Sequence[str]) -> dict[str, str]:
        return {"HABANA_VISIBLE_MODULES": ",".join(names)}


def _module(root: Path, address: str, index: int) -> str:
    """Number of the module, or the index where the driver does not say it."""
    for device in sorted((root / "sys/class/accel").glob("accel*/device")):
        if line(device / "pci_addr") == address and (device / "module_id").exists():
            return str(number(device / "module_id"))
    return str(index)
