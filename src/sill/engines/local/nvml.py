"""NVIDIA's management library (libnvidia-ml), as far as we need it, by ctypes: it comes with the driver.

Structures and calls: NVML API Reference Guide, nvml.h.
"""

import contextlib
import ctypes
from typing import Any, NamedTuple

OK = 0
MEGABYTE = 1e6
GPUS_MAX = 64
TEXT_BYTES = 96
"""NVML_DEVICE_NAME_V2_BUFFER_SIZE; UUIDs are shorter."""


class Card(NamedTuple):
    """What one accelerator is. What it does not tell is empty, or 0."""

    product: str
    uuid: str
    memory_bytes: int
    compute_capability: tuple[int, int]
    power_limit_w: float


class _Utilization(ctypes.Structure):
    _fields_ = [("gpu", ctypes.c_uint), ("memory", ctypes.c_uint)]  # percent of the last sample period


class _Memory(ctypes.Structure):
    _fields_ = [("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong)]  # bytes


class Nvml:
    """The accelerators of this machine.

    Raises:
        OSError: there is no such library, or no driver behind it.
    """

    def __init__(self) -> None:
        self._library = ctypes.CDLL("libnvidia-ml.so.1")
        if self._library.nvmlInit_v2() != OK:
            raise OSError("the NVIDIA driver does not answer")
        count = ctypes.c_uint()
        self._library.nvmlDeviceGetCount_v2(ctypes.byref(count))
        self._devices = [self._device(number) for number in range(min(count.value, GPUS_MAX))]

    def look(self) -> list[dict[str, float]]:
        """For each accelerator what it tells of memory, use and power; what it does not tell is left out."""
        return [{**self._memory(each), **self._use(each), **self._power(each)} for each in self._devices]

    def cards(self) -> list[Card]:
        """What the accelerators are."""
        return [self._card(each) for each in self._devices]

    def _card(self, device: ctypes.c_void_p) -> Card:
        memory, limit_mw = _Memory(), ctypes.c_uint()
        major, minor = ctypes.c_int(), ctypes.c_int()
        self._library.nvmlDeviceGetMemoryInfo(device, ctypes.byref(memory))  # what fails leaves its zeros
        self._library.nvmlDeviceGetCudaComputeCapability(device, ctypes.byref(major), ctypes.byref(minor))
        self._library.nvmlDeviceGetEnforcedPowerLimit(device, ctypes.byref(limit_mw))
        return Card(
            product=self._text(self._library.nvmlDeviceGetName, device),
            uuid=self._text(self._library.nvmlDeviceGetUUID, device),
            memory_bytes=memory.total,
            compute_capability=(major.value, minor.value),
            power_limit_w=limit_mw.value / 1_000,
        )

    @staticmethod
    def _text(ask: Any, device: ctypes.c_void_p) -> str:
        buffer = ctypes.create_string_buffer(TEXT_BYTES)
        return buffer.value.decode() if ask(device, buffer, ctypes.c_uint(TEXT_BYTES)) == OK else ""

    def _device(self, number: int) -> ctypes.c_void_p:
        device = ctypes.c_void_p()
        if self._library.nvmlDeviceGetHandleByIndex_v2(ctypes.c_uint(number), ctypes.byref(device)) != OK:
            raise OSError(f"accelerator {number} does not answer")
        return device

    def _memory(self, device: ctypes.c_void_p) -> dict[str, float]:
        memory = _Memory()
        if self._library.nvmlDeviceGetMemoryInfo(device, ctypes.byref(memory)) != OK or not memory.total:
            return {}
        return {
            "memory_usage_megabytes": memory.used / MEGABYTE,
            "memory_usage_percentage": 100 * memory.used / memory.total,
        }

    def _use(self, device: ctypes.c_void_p) -> dict[str, float]:
        use = _Utilization()
        if self._library.nvmlDeviceGetUtilizationRates(device, ctypes.byref(use)) != OK:
            return {}
        return {"utilization_percentage": float(use.gpu)}

    def _power(self, device: ctypes.c_void_p) -> dict[str, float]:
        used_mw, limit_mw = ctypes.c_uint(), ctypes.c_uint()
        if self._library.nvmlDeviceGetPowerUsage(device, ctypes.byref(used_mw)) != OK:
            return {}
        found = {"power_usage_watts": used_mw.value / 1_000}
        asked = self._library.nvmlDeviceGetEnforcedPowerLimit(device, ctypes.byref(limit_mw))
        if asked == OK and limit_mw.value:
            found["power_usage_percentage"] = 100 * used_mw.value / limit_mw.value
        return found


def open_nvml() -> Nvml | None:
    """The library, if this machine has it."""
    with contextlib.suppress(OSError, AttributeError):  # AttributeError: a driver older than these calls
        return Nvml()
    return None
