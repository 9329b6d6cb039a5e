"""Devices that no plug-in finds, and facts that none knows (prices, measured speed): a TOML file the operator writes.

[[types]]
name = "loihi2"
kind = "neuromorphic"
price_usd_per_h = 0.4

[[devices]]
type = "loihi2"
names = ["0", "1"]
variable = "LOIHI_BOARDS"
"""

import tomllib
from pathlib import Path
from typing import Any

import msgspec

from sill.core.accelerators import AcceleratorType
from sill.core.errors import InvalidValue
from sill.core.names import check_name, shorten
from sill.core.values import Value
from sill.engines.local.accelerators.drivers import DEVICES_MAX

BYTES_MAX = 1024 * 1024
SHARES_MAX = 1_000
_ZERO_OR_MORE = ("memory_bytes", "power_w", "idle_power_w", "price_usd_per_h")


class DeclaredDevices(Value, frozen=True, kw_only=True):
    """Devices of one type; `variable` is set to the names of those that a process is given, where it is not empty."""

    type: str
    names: tuple[str, ...]
    variable: str = ""


class Declaration(Value, frozen=True, kw_only=True):
    """The whole file. `types` are fields of `AcceleratorType`, as far as they are said."""

    types: tuple[dict[str, Any], ...] = ()
    devices: tuple[DeclaredDevices, ...] = ()


def read_declaration(path: Path) -> Declaration:
    """The file, checked.

    Raises:
        InvalidValue: it cannot be read, is not TOML, or says what no device can be.
    """
    try:
        with path.open("rb") as file:
            text = file.read(BYTES_MAX + 1)
        if len(text) > BYTES_MAX:
            raise _refusal(path, f"it is larger than {BYTES_MAX:,} bytes")
        found = msgspec.convert(tomllib.loads(text.decode()), Declaration)
    except OSError as wrong:
        raise _refusal(path, wrong.strerror or str(wrong)) from wrong
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError) as wrong:
        raise _refusal(path, str(wrong)) from wrong
    for given in found.types:
        _check_type(path, given)
    _check_devices(path, found)
    return found


def _check_type(path: Path, given: dict[str, Any]) -> None:
    try:
        kind = msgspec.convert(given, AcceleratorType)
    except msgspec.ValidationError as wrong:
        raise _refusal(path, f"{wrong} in a type") from wrong
    check_name(kind.name, "accelerator type")
    for name in _ZERO_OR_MORE:
        if not 0 <= getattr(kind, name) < float("inf"):
            raise _refusal(path, f"{name} of type {kind.name!r} is {getattr(kind, name)}; it is 0 or more")
    if not 0 < kind.speed < float("inf") or any(not 0 < each < float("inf") for each in kind.throughput.values()):
        raise _refusal(path, f"speed and throughput of type {kind.name!r} are more than 0")
    if not 1 <= kind.shares <= SHARES_MAX:
        raise _refusal(path, f"shares of type {kind.name!r} is {kind.shares}; it is 1 to {SHARES_MAX:,}")


def _check_devices(path: Path, said: Declaration) -> None:
    for each in said.devices:
        check_name(each.type, "accelerator type")
    names = [(each.type, name) for each in said.devices for name in each.names]
    if len(names) > DEVICES_MAX:
        raise _refusal(path, f"it declares {len(names)} devices; a machine has at most {DEVICES_MAX}")
    if len(set(names)) < len(names):
        raise _refusal(path, "it declares a device twice")
    if not all(all(each.names) for each in said.devices):
        raise _refusal(path, "the name of a device is empty")


def _refusal(path: Path, why: str) -> InvalidValue:
    return InvalidValue(
        f"the accelerators of {str(path)!r} cannot be taken: {shorten(why)}.",
        field="accelerators",
        fix="See docs/scheduler.md, section Accelerators.",
    )
