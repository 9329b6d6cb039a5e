"""Every setting, in one place, read once from the environment. `docs/settings.md` lists them all."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from sill.core.errors import InvalidValue
from sill.core.names import shorten

PROCESSES_MAX = 64
RUNS = "runs:"
"""Begins the setting of replicas that engines run."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What can be set. A field `x_y` is read from `SILL_X_Y`; the comment behind it is its help text."""

    home: Path = Path("~/.sill").expanduser()
    port: Annotated[int, msgspec.Meta(ge=1, le=65_500)] = 7455
    host: str = "127.0.0.1"
    public_url: str = ""
    tls_cert: str = ""
    tls_key: str = ""
    database_url: str = ""
    blob_url: str = ""
    online_url: str = ""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    cpus: Annotated[float, msgspec.Meta(ge=0)] = 0
    memory_bytes: Annotated[int, msgspec.Meta(ge=0)] = 0
    model_cache_bytes: Annotated[int, msgspec.Meta(ge=0)] = 0
    runtime_pythons: str = ""
    outbound_allow: str = ""
    artifact_roots: str = ""
    body_bytes_max: Annotated[int, msgspec.Meta(ge=1_000)] = 64 * 1024 * 1024
    upload_bytes_max: Annotated[int, msgspec.Meta(ge=1_000)] = 4 * 1024**3
    spool_bytes_max: Annotated[int, msgspec.Meta(ge=1_000_000)] = 4 * 1024**3
    inference_processes: str = "1"
    replicas: str = ""
    replica_in_flight: Annotated[float, msgspec.Meta(gt=0)] = 16
    replica_cpus: Annotated[float, msgspec.Meta(gt=0)] = 1.0
    replica_memory_bytes: Annotated[int, msgspec.Meta(ge=268_435_456)] = 2 * 1024**3
    requests_in_flight_max: Annotated[int, msgspec.Meta(ge=1)] = 512
    sql_seconds_max: Annotated[float, msgspec.Meta(gt=0)] = 30.0
    sql_rows_max: Annotated[int, msgspec.Meta(ge=1)] = 100_000
    carbon_g_per_kwh: Annotated[float, msgspec.Meta(ge=0)] = 445.0
    accelerators: str = ""
    energy_series: str = ""
    carbon_usd_per_kg: Annotated[float, msgspec.Meta(ge=0)] = 0.1
    scheduler_policy: str = "local"
    shadow_policy: str = ""
    price_usd_per_cpu_h: Annotated[float, msgspec.Meta(ge=0)] = 0.04
    price_usd_per_gib_h: Annotated[float, msgspec.Meta(ge=0)] = 0.005
    price_usd_per_gpu_h: Annotated[float, msgspec.Meta(ge=0)] = 2.0

    @property
    def pythons(self) -> dict[str, str]:
        """Runtime → interpreter that has its library; those that this process's own has are not named."""
        named = (one.partition("=") for one in self.runtime_pythons.split(",") if one.strip())
        return {name.strip(): path.strip() for name, _, path in named}

    @property
    def inference_port(self) -> int:
        """The inference plane's HTTP port: the next after the control plane's."""
        return self.port + 1

    @property
    def processes(self) -> int:
        """How many inference processes share the port, if no gateway stands there."""
        return os.cpu_count() or 1 if self.inference_processes == "auto" else int(self.inference_processes)

    @property
    def has_gateway(self) -> bool:
        """True if a gateway listens on the inference port, in front of replicas."""
        return self.replicas != ""

    @property
    def has_replica_runs(self) -> bool:
        """True if the gateway's replicas are runs of engines."""
        return self.replicas.startswith(RUNS)

    @property
    def grpc_port(self) -> int:
        """The inference plane's gRPC port: the third."""
        return self.port + 2

    @property
    def url(self) -> str:
        """Where clients on this machine reach the control plane."""
        return self.public_url or f"http://{self.host}:{self.port}"

    @property
    def inference_url(self) -> str:
        """Where clients on this machine reach the inference plane."""
        return f"http://{self.host}:{self.inference_port}"

    @property
    def database(self) -> str:
        """The database address: given, or the SQLite file in the home."""
        return self.database_url or f"sqlite:///{self.home / 'sill.db'}"


