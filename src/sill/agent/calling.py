"""Imports and calls the user's functions. What they raise becomes one sentence with file and line."""

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sill.core.errors import InvalidValue, SillError
from sill.core.names import shorten
from sill.sdk.loading import describe, import_file, where


class UserError(SillError):
    """The user's own function raised. Never crosses the wire: it ends the run, as its reason."""


def find_function(module: str, function: str, folder: Path) -> Callable[..., Any]:
    """A function of the unpacked code.

    Raises:
        InvalidValue: the module or function is not there, or the module raises when it is imported.
    """
    file = folder.joinpath(*module.split(".")).with_suffix(".py")
    is_file = "." not in module and file.is_file()
    loaded = import_file(file) if is_file else _import(module, folder)
    found = getattr(loaded, function, None)
    if not callable(found):
        raise InvalidValue(f"module {module!r} has no function {function!r}.", fix="Run `sill apply` again.")
    return found  # type: ignore[no-any-return]


def call(function: Callable[..., Any], folder: Path, *arguments: Any) -> Any:
    """Call a function of the user's.

    Raises:
        UserError: it raised; the message has file, line, class and text.
    """
    try:
        return function(*arguments)
    except (Exception, SystemExit) as raised:  # it is the user's code: whatever happens becomes the run's reason
        place = where(raised, folder / f"{function.__module__}.py")
        raise UserError(f"{function.__name__}() raised at {place}: {describe(raised)}.") from raised


def _import(module: str, folder: Path) -> Any:
    if not all(part.isidentifier() for part in module.split(".")):
        raise InvalidValue(f"{shorten(module)!r} is no module.")
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    try:
        return importlib.import_module(module)
    except (Exception, SystemExit) as raised:
        place = where(raised, folder / f"{module}.py")
        raise InvalidValue(f"module {module!r} cannot be imported: {place}: {describe(raised)}.") from raised
