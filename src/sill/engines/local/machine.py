"""What this machine is and holds, and the clean environment a command starts with."""

import hashlib
import os
import platform
import socket
import sys
from collections.abc import Mapping
from functools import cache
from importlib.metadata import distributions
from pathlib import Path

import psutil

from sill.engines.local.accelerators.inventory import Inventory
from sill.engines.types import Capacity, Machine

MEMORY_PART = 0.8
"""Of the machine's memory, for runs together, where the settings do not say."""
KEPT = ("HOME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR", "USER", "LOGNAME", "LD_LIBRARY_PATH", "SSL_CERT_FILE")
"""Variables a command inherits. No other: the platform's own may hold secrets."""
_CGROUP_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def capacity(inventory: Inventory, cpus: float = 0.0, memory_bytes: int = 0) -> Capacity:
    """What runs may use together: as given, otherwise what the machine has and this process may use."""
    return Capacity(
        cpus=cpus or float(_processors()),
        memory_bytes=memory_bytes or int(_memory_bytes() * MEMORY_PART),
        devices=inventory.devices,
        types=inventory.types,
    )


@cache
def describe() -> Machine:
    """This machine, its Python and a digest of its packages. Takes about 0.1 s the first time."""
    packages = sorted({f"{found.metadata['Name']}=={found.version}" for found in distributions()})
    machine = f"{platform.system()} {platform.release()} {platform.machine()}, {_processors()} cpus"
    return Machine(
        host=socket.gethostname(),
        python=platform.python_version(),
        machine=machine,
        environment=hashlib.sha256("\n".join(packages).encode()).hexdigest(),
    )


def clean_environment(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """What every command starts with: our Python first on PATH, and the few variables in `KEPT`."""
    own = str(Path(sys.executable).parent)
    kept = {name: environ[name] for name in KEPT if name in environ}
    path = os.pathsep.join([own, environ.get("PATH", os.defpath)])
    virtual = {"VIRTUAL_ENV": sys.prefix} if sys.prefix != sys.base_prefix else {}
    return {"LANG": "C.UTF-8", **kept, **virtual, "PATH": path, "PYTHONUNBUFFERED": "1"}


def thread_variables(cpus: float) -> dict[str, str]:
    """Keeps numeric libraries from starting a thread for each core of the machine in every worker."""
    threads = str(max(1, int(cpus)))
    return dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), threads)


def _processors() -> int:
    allowed = getattr(os, "sched_getaffinity", None)  # not on macOS
    return len(allowed(0)) if allowed else os.cpu_count() or 1


def _memory_bytes() -> int:
    total = int(psutil.virtual_memory().total)
    for path in _CGROUP_LIMITS:
        try:
            total = min(total, int(path.read_text()))
        except (OSError, ValueError):
            continue  # no such cgroup, or "max"
    return total
