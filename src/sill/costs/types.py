"""Resource use and what it comes to."""

from sill.core.values import Value


class Usage(Value, frozen=True, kw_only=True):
    """Resources used. Every second of every resource is metered."""

    wall_s: float = 0.0
    cpu_s: float = 0.0
    memory_gib_s: float = 0.0
    accelerator_s: float = 0.0
    memory_bytes_max: int = 0
    accelerator: str = ""
    """Type of those accelerators; empty where it is not known, or there were several."""


class Cost(Value, frozen=True, kw_only=True):
    """What a use comes to. `carbon_g` is grams of CO2 equivalent.

    `energy_source` is `measured:rapl`, `measured:nvml` or `modelled:…`; `uncertainty` is the relative half-width of
    the energy and carbon figures (0.5 means ±50 %).
    """

    usage: Usage
    usd: float
    energy_wh: float
    carbon_g: float
    energy_source: str
    carbon_source: str
    uncertainty: float


class MeterRecord(Value, frozen=True, kw_only=True):
    """One metered use: a finished run, or a slice of an endpoint's life."""

    id: str
    project: str
    kind: str
    """`run` or `endpoint`."""
    subject: str
    at_us: int
    cost: Cost
    predictions: int = 0
    revision: int = 0


class CostReport(Value, frozen=True, kw_only=True):
    """Totals of a project, or of all, with the same by subject."""

    project: str
    since_us: int
    until_us: int
    total: Cost
    predictions: int
    by_subject: dict[str, Cost]
