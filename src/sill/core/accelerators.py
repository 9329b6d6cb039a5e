"""Accelerators: kinds of devices, and the single devices of a machine. Engines find them, the scheduler hands them out."""

from sill.core.values import Value


class AcceleratorType(Value, frozen=True, kw_only=True):
    """One kind of device: GPU, TPU, ASIC, FPGA, NPU, neuromorphic, or whatever a user declares.

    Attributes:
        kind: a word for people and filters, such as `gpu`.
        capabilities: what jobs may ask for, such as `bf16` or `cuda-9.0`.
        speed: work per second relative to the site's reference device; shares and quotas in effective units use it.
        throughput: the same by kind of work (a job's `template` or its model family), where it was measured.
        shares: into how many parts one device may be divided; 1 for whole devices only, at most 1000.
    """

    name: str
    kind: str = "gpu"
    vendor: str = ""
    memory_bytes: int = 0
    capabilities: tuple[str, ...] = ()
    power_w: float = 0.0
    idle_power_w: float = 0.0
    price_usd_per_h: float = 0.0
    speed: float = 1.0
    throughput: dict[str, float] = {}
    shares: int = 1000


class Device(Value, frozen=True, kw_only=True):
    """One device of a machine.

    Attributes:
        type: name of its `AcceleratorType`.
        driver: who found it, and tells a process to see it alone (`nvidia`, `amd`, ..., `declared`).
        name: what that driver calls it: an index or an UUID.
    """

    type: str
    driver: str
    name: str
