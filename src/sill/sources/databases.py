"""Reads from PostgreSQL: one SELECT, in a read-only transaction, with a time limit, to an address that may be called."""

import re
import socket
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlsplit

from sill.core.errors import InvalidValue, PluginMissing, Unavailable
from sill.core.names import shorten
from sill.safety.addresses import Allowed, Target
from sill.sources.failures import unreadable
from sill.sources.limits import ROWS_PER_CHUNK, ReadLimits
from sill.sources.rows import RowTable

if TYPE_CHECKING:
    import pyarrow as pa

SCHEMES = ("postgresql", "postgres")
PORT = 5432
PORTS = frozenset({5432, 5433, 6432})
OPTIONS = {
    "sslmode": ("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
    "application_name": (),
    "target_session_attrs": ("any", "read-write", "read-only", "primary", "standby", "prefer-standby"),
}
CONNECT_TIMEOUT_S = 15
_NAME = re.compile(r"[A-Za-z0-9_.@+-]{1,100}")
_COMMENT = re.compile(r"^\s*(?:--[^\n]*(?:\n|$)|/\*.*?\*/|\s)*", re.DOTALL)
_SELECT = re.compile(r"(select|with|values|table)\b|\(", re.IGNORECASE)


def read_database(url: str, where: str, query: str, allowed: Allowed, limits: ReadLimits) -> "pa.Table":
    """What the query yields.

    Args:
        url: with the secret put in; never shown.
        allowed: the addresses that may be called.
    Raises:
        InvalidValue: another driver, an option that is not listed, a query that is not one SELECT, or that fails.
        Forbidden: an address that may not be called.
        Unavailable: the database does not answer, or the query takes too long.
        PluginMissing: psycopg is not installed.
    """
    settings: dict[str, Any] = connection_settings(url, where)
    statement = check_select(query, where)
    settings["hostaddr"] = _pin(settings["host"], int(settings["port"]), allowed)
    try:
        import psycopg
    except ImportError as missing:
        raise PluginMissing("reading PostgreSQL needs 'psycopg'.", fix="pip install 'sill[postgres]'") from missing
    try:
        with psycopg.connect(
            **settings,
            connect_timeout=CONNECT_TIMEOUT_S,
            options=f"-c default_transaction_read_only=on -c statement_timeout={int(limits.seconds_max * 1000)}",
            passfile="/dev/null",
        ) as connection:
            connection.read_only = True
            return _run(connection, statement, where, limits)
    except psycopg.errors.QueryCanceled as slow:
        raise Unavailable(f"{where}: the query took longer than {limits.seconds_max:g} s.", fix="Ask less.") from slow
    except psycopg.OperationalError as broken:
        raise Unavailable(f"{where}: the database does not answer: {_said(broken, settings)}.") from broken
    except psycopg.Error as wrong:
        raise unreadable(where, f"the query failed: {_said(wrong, settings)}.", "Correct the query.") from wrong


def connection_settings(url: str, where: str) -> dict[str, str]:
    """Host, port, user, password, database and listed options. Nothing else of a connection string is understood.

    Raises:
        InvalidValue: another scheme, a socket or file in place of a host, an option that is not listed.
    """
    parts = urlsplit(url)
    if parts.scheme not in SCHEMES:
        raise InvalidValue(
            f"{where}: scheme {shorten(parts.scheme)!r} is not a database that is read; postgresql:// is."
        )
    try:
        host, port = parts.hostname or "", parts.port or PORT
    except ValueError as wrong:
        raise unreadable(where, "the port cannot be read.", "Write postgresql://user@host:5432/database.") from wrong
    database = unquote(parts.path.removeprefix("/"))
    if not host or "/" in host or "%" in host or "," in parts.netloc.rpartition("@")[2]:
        raise unreadable(where, "one host name or address is needed.", "Write postgresql://user@host:5432/database.")
    if not _NAME.fullmatch(database) or not _NAME.fullmatch(unquote(parts.username or "")):
        raise unreadable(where, "user and database name may hold letters, digits and _ . @ + - only.")
    settings = {
        "host": host,
        "port": str(port),
        "dbname": database,
        "user": unquote(parts.username or ""),
        "password": unquote(parts.password or ""),
    }
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name not in OPTIONS or not _NAME.fullmatch(value) or (OPTIONS[name] and value not in OPTIONS[name]):
            what = f"option {shorten(name)}={shorten(value)} is not allowed; {', '.join(OPTIONS)} are."
            raise unreadable(where, what, "Leave it out.")
        settings[name] = value
    return settings


def check_select(query: str, where: str) -> str:
    """The query without a last semicolon. The database itself holds it to one read-only statement.

    Raises:
        InvalidValue: empty, or it begins with anything but SELECT, WITH, VALUES or TABLE.
    """
    statement = query.strip().removesuffix(";").strip()
    if not _SELECT.match(_COMMENT.sub("", statement)):
        raise unreadable(
            where, f"query {shorten(query)!r} is not a SELECT; one SELECT (or WITH … SELECT) is allowed.", _FIX
        )
    return statement


_FIX = "Put the SELECT into `query`."


def _pin(host: str, port: int, allowed: Allowed) -> str:
    """The checked address to connect to, so that a second answer of the name server changes nothing."""
    import ipaddress

    target = Target("http", host.lower(), port, "/")
    allowed.check_target(target)
    try:
        found = [str(one[4][0]) for one in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    except (OSError, UnicodeError) as wrong:
        raise Unavailable(f"host {shorten(host)!r} has no address ({wrong}).") from wrong
    for address in found:
        allowed.check_address(ipaddress.ip_address(address), target)
    if not found:
        raise Unavailable(f"host {shorten(host)!r} has no address.")
    return found[0]


def _run(connection: Any, statement: str, where: str, limits: ReadLimits) -> "pa.Table":
    """Fetches through a cursor of the server: DECLARE takes one SELECT and nothing else."""
    deadline = time.monotonic() + limits.seconds_max
    rows = RowTable(where, limits)
    with connection.cursor(name="sill") as cursor:
        cursor.itersize = ROWS_PER_CHUNK
        cursor.execute(statement)
        names = _distinct([column.name for column in cursor.description or ()])
        while chunk := cursor.fetchmany(ROWS_PER_CHUNK):
            if time.monotonic() > deadline:
                raise Unavailable(f"{where}: the query took longer than {limits.seconds_max:g} s.", fix="Ask less.")
            for row in chunk:
                rows.add(dict(zip(names, row, strict=True)))
    return rows.table(names)


def _distinct(names: Iterable[str]) -> list[str]:
    seen: dict[str, int] = {}
    out = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        out.append(name if seen[name] == 1 else f"{name}_{seen[name]}")
    return out


def _said(wrong: Exception, settings: dict[str, Any]) -> str:
    """The database's own first line, without the password."""
    line = (str(wrong).strip().splitlines() or [type(wrong).__name__])[0].rstrip(".")
    return shorten(line.replace(settings["password"], "…") if settings["password"] else line, 200)
