"""Finds drivers by entry point and loads them on first use. Ours come in by the same door as everyone's."""

from importlib.metadata import EntryPoint, entry_points
from typing import Any

from sill.core.errors import NotFound, PluginMissing


def find(port: str, name: str) -> Any:
    """The driver registered as `name` in the entry point group `sill.<port>`.

    Raises:
        NotFound: nobody registered the name.
        PluginMissing: the driver is there, a library it needs is not.
    """
    known = _known(port)
    if name not in known:
        raise NotFound(f"no {port} named {name!r}.", fix=f"Installed: {', '.join(sorted(known)) or 'none'}.")
    try:
        return known[name].load()
    except ImportError as missing:
        raise PluginMissing(f"{port} {name!r} needs {missing.name!r}.", fix=f"pip install 'sill[{name}]'") from missing


def names(port: str) -> tuple[str, ...]:
    """Every name that is registered in the entry point group `sill.<port>`."""
    return tuple(sorted(_known(port)))


def _known(port: str) -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=f"sill.{port}")}
