"""The gate before everything on the serving side: the same for an inference process and for the gateway."""

from sill.api.hosts import allowed_hosts
from sill.core.settings import Settings
from sill.protocols.oip.errors import App, Scope
from sill.safety.gate import Gate, GateLimits, Present
from sill.safety.limits import MemoryBudget
from sill.safety.tokens import bearer, digest

BODIES_BYTES_MAX = 512 * 1024 * 1024
"""What all bodies together may hold."""


def serving_gate(door: App, settings: Settings, present: Present | None = None, *, inflates: bool = True) -> Gate:
    """The gate by the settings; health is asked past the bound on what is served at once.

    Args:
        present, inflates: see `Gate`.
    """
    return Gate(
        door,
        hosts=allowed_hosts(settings),
        limits=GateLimits(body_bytes_max=settings.body_bytes_max, in_flight_max=settings.requests_in_flight_max),
        classify=lambda scope: "health" if scope["path"].startswith("/v2/health/") else "interactive",
        memory=MemoryBudget(BODIES_BYTES_MAX),
        tenant=tenant_of,
        inflates=inflates,
        present=present,
    )


def tenant_of(scope: Scope) -> str:
    """Who asks, as far as the head says: the digest of his token, good or not; empty without one.

    What may be held by whom is asked before anybody looks whether the token is good. An inference process refuses a bad
    one before it reads the body, so whoever makes up a new one for each request holds nothing by it. A gateway knows no
    tokens: there, who makes them up is bound only with all the others together.
    """
    secret = bearer(dict(scope["headers"]).get(b"authorization", b"").decode("latin-1"))
    return digest(secret) if secret else ""
