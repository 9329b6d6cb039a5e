"""Which names and origins the request gates of both planes let in."""

from urllib.parse import urlsplit

from sill.core.settings import Settings


def allowed_hosts(settings: Settings) -> frozenset[str]:
    """The Host names requests may carry, without ports."""
    named = urlsplit(settings.public_url).hostname or ""
    public = f"[{named}]" if ":" in named else named  # an IPv6 address stands in brackets in a Host header
    return frozenset({"localhost", "127.0.0.1", "[::1]", settings.host, public} - {""})


def allowed_origins(settings: Settings) -> frozenset[str]:
    """The Origins a browser may send from: our own console's."""
    ports = (settings.port, settings.inference_port)
    own = {f"http://{host}:{port}" for host in ("127.0.0.1", "localhost", "[::1]") for port in ports}
    return frozenset(own | ({settings.public_url.rstrip("/")} if settings.public_url else set()))
