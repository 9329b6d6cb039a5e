"""What a use of resources comes to: money from the price book, energy by model, carbon from both. Pure.

Energy is modelled the way Cloud Carbon Footprint does: power that grows with the load of a core, and power for memory.
"""

from collections.abc import Iterable

from sill.core.accelerators import AcceleratorType
from sill.core.settings import Settings
from sill.costs.types import Cost, Usage

WATTS_PER_CORE_MIN = 0.74
WATTS_PER_CORE_MAX = 3.5
"""Idle and full load of one core (vCPU). Source: Cloud Carbon Footprint methodology, averages for AWS (v1, 2021)."""
WATTS_PER_GIB = 0.392
"""Source: Cloud Carbon Footprint methodology, memory coefficient (0.000392 kWh per GB-hour)."""
WATTS_PER_ACCELERATOR = 300.0
"""Full load of one accelerator whose type has no power of its own.
Source: board power of NVIDIA A100 (250 to 400 W) and H100 PCIe (350 W) data sheets."""
PUE = 1.135
"""Energy a data centre takes for each unit its machines take. Source: Cloud Carbon Footprint, PUE of AWS."""
UNCERTAINTY_MODELLED = 0.5
"""Relative half-width. Cores differ from 1 to 5 W at full load between machines that the coefficients average over."""
UNCERTAINTY_MEASURED = 0.15
"""RAPL measures package and memory, not fans, disks and the power supply's loss."""

MODELLED = "modelled:cloud-carbon-footprint"
MEASURED = "measured:rapl"
NOTHING = "none"


def price(
    usage: Usage, settings: Settings, *, measured_wh: float | None = None, accelerator: AcceleratorType | None = None
) -> Cost:
    """What the use comes to.

    Args:
        accelerator: what its accelerators are, where that is known: their own price and power count, if they have some.
        measured_wh: energy of CPU and memory by the machine's own meter; None where there is none. Accelerators are
            modelled in either case.
    """
    machine_wh = modelled_wh(usage) if measured_wh is None else measured_wh
    power_w = (accelerator.power_w if accelerator else 0.0) or WATTS_PER_ACCELERATOR
    accelerator_usd_per_h = (accelerator.price_usd_per_h if accelerator else 0.0) or settings.price_usd_per_gpu_h
    energy_wh = machine_wh + usage.accelerator_s * power_w / 3600
    is_measured = measured_wh is not None and not usage.accelerator_s
    return Cost(
        usage=usage,
        usd=(
            usage.cpu_s * settings.price_usd_per_cpu_h
            + usage.memory_gib_s * settings.price_usd_per_gib_h
            + usage.accelerator_s * accelerator_usd_per_h
        )
        / 3600,
        energy_wh=energy_wh,
        carbon_g=energy_wh / 1000 * PUE * settings.carbon_g_per_kwh,
        energy_source=MEASURED if is_measured else MODELLED,
        carbon_source=f"setting carbon_g_per_kwh={settings.carbon_g_per_kwh:g}, PUE {PUE:g}",
        uncertainty=UNCERTAINTY_MEASURED if is_measured else UNCERTAINTY_MODELLED,
    )


def modelled_wh(usage: Usage) -> float:
    """Watt-hours of CPU and memory. A core that waits takes its idle power: at least one is held for as long as it lasts."""
    held_core_s = max(usage.wall_s, usage.cpu_s)
    cpu_ws = held_core_s * WATTS_PER_CORE_MIN + usage.cpu_s * (WATTS_PER_CORE_MAX - WATTS_PER_CORE_MIN)
    return (cpu_ws + usage.memory_gib_s * WATTS_PER_GIB) / 3600


def add(costs: Iterable[Cost]) -> Cost:
    """The sum. Its uncertainty is the mean weighted by energy; its sources are all that took part."""
    listed = list(costs)
    energy_wh = sum(cost.energy_wh for cost in listed)
    widths = sum(cost.uncertainty * cost.energy_wh for cost in listed)
    return Cost(
        usage=add_usage(cost.usage for cost in listed),
        usd=sum(cost.usd for cost in listed),
        energy_wh=energy_wh,
        carbon_g=sum(cost.carbon_g for cost in listed),
        energy_source=_sources(cost.energy_source for cost in listed),
        carbon_source=_sources(cost.carbon_source for cost in listed),
        uncertainty=widths / energy_wh if energy_wh else 0.0,
    )


def add_usage(usages: Iterable[Usage]) -> Usage:
    """The sum; of the memory peaks, the highest."""
    listed = list(usages)
    kinds = {usage.accelerator for usage in listed if usage.accelerator_s}
    return Usage(
        accelerator=kinds.pop() if len(kinds) == 1 else "",
        wall_s=sum(usage.wall_s for usage in listed),
        cpu_s=sum(usage.cpu_s for usage in listed),
        memory_gib_s=sum(usage.memory_gib_s for usage in listed),
        accelerator_s=sum(usage.accelerator_s for usage in listed),
        memory_bytes_max=max((usage.memory_bytes_max for usage in listed), default=0),
    )


def _sources(names: Iterable[str]) -> str:
    parts = {part for name in names for part in name.split("; ") if part != NOTHING}
    return "; ".join(sorted(parts)) or NOTHING
