"""`python -m sill.api`: the control plane's process, as `sill up` starts it."""

import asyncio
import gc
import ipaddress
import logging
import os
import signal
import socket
import sys
from types import FrameType

import uvicorn

from sill import __version__
from sill.api.app import build_app
from sill.api.home import lock_home, prepare_home
from sill.api.inference_process import InferenceProcess
from sill.api.services import Services, build_services
from sill.api.serving_life import YOUNG_MAX
from sill.core.clock import SystemClock
from sill.core.errors import Conflict, Forbidden, InvalidValue, SillError
from sill.core.settings import Settings, read_settings
from sill.safety.listener import uvicorn_config
from sill.safety.redaction import RedactingFilter, Redactor


def main() -> int:
    """Serve until told to stop. Exit code 2 for what the caller can mend, with the reason on standard error."""
    signal.signal(signal.SIGTERM, _end)
    try:
        settings = read_settings()
        check_listening(settings)
        prepare_home(settings.home)
        lock = lock_home(settings.home)
        start_logging(settings)
        listener = listen(settings)
        check_inference_port(settings)
        with lock:
            asyncio.run(serve(settings, listener))
    except SillError as refused:
        print(refused.for_terminal(), file=sys.stderr)
        return 2
    except OSError as wrong:
        told = InvalidValue(
            f"{wrong.filename or ''}: {wrong.strerror or wrong}.", fix="Choose a SILL_HOME that can be used."
        )
        print(told.for_terminal(), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 0
    return 0


async def serve(settings: Settings, listener: socket.socket) -> None:
    """Build the services, serve the app, and close what was built."""
    services = await build_services(settings, SystemClock())
    services.inference.start()
    config = uvicorn_config(build_app(services), tls_cert=settings.tls_cert, tls_key=settings.tls_key)

    server = Announcing(config, services)
    try:
        gc.freeze()  # what start-up made lives as long as the process; the collector need not look at it again
        gc.set_threshold(YOUNG_MAX)
        await server.serve(sockets=[listener])
    finally:
        services.inference.stop()
        services.close()


class Announcing(uvicorn.Server):
    """Says where the platform is once it answers, and ends what waits for news when it is told to stop."""

    def __init__(self, config: uvicorn.Config, services: Services) -> None:
        super().__init__(config)
        self._settings = services.settings
        self._log = services.log

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start serving, then tell."""
        await super().startup(sockets)
        print(
            f"Sill {__version__} is up. Home {self._settings.home}\n"
            f"  API and console  {self._settings.url}      (log in with `sill open`)\n"
            f"  inference        {self._settings.inference_url}\n"
            "Ctrl-C stops it; runs that are going on go on, and are adopted at the next start.",
            flush=True,
        )

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop; requests that are held open for news are answered first, or they would hold it up."""
        self._log.close()
        await super().shutdown(sockets)


def _end(_number: int, _frame: FrameType | None) -> None:
    """SIGTERM. uvicorn handles it while it serves, and raises it again when it is done: what was built is closed then."""
    raise SystemExit(0)


def check_listening(settings: Settings) -> None:
    """Refuse a public address without TLS and a name (SECURITY B74).

    Raises:
        Forbidden: the address is not loopback and something is missing.
    """
    if is_loopback(settings.host):
        return
    missing = [name for name in ("tls_cert", "tls_key", "public_url") if not getattr(settings, name)]
    if missing:
        needed = ", ".join(f"SILL_{name.upper()}" for name in missing)
        raise Forbidden(
            f"{settings.host} can be reached from other machines, and {needed} is not set. Without TLS the token could be read.",
            fix=f"Set {needed}, or listen on 127.0.0.1.",
        )


def is_loopback(host: str) -> bool:
    """True for localhost and 127.0.0.0/8 and ::1."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def listen(settings: Settings) -> socket.socket:
    """The control plane's listening socket.

    Raises:
        Conflict: the port is taken.
    """
    listener = _open(settings.host, settings.port)
    # Accepted connections inherit it. asyncio sets it on its own sockets only, and without it an answer on a kept
    # connection waits for the client's delayed acknowledgement: 40 ms.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def check_inference_port(settings: Settings) -> None:
    """Refuse at once what would let the inference plane fail again and again.

    Raises:
        Conflict: its port is taken, and not by this home's own plane, which went on while the control plane was away.
    """
    if not InferenceProcess(settings, "").is_alive():
        _open(settings.host, settings.inference_port).close()


def _open(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port), backlog=1024)
    except OSError as taken:
        reason = os.strerror(taken.errno) if taken.errno and taken.errno > 0 else str(taken)
        raise Conflict(
            f"port {port} on {host} cannot be used: {reason}.",
            fix="Stop what uses it, or set SILL_PORT to the first of three free ports.",
        ) from taken


def start_logging(settings: Settings) -> None:
    """Everything goes to `logs/control.log`, redacted, one line a record."""
    handler = logging.FileHandler(settings.home / "logs" / "control.log", encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    handler.addFilter(RedactingFilter(Redactor()))
    logging.basicConfig(level=settings.log_level.upper(), handlers=[handler], force=True)


if __name__ == "__main__":
    raise SystemExit(main())
