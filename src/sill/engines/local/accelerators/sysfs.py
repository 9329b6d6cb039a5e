"""What the Linux kernel says of devices: `/sys/bus/pci/devices`, `/sys/class`. Reading needs no rights and no libraries."""

from pathlib import Path
from typing import NamedTuple


class PciDevice(NamedTuple):
    """One device on the PCI bus."""

    address: str
    """Such as `0000:3b:00.0`; their order is the order on the bus."""
    vendor: int
    device: int


def pci_devices(root: Path, vendor: int) -> list[PciDevice]:
    """Devices of a maker, in the order of the bus."""
    found = []
    for folder in sorted((root / "sys/bus/pci/devices").glob("*")):
        if number(folder / "vendor") == vendor:
            found.append(PciDevice(folder.name, vendor, number(folder / "device")))
    return found


def number(path: Path) -> int:
    """The number in a file of one line, decimal or with 0x; 0 if there is none."""
    try:
        return int(path.read_text().strip() or "0", 0)
    except (OSError, ValueError):
        return 0


def line(path: Path) -> str:
    """The text in a file of one line; empty if it cannot be read."""
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""
