"""Sill: the hidden layer under AI, from raw data to a model that watches and retrains itself."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the names below, for type checkers and editors; at run time they load on first use
    from sill.sdk.client import Client
    from sill.sdk.declarations import (
        SLO,
        Canary,
        Gate,
        Holdout,
        QualityGate,
        Resources,
        Tune,
        between,
        cast,
        fill,
        matches,
        not_null,
        on_data,
        on_drift,
        on_quality,
        on_schedule,
        one_of,
        read,
        unique,
    )
    from sill.sdk.live import run
    from sill.sdk.project import Project
    from sill.sources.types import Unit

__version__ = "0.1.0"

_DECLARATIONS = (
    *("SLO", "Canary", "Gate", "Holdout", "QualityGate", "Resources", "Tune", "between", "cast", "fill", "matches"),
    *("not_null", "on_data", "on_drift", "on_quality", "on_schedule", "one_of", "read", "unique"),
)
_HOMES = {
    "Client": "sill.sdk.client",
    "Project": "sill.sdk.project",
    "Unit": "sill.sources.types",
    "run": "sill.sdk.live",
    **dict.fromkeys(_DECLARATIONS, "sill.sdk.declarations"),
}

__all__ = [
    "SLO",
    "Canary",
    "Client",
    "Gate",
    "Holdout",
    "Project",
    "QualityGate",
    "Resources",
    "Tune",
    "Unit",
    "__version__",
    "between",
    "cast",
    "fill",
    "matches",
    "not_null",
    "on_data",
    "on_drift",
    "on_quality",
    "on_schedule",
    "one_of",
    "read",
    "run",
    "unique",
]


def __getattr__(name: str) -> Any:
    """Load a public name on first use: `import sill` itself stays light."""
    if name not in _HOMES:
        raise AttributeError(f"module 'sill' has no attribute {name!r}")
    found = getattr(import_module(_HOMES[name]), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted(__all__)
