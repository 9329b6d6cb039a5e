"""The accelerators of this machine, found and declared, and what a process is told to see just those it was given."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from sill.core.accelerators import AcceleratorType, Device
from sill.engines.local.accelerators.declared import Declaration, read_declaration
from sill.engines.local.accelerators.drivers import detect, drivers

DECLARED = "declared"
"""Driver of devices that the file declares."""


class Inventory:
    """Looks once, when it is made.

    Args:
        file: the operator's declaration; empty for none.
        root: where `sys`, `proc` and `dev` lie.

    Raises:
        InvalidValue: the declaration cannot be taken.
    """

    def __init__(self, file: str = "", root: Path = Path("/")) -> None:
        said = read_declaration(Path(file)) if file else Declaration()
        found, types = detect(root)
        declared = {
            Device(type=each.type, driver=DECLARED, name=name): each.variable
            for each in said.devices
            for name in each.names
        }
        self.devices = (*found, *declared)
        self.types = _types(types, said.types, declared)
        self._variables = {device: variable for device, variable in declared.items() if variable}
        """What tells a process of a declared device."""

    def variables(self, accelerator: str, indices: Sequence[int]) -> dict[str, str]:
        """What a process is told that was given these devices, as the scheduler counts them within their type.

        Devices of other makers, and all where nothing was given, are hidden from it, as far as their libraries can.
        """
        alike = [device for device in self.devices if device.type == accelerator]
        given = [alike[index] for index in indices if index < len(alike)]  # one may have gone with a restart
        names: dict[str, list[str]] = {variable: [] for variable in self._variables.values()}
        for device in given:
            if device in self._variables:
                names[self._variables[device]].append(device.name)
        told = {variable: ",".join(each) for variable, each in names.items()}
        present = dict.fromkeys(device.driver for device in self.devices if device.driver != DECLARED)
        for driver in present:
            told |= drivers()[driver].environment([device.name for device in given if device.driver == driver])
        return told


def _types(
    found: Sequence[AcceleratorType], said: Sequence[dict[str, Any]], declared: Iterable[Device]
) -> tuple[AcceleratorType, ...]:
    """Found types, with what was said of them, and declared ones."""
    every = {kind.name: msgspec.to_builtins(kind) for kind in found}
    for device in declared:
        every.setdefault(device.type, {"name": device.type})
    for given in said:
        every[given["name"]] = every.get(given["name"], {}) | given
    return tuple(msgspec.convert(fields, AcceleratorType) for fields in every.values())
