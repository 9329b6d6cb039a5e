"""The gate before everything on the serving side: the same for an inference process and for the gateway."""

from sill.api.hosts import allowed_hosts
from sill.core.settings import Settings
from sill.protocols.oip.errors import App
from sill.safety.gate import Gate, GateLimits, Present
from sill.safety.limits import MemoryBudget

BODIES_BYTES_MAX = 512 * 1024 * 1024
"""What all bodies together may hold."""


def serving_gate(door: App, settings: Settings, present: Present | None = None) -> Gate:
    """The gate by the settings; health is asked past the bound on what is served at once.

    Args:
        present: see `Gate`.
    """
    return Gate(
        door,
        hosts=allowed_hosts(settings),
        limits=GateLimits(body_bytes_max=settings.body_bytes_max, in_flight_max=settings.requests_in_flight_max),
        classify=lambda scope: "health" if scope["path"].startswith("/v2/health/") else "interactive",
        memory=MemoryBudget(BODIES_BYTES_MAX),
        present=present,
    )
