"""The energy meter of Intel and AMD processors (RAPL), where the kernel lets us read it.

It counts for the whole machine, so a run gets the part of its CPU seconds in all CPU seconds of the machine.
"""

import threading
from collections.abc import Callable
from pathlib import Path

POWERCAP = Path("/sys/class/powercap")
SAMPLE_S = 30.0
"""The counter wraps after some 40 minutes at full power; sampled this often, no wrap is missed."""
CPU_S_MIN = 1.0
"""Below this many CPU seconds since the start the share says nothing."""


class Rapl:
    """Watches the counters from its making on.

    Args:
        folder: where the kernel shows them.
        busy_cpu_s: seconds all cores of the machine were busy since any fixed moment.
    """

    def __init__(self, folder: Path = POWERCAP, busy_cpu_s: Callable[[], float] | None = None) -> None:
        self._busy_cpu_s = busy_cpu_s or _busy_cpu_s
        self._zones = _zones(folder)
        self._lock = threading.Lock()
        self._joules = 0.0
        self._last_uj = {zone: _read(zone / "energy_uj") for zone in self._zones}
        self._started_cpu_s = self._busy_cpu_s() if self._zones else 0.0

    @property
    def is_readable(self) -> bool:
        """True if the machine has the meter and we may read it."""
        return bool(self._zones)

    def sample(self) -> None:
        """Add what the counters have moved since the last sample."""
        with self._lock:
            for zone in self._zones:
                now_uj = _read(zone / "energy_uj")
                moved = now_uj - self._last_uj[zone]
                if moved < 0:  # it wrapped
                    moved += _read(zone / "max_energy_range_uj")
                self._joules += moved / 1e6
                self._last_uj[zone] = now_uj

    def wh(self, cpu_s: float) -> float | None:
        """Watt-hours that `cpu_s` CPU seconds took on this machine; None if it is not known yet."""
        if not self._zones:
            return None
        self.sample()
        spent_s = self._busy_cpu_s() - self._started_cpu_s
        return cpu_s * self._joules / spent_s / 3600 if spent_s >= CPU_S_MIN else None

    def sample_forever(self) -> None:
        """Sample in a thread of its own, for as long as the process lives."""
        if self._zones:
            threading.Thread(target=self._loop, name="sill-rapl", daemon=True).start()

    def _loop(self) -> None:
        while not threading.Event().wait(SAMPLE_S):
            self.sample()


def _zones(folder: Path) -> tuple[Path, ...]:
    """Packages, and memory where it is counted apart; parts of a package are in its count already."""
    found: list[Path] = []
    for zone in sorted(folder.glob("intel-rapl:*")):
        try:
            name = (zone / "name").read_text().strip()
            _read(zone / "energy_uj")
        except (OSError, ValueError):
            continue  # since 2020 kernels show it to root only
        if name.startswith("package") or name == "dram":
            found.append(zone)
    return tuple(found)


def _read(path: Path) -> int:
    return int(path.read_text())


def _busy_cpu_s() -> float:
    import psutil

    times = psutil.cpu_times()
    return float(times.user + times.system)
