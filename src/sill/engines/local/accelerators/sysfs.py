"""What the Linux kernel says of devices: `/sys/bus/pci/devices`, `/sys/class`. Reading needs no rights and no libraries."""

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

GIB = 1024**3
PCI = "sys/bus/pci/devices"
T = TypeVar("T")


def on_bus(root: Path, vendor: int) -> list[Path]:
    """The folders of a maker's PCI devices, in the order of the bus; their names are addresses such as `0000:3b:00.0`."""
    return [folder for folder in sorted((root / PCI).glob("*")) if number(folder / "vendor") == vendor]


def products(root: Path, vendor: int, known: Mapping[int, T]) -> list[tuple[str, T]]:
    """Address and product of a maker's devices, in the order of the bus; those whose number is not known are left out."""
    every = ((folder.name, known.get(number(folder / "device"))) for folder in on_bus(root, vendor))
    return [(address, product) for address, product in every if product is not None]


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
