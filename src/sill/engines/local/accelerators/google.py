"""Google's TPUs: chips on the PCI bus of a TPU VM.

Device numbers as JAX knows them (jax/_src/hardware_utils.py). A process that takes part of a host's chips must be told
which, and how they lie (Cloud TPU documentation, "Run multiple processes on a TPU VM").
"""

from collections.abc import Sequence
from pathlib import Path

from sill.core.accelerators import AcceleratorType
from sill.engines.local.accelerators.drivers import Found
from sill.engines.local.accelerators.sysfs import GIB, products

VENDOR = 0x1AE0
CHIPS = {
    0x0027: ("tpu-v3", 32 * GIB),  # v2 shows itself by the same number
    0x005E: ("tpu-v4", 32 * GIB),
    0x0062: ("tpu-v5p", 95 * GIB),
    0x0063: ("tpu-v5e", 16 * GIB),
    0x006F: ("tpu-v6e", 32 * GIB),
    0x0076: ("tpu-v7x", 192 * GIB),
}
_BOUNDS = {1: "1,1,1", 2: "1,2,1", 4: "2,2,1", 8: "2,4,1"}
"""How chips of one process lie on the host."""


class Google:
    """The plug-in; see `drivers.Driver`."""

    def detect(self, root: Path) -> list[Found]:
        return [
            Found(
                AcceleratorType(
                    name=name,
                    kind="tpu",
                    vendor="google",
                    memory_bytes=memory_bytes,
                    capabilities=("bf16",),
                    shares=1,
                ),
                str(index),
            )
            for index, (_, (name, memory_bytes)) in enumerate(products(root, VENDOR, CHIPS))
        ]

    def environment(self, names: Sequence[str]) -> dict[str, str]:
        if not names:
            return {"TPU_VISIBLE_CHIPS": "", "JAX_PLATFORMS": "cpu"}
        bounds = _BOUNDS.get(len(names))
        apart = {"TPU_CHIPS_PER_PROCESS_BOUNDS": bounds, "TPU_PROCESS_BOUNDS": "1,1,1"} if bounds else {}
        return {"TPU_VISIBLE_CHIPS": ",".join(names), **apart}
