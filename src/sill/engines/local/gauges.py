"""What a machine and the processes of a run use at one moment, under the names that MLflow gives such metrics.

`system/…` is about the whole machine, as MLflow has it; `system/run_…` about the run's own processes. Standard library
only, from /proc; accelerators through NVIDIA's own library, if there is one. One look takes well under a millisecond
(accelerators some more).
"""

import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from sill.engines.local import processes
from sill.engines.local.nvml import Nvml, open_nvml

MEGABYTE = 1e6
_PROC = Path("/proc")


class Gauges:
    """Reads the gauges again and again. Rates are over the time since the look before; the first look has none.

    Args:
        folder: the disk it lies on is the one that is measured.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._nvml: Nvml | None = open_nvml()
        self._cpu = _cpu_ticks()
        self._network = self._network_first = _network_bytes()
        self._run_cpu_s = 0.0
        self._looked = time.monotonic()

    def look(self, pids: Sequence[int]) -> dict[str, float]:
        """Name and value of each gauge; those that this machine does not have are left out.

        Args:
            pids: the run's processes.
        """
        found = {**self._cpu_gauges(), **_memory(), **self._disk(), **self._network_gauges(), **self._own(pids)}
        if self._nvml is not None:
            for number, gpu in enumerate(self._nvml.look()):
                found |= {f"gpu_{number}_{name}": value for name, value in gpu.items()}
        return {f"system/{name}": round(value, 3) for name, value in found.items()}

    def _cpu_gauges(self) -> dict[str, float]:
        busy, total = _cpu_ticks()
        busy_before, total_before = self._cpu
        self._cpu = (busy, total)
        if total <= total_before:
            return {}
        return {"cpu_utilization_percentage": 100 * (busy - busy_before) / (total - total_before)}

    def _disk(self) -> dict[str, float]:
        disk = shutil.disk_usage(self._folder)
        return {
            "disk_usage_percentage": 100 * disk.used / disk.total if disk.total else 0.0,
            "disk_usage_megabytes": disk.used / MEGABYTE,
            "disk_available_megabytes": disk.free / MEGABYTE,
        }

    def _network_gauges(self) -> dict[str, float]:
        """Since the run began, as MLflow counts it."""
        received, sent = _network_bytes()
        before = self._network_first
        if (received, sent) == (0, 0):
            return {}
        return {
            "network_receive_megabytes": (received - before[0]) / MEGABYTE,
            "network_transmit_megabytes": (sent - before[1]) / MEGABYTE,
        }

    def _own(self, pids: Sequence[int]) -> dict[str, float]:
        """Of the run's processes: part of one core (200 is two), and memory."""
        if not processes.HAS_PROC:
            return {}
        now, used_s = time.monotonic(), sum(map(processes.cpu_seconds, pids))
        passed_s, spent_s = now - self._looked, used_s - self._run_cpu_s
        self._looked, self._run_cpu_s = now, used_s
        return {
            "run_cpu_percentage": max(0.0, 100 * spent_s / passed_s) if passed_s > 0 else 0.0,
            "run_memory_megabytes": sum(map(processes.resident_bytes, pids)) / MEGABYTE,
        }


def _cpu_ticks() -> tuple[int, int]:
    """Busy and all ticks of all cores since the machine started; zeros if that cannot be read."""
    try:
        fields = [int(each) for each in (_PROC / "stat").read_bytes().split(b"\n", 1)[0].split()[1:9]]
    except (OSError, ValueError):
        return 0, 0
    idle = fields[3] + fields[4]  # idle, iowait
    return sum(fields) - idle, sum(fields)


def _memory() -> dict[str, float]:
    try:
        lines = (_PROC / "meminfo").read_text().splitlines()
    except OSError:
        return {}
    kibibytes = {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines)}
    total = kibibytes["MemTotal"] * 1024
    used = total - kibibytes.get("MemAvailable", kibibytes["MemFree"]) * 1024
    return {
        "system_memory_usage_megabytes": used / MEGABYTE,
        "system_memory_usage_percentage": 100 * used / total if total else 0.0,
    }


def _network_bytes() -> tuple[int, int]:
    """Bytes received and sent over all interfaces since the machine started; zeros if that cannot be read."""
    received = sent = 0
    try:
        lines = (_PROC / "net/dev").read_text().splitlines()[2:]
    except OSError:
        return 0, 0
    for line in lines:
        fields = line.partition(":")[2].split()
        received, sent = received + int(fields[0]), sent + int(fields[8])
    return received, sent
