"""Examines the installation: each finding says what was looked at, how it is, and what to do."""

import asyncio
import os
import secrets
import shutil
import stat
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit, urlunsplit

from sqlalchemy import text

from sill.api.types import Finding
from sill.core.actors import Actor
from sill.core.errors import SillError
from sill.core.settings import Settings

if TYPE_CHECKING:
    from sill.api.services import Services

FREE_BYTES_MIN = 2 * 1024**3
PROBE_S = 3
PROBE = b"sill doctor"


async def examine(services: "Services", actor: Actor) -> tuple[Finding, ...]:
    """Look at everything once. Changes nothing that lasts."""
    return (
        *examine_home(services.settings),
        *await asyncio.to_thread(lambda: tuple(examine_companions(services.settings))),
        await _examine_database(services),
        _examine_blobs(services),
        await _examine_audit(services, actor),
        _examine_inference(services),
        await _examine_runs(services),
        _examine_accelerators(services),
    )


def examine_home(settings: Settings) -> Iterator[Finding]:
    """Permissions of the home and of what is secret in it, and free space."""
    for path in (settings.home, settings.home / "token", settings.home / "keys"):
        if path.exists() and stat.S_IMODE(path.stat().st_mode) & 0o077:
            mode = oct(stat.S_IMODE(path.stat().st_mode))
            yield Finding(
                name="permissions",
                status="failure",
                message=f"{path} can be read by others (mode {mode}).",
                fix=f"chmod go= {path}",
            )
            break
    else:
        yield Finding(name="permissions", status="ok", message=f"{settings.home} can be read by its owner only.")
    free = shutil.disk_usage(settings.home).free
    shown = f"{free / 1024**3:.1f} GiB are free under {settings.home}"
    if free < FREE_BYTES_MIN:
        yield Finding(
            name="disk", status="warning", message=f"only {shown}.", fix="Free some space, or move SILL_HOME."
        )
    else:
        yield Finding(name="disk", status="ok", message=f"{shown}.")


def examine_companions(settings: Settings) -> Iterator[Finding]:
    """Companions that let anybody in, and a public address without TLS (SECURITY B109)."""
    for name, url in (("database", settings.database_url), ("online store", settings.online_url)):
        if not url or url.startswith("sqlite"):
            continue
        parts = urlsplit(url)
        if is_open(url):
            yield Finding(
                name=name,
                status="failure",
                message=f"the {name} at {parts.hostname} answers anybody who can reach it, without a password.",
                fix="Give it a password, and put it in the address.",
            )
        else:
            yield Finding(
                name=name, status="ok", message=f"the {name} at {parts.hostname or 'a local socket'} asks who comes."
            )
    if settings.tls_cert and not os.access(settings.tls_cert, os.R_OK):
        yield Finding(
            name="tls", status="failure", message=f"{settings.tls_cert} cannot be read.", fix="Set SILL_TLS_CERT right."
        )


def is_open(url: str) -> bool:
    """True if the server at an address lets somebody in who does not know its password. One on a Unix socket is not asked."""
    parts = urlsplit(url)
    if not parts.hostname:
        return False
    scheme = parts.scheme.partition("+")[0]
    return _redis_is_open(url) if scheme in ("redis", "rediss") else _postgres_is_open(url)


def _redis_is_open(url: str) -> bool:
    import redis

    parts = urlsplit(url)
    bare = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    try:
        with redis.Redis.from_url(bare, socket_timeout=PROBE_S, socket_connect_timeout=PROBE_S) as client:
            return bool(client.ping())
    except redis.RedisError:
        return False


def _postgres_is_open(url: str) -> bool:
    import psycopg

    address = urlunsplit(urlsplit(url)._replace(scheme="postgresql"))
    try:
        # A wrong password, not none: none would be looked for in the environment and in ~/.pgpass.
        with psycopg.connect(address, password=secrets.token_hex(16), connect_timeout=PROBE_S):
            return True
    except psycopg.Error:
        return False


async def _examine_database(services: "Services") -> Finding:
    def check(connection: object) -> str:
        if services.database.is_postgres:
            return str(connection.execute(text("SELECT 'ok'")).scalar_one())  # type: ignore[attr-defined]
        return str(connection.execute(text("PRAGMA quick_check(1)")).scalar_one())  # type: ignore[attr-defined]

    try:
        verdict = await services.database.read(check)
    except SillError as broken:
        return Finding(name="database", status="failure", message=str(broken), fix="Is the database server up?")
    if verdict != "ok":
        return Finding(
            name="database", status="failure", message=f"the database is damaged: {verdict}.", fix="sill restore BACKUP"
        )
    return Finding(name="database", status="ok", message="the database answers and is whole.")


def _examine_blobs(services: "Services") -> Finding:
    try:
        digest = services.blobs.put_bytes(PROBE)
        read = services.blobs.get(digest)
    except (SillError, OSError) as broken:
        return Finding(
            name="blobs",
            status="failure",
            message=f"the blob store does not keep: {broken}",
            fix="Check SILL_BLOB_URL.",
        )
    status: Literal["ok", "failure"] = "ok" if read == PROBE else "failure"
    return Finding(name="blobs", status=status, message="the blob store keeps and gives back.")


async def _examine_audit(services: "Services", actor: Actor) -> Finding:
    report = await services.governance.verify_audit(actor)
    if report.broken_at:
        return Finding(
            name="audit", status="failure", message=f"the audit chain breaks at event {report.broken_at}: {report.problem}.",
            fix="Compare with a backup; somebody or something changed the log.",
        )  # fmt: skip
    return Finding(name="audit", status="ok", message=f"{report.checked} events chain without a break.")


def _examine_inference(services: "Services") -> Finding:
    if services.inference.is_alive():
        return Finding(
            name="inference", status="ok", message=f"the inference plane runs at {services.settings.inference_url}."
        )
    return Finding(
        name="inference",
        status="warning",
        message="the inference plane does not run.",
        fix=f"It is started again by itself; see {services.settings.home / 'logs' / 'inference.log'}.",
    )


async def _examine_runs(services: "Services") -> Finding:
    lost = await services.runs.lost()
    if lost:
        return Finding(
            name="runs",
            status="warning",
            message=f"{len(lost)} runs are lost: {', '.join(lost[:5])}.",
            fix="sill retry RUN",
        )
    return Finding(name="runs", status="ok", message="every run that is said to run does.")


def _examine_accelerators(services: "Services") -> Finding:
    found = Counter(device.type for device in services.runs.engine.capacity().devices)
    told = ", ".join(f"{count} × {name}" for name, count in found.items()) or "none was found or declared"
    return Finding(name="accelerators", status="ok", message=f"{told}.")
