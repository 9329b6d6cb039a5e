"""The GPU of Apple's own processors, which shares their memory. No variable hides it."""

import platform
import subprocess
from collections.abc import Sequence
from pathlib import Path

import psutil

from sill.core.accelerators import AcceleratorType
from sill.engines.local.accelerators.drivers import Found, slug

SYSCTL = ("/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string")
TIMEOUT_S = 5.0


class Apple:
    """The plug-in; see `drivers.Driver`."""

    def detect(self, root: Path) -> list[Found]:
        if root != Path("/") or (platform.system(), platform.machine()) != ("Darwin", "arm64"):
            return []
        told = subprocess.run(SYSCTL, capture_output=True, text=True, timeout=TIMEOUT_S, check=False).stdout
        kind = AcceleratorType(
            name=slug(told) or "apple-gpu",
            vendor="apple",
            memory_bytes=int(psutil.virtual_memory().total),
            capabilities=("fp16", "metal"),
        )
        return [Found(kind, "0")]

    def environment(self, names: Sequence[str]) -> dict[str, str]:
        del names
        return {}
