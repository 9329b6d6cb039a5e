"""Devices on the bus of a machine that is a folder."""

from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def pci(tmp_path: Path) -> Callable[..., Path]:
    """Put one device on the bus; returns its folder."""

    def put(address: str, vendor: int, device: int, driver: str = "") -> Path:
        folder = tmp_path / "sys/bus/pci/devices" / address
        folder.mkdir(parents=True)
        (folder / "vendor").write_text(f"0x{vendor:04x}\n")
        (folder / "device").write_text(f"0x{device:04x}\n")
        if driver:
            (tmp_path / "sys/bus/pci/drivers" / driver).mkdir(parents=True, exist_ok=True)
            (folder / "driver").symlink_to(f"../../../../bus/pci/drivers/{driver}")
        return folder

    return put
