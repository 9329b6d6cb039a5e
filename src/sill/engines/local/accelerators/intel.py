"""Intel's GPUs that are cards of their own, and NPUs.

Numbers of the PCI ID database. `ZE_AFFINITY_MASK` (oneAPI Level Zero specification, "Environment Variables") counts the
GPUs in the order of the bus. The graphics of a processor are not counted: they use its memory.
"""

from collections.abc import Sequence
from pathlib import Path

from sill.core.accelerators import AcceleratorType
from sill.engines.local.accelerators.drivers import Found
from sill.engines.local.accelerators.sysfs import GIB, on_bus, products

VENDOR = 0x8086
CARDS = {
    **dict.fromkeys((0x0BD5, 0x0BD6), ("max-1550", 128 * GIB)),
    **dict.fromkeys((0x0BD7, 0x0BD8), ("max-1350", 96 * GIB)),
    **dict.fromkeys((0x0BD9, 0x0BDA, 0x0BDB), ("max-1100", 48 * GIB)),
    0x56C0: ("flex-170", 16 * GIB),
    0x56C1: ("flex-140", 6 * GIB),
    0x56A0: ("arc-a770", 16 * GIB),
    0x56A1: ("arc-a750", 8 * GIB),
    0x56A5: ("arc-a380", 6 * GIB),
    0xE20B: ("arc-b580", 12 * GIB),
    0xE20C: ("arc-b570", 10 * GIB),
}
_NPU_DRIVER = "intel_vpu"


class Intel:
    """The plug-in; see `drivers.Driver`."""

    def detect(self, root: Path) -> list[Found]:
        gpus = [
            AcceleratorType(name=name, vendor="intel", memory_bytes=memory_bytes, capabilities=("bf16", "fp16"))
            for _, (name, memory_bytes) in products(root, VENDOR, CARDS)
        ]
        npus = [folder for folder in on_bus(root, VENDOR) if _is_npu(folder)]
        npu = AcceleratorType(name="intel-npu", kind="npu", vendor="intel", shares=1)
        return [
            *(Found(kind, str(index)) for index, kind in enumerate(gpus)),
            *(Found(npu, f"npu{index}") for index in range(len(npus))),
        ]

    def environment(self, names: Sequence[str]) -> dict[str, str]:
        gpus = [name for name in names if not name.startswith("npu")]  # an NPU cannot be hidden
        return {"ZE_AFFINITY_MASK": ",".join(gpus)} if gpus else {"ONEAPI_DEVICE_SELECTOR": "!level_zero:gpu"}


def _is_npu(device: Path) -> bool:
    driver = device / "driver"
    return driver.is_symlink() and driver.readlink().name == _NPU_DRIVER
