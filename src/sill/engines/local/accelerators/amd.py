"""AMD's GPUs: from the topology that the kernel's compute driver (kfd) shows, without ROCm's libraries.

`ROCR_VISIBLE_DEVICES` with indices (ROCm documentation, "GPU isolation techniques"): the runtime counts the nodes of the
topology that have compute units.
"""

from collections.abc import Sequence
from pathlib import Path

from sill.core.accelerators import AcceleratorType
from sill.engines.local.accelerators.drivers import Found, slug
from sill.engines.local.accelerators.sysfs import line

_LOCAL_MEMORY = (1, 2)
"""Heap types of a memory bank that lies on the device: visible to the host, or not (kfd_sysfs.h)."""


class Amd:
    """The plug-in; see `drivers.Driver`."""

    def detect(self, root: Path) -> list[Found]:
        nodes = sorted((root / "sys/class/kfd/kfd/topology/nodes").glob("*"), key=lambda node: int(node.name))
        facts = [(node, _properties(node / "properties")) for node in nodes]
        gpus = [(node, each) for node, each in facts if each.get("simd_count")]
        return [Found(_type(root, node, each), str(index)) for index, (node, each) in enumerate(gpus)]

    def environment(self, names: Sequence[str]) -> dict[str, str]:
        return {"ROCR_VISIBLE_DEVICES": ",".join(names) if names else "-1"}  # an empty one means all


def _type(root: Path, node: Path, facts: dict[str, int]) -> AcceleratorType:
    version = facts.get("gfx_target_version", 0)  # 90402 is gfx942: major, two digits of minor, two of stepping, in hex
    target = f"gfx{version // 10_000}{version // 100 % 100:x}{version % 100:x}"
    product = line(root / f"sys/class/drm/renderD{facts.get('drm_render_minor', 0)}/device/product_name")
    memory = 0
    for bank in (node / "mem_banks").glob("*"):
        each = _properties(bank / "properties")
        memory += each.get("size_in_bytes", 0) if each.get("heap_type") in _LOCAL_MEMORY else 0
    return AcceleratorType(
        name=slug(product, "amd") or target,
        vendor="amd",
        memory_bytes=memory,
        capabilities=(target, "fp16"),
    )


def _properties(path: Path) -> dict[str, int]:
    """Lines of a name and a number."""
    pairs = (each.split() for each in line(path).splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdigit()}
