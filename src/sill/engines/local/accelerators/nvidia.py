"""NVIDIA's GPUs: from the management library that comes with the driver, or from what the driver writes under /proc.

`CUDA_VISIBLE_DEVICES` with UUIDs (CUDA C++ Programming Guide, "CUDA Environment Variables").
"""

import re
from collections.abc import Sequence
from pathlib import Path

from sill.core.accelerators import AcceleratorType
from sill.engines.local.accelerators.drivers import Found, slug
from sill.engines.local.nvml import open_nvml


class Nvidia:
    """The plug-in; see `drivers.Driver`."""

    def detect(self, root: Path) -> list[Found]:
        library = open_nvml() if root == Path("/") else None
        if library is None:
            return _from_proc(root)
        found: list[Found] = []
        for card in library.cards():
            major, minor = card.compute_capability
            kind = AcceleratorType(
                name=slug(card.product, "nvidia"),
                vendor="nvidia",
                memory_bytes=card.memory_bytes,
                capabilities=_capabilities(major, minor),
                power_w=card.power_limit_w,
            )
            found.append(Found(kind, card.uuid))
        return found

    def environment(self, names: Sequence[str]) -> dict[str, str]:
        return {"CUDA_VISIBLE_DEVICES": ",".join(names)}


def _capabilities(major: int, minor: int) -> tuple[str, ...]:
    """CUDA C++ Programming Guide, "Compute Capabilities": bfloat16 from 8.0 on, 8-bit floats from 8.9 on."""
    version = (major, minor)
    found = [f"cuda-{major}.{minor}"] if major else []
    found += ["fp16"] if version >= (5, 3) else []
    found += ["bf16"] if version >= (8, 0) else []
    found += ["fp8"] if version >= (8, 9) else []
    return tuple(found)


def _from_proc(root: Path) -> list[Found]:
    """Without the library: /proc/driver/nvidia/gpus/ADDRESS/information has the model and the UUID."""
    found: list[Found] = []
    for path in sorted((root / "proc/driver/nvidia/gpus").glob("*/information")):
        facts = dict(re.findall(r"^(Model|GPU UUID):\s*(.+?)\s*$", path.read_text(errors="replace"), re.MULTILINE))
        if "Model" in facts:
            kind = AcceleratorType(name=slug(facts["Model"], "nvidia"), vendor="nvidia")
            found.append(Found(kind, facts.get("GPU UUID", str(len(found)))))
    return found