SETTINGS_HELP = {
    "home": "Where embedded stores, logs, keys and the root token lie.",
    "port": "First of three ports: control plane, inference over HTTP, inference over gRPC.",
    "host": "Address to listen on. Anything but loopback needs tls_cert, tls_key and public_url.",
    "public_url": "The https address clients use; needed on a public address.",
    "tls_cert": "Certificate file (PEM) for a public address.",
    "tls_key": "Key file (PEM) for a public address.",
    "database_url": "postgresql://… for PostgreSQL; empty for SQLite in the home.",
    "blob_url": "s3://bucket/prefix, gs://… or az://… for an object store; empty for a folder in the home.",
    "online_url": "redis://… for online features; empty for the in-process store.",
    "log_level": "debug, info, warning or error.",
    "cpus": "CPU cores runs may use together; 0 for all of the machine's.",
    "memory_bytes": "Memory runs may use together; 0 for 80 % of the machine's.",
    "model_cache_bytes": "Memory loaded models may hold in one inference process; 0 for half of the machine's.",
    "runtime_pythons": "Comma-separated RUNTIME=PATH of interpreters that have a runtime's library, such as tensorflow's.",
    "outbound_allow": "Comma-separated host:port or CIDR that outbound calls may reach although private.",
    "artifact_roots": "Comma-separated places outside Sill, such as s3://bucket/runs, that experiments may name for artifacts.",
    "body_bytes_max": "Largest JSON request body in bytes.",
    "upload_bytes_max": "Largest uploaded file in bytes.",
    "spool_bytes_max": "Most bytes that one spool keeps on disk of what was logged while the server is away.",
    "inference_processes": "Inference processes that share the inference port, each a whole one; auto for one a core.",
    "replicas": "A gateway before so many replicas (2; 1-4 by load; runs:1-4 on engines), or before those at host:port,….",
    "replica_in_flight": "Requests one replica should have at once, where their number follows the load.",
    "replica_cpus": "Cores of a replica that an engine runs.",
    "replica_memory_bytes": "Memory of a replica that an engine runs; half of it is for models.",
    "requests_in_flight_max": "Requests served at once; more are answered 429.",
    "sql_seconds_max": "Longest a SQL query may run.",
    "sql_rows_max": "Most rows a SQL query may return.",
    "carbon_g_per_kwh": "Grid carbon intensity used when no series is given (default: world average 2024, Ember).",
    "accelerators": "TOML file of devices no plug-in finds, and of prices and speeds of types; docs/scheduler.md has one.",
    "energy_series": "CSV of hours (start, carbon_g_per_kwh, usd_per_kwh) that runs with --start-by choose their start by.",
    "carbon_usd_per_kg": "What a kilogram of CO2e counts for when a start is chosen by the series, beside its prices.",
    "scheduler_policy": "Policy that decides which runs start; the scheduler's page lists them.",
    "shadow_policy": "Another policy whose decisions are noted beside those that are made; empty for none.",
    "price_usd_per_cpu_h": "Price of one core for an hour.",
    "price_usd_per_gib_h": "Price of one GiB of memory for an hour.",
    "price_usd_per_gpu_h": "Price of one accelerator for an hour.",
}


def read_settings(environ: Mapping[str, str] = os.environ) -> Settings:
    """The settings the environment gives, defaults for the rest.

    Raises:
        InvalidValue: a variable cannot be read as its type, or is out of range.
    """
    given = {}
    for name in Settings.__struct_fields__:
        variable = f"SILL_{name.upper()}"
        if variable in environ and environ[variable] != "":
            given[name] = environ[variable]
    if "home" in given:
        given["home"] = _absolute(given["home"])
    _check_processes(given.get("inference_processes", "auto"))
    if "replicas" in given:
        replica_names(given["replicas"])
    try:
        return msgspec.convert(given, Settings, strict=False, dec_hook=lambda kind, value: kind(value))
    except msgspec.ValidationError as wrong:
        expected, _, place = str(wrong).partition(" - at `$.")
        name = place.rstrip("`")
        raise InvalidValue(
            f"SILL_{name.upper()} is {shorten(given.get(name, ''))!r}: {expected}. {SETTINGS_HELP.get(name, '')}",
            fix="Set it right, or unset it for its default; docs/settings.md lists all settings.",
            field=name,
        ) from wrong


def _check_processes(given: str) -> None:
    if given != "auto" and not (given.isascii() and given.isdigit() and 1 <= int(given[:9]) <= PROCESSES_MAX):
        raise InvalidValue(
            f"SILL_INFERENCE_PROCESSES is {shorten(given)!r}: expected 1 to {PROCESSES_MAX}, or auto.",
            fix="Set it right, or unset it for its default; docs/settings.md lists all settings.",
            field="inference_processes",
        )


def _absolute(home: str) -> str:
    try:
        return str(Path(home).expanduser().absolute())
    except RuntimeError as unknown:  # `~name` of nobody
        raise InvalidValue(f"SILL_HOME is {shorten(home)!r}: {unknown}", fix="Give a path.", field="home") from unknown


def replica_bounds(given: str) -> tuple[int, int] | None:
    """The least and the most replicas to start, from `2`, `1-4` or `runs:1-4`; None for what is none of these."""
    least, dash, most = given.removeprefix(RUNS).partition("-")
    bounds = [int(one[:9]) if one.isascii() and one.isdigit() else 0 for one in (least, most if dash else least)]
    return (bounds[0], bounds[1]) if 1 <= bounds[0] <= bounds[1] <= PROCESSES_MAX else None


def replica_names(given: str) -> list[str]:
    """Names of replicas to start at first, or addresses of those that are there; none where engines run them.

    Raises:
        InvalidValue: it is neither a number, nor a least and a most, nor a list of addresses.
    """
    bounds = replica_bounds(given)
    if bounds is not None and given.startswith(RUNS):
        return []
    if bounds is not None:
        return [f"replica-{number}" for number in range(1, bounds[0] + 1)]
    names = [name.strip() for name in given.split(",")]
    for name in names:
        host, colon, port = name.rpartition(":")
        if given.startswith(RUNS) or not (
            host and colon and port.isascii() and port.isdigit() and 0 < int(port[:9]) < 65_536
        ):
            raise InvalidValue(
                f"SILL_REPLICAS is {shorten(given)!r}: expected 1 to {PROCESSES_MAX}, or two of those such as 1-4, either behind "
                "runs:, or host:port, host:port, …",
                fix="Set it right, or unset it for no gateway.",
                field="replicas",
            )
    return names
