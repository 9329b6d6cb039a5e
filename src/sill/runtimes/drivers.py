"""The port of a runtime: what makes one model answer. Drivers register in the entry point group `sill.runtime`."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, Protocol, runtime_checkable

from sill.core.errors import NotFound, PluginMissing, TooLarge
from sill.runtimes.types import Signature

MODEL_BYTES_MAX = 2 * 1024**3
"""Largest model file that is read; the limit of one protocol buffer message."""
Files = Callable[[str], AbstractContextManager[BinaryIO]]
"""Opens a file of a bundle by its path; NotFound if there is none."""


@runtime_checkable
class Runtime(Protocol):
    """Makes one model answer. `infer` may be called from several threads at once."""

    def load(self, bundle: Path | bytes, device: str = "cpu") -> None:
        """Take the model in: a bundle's folder, or the bytes of the model file itself.

        Raises:
            NotFound: the folder has no model file.
            UnsupportedType, InvalidValue: the file is not of a format this runtime loads, or is not sound.
            Refused: the library cannot load it, or the device is not there.
        """
        ...

    def infer(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Named arrays in and out, first axis = batch; a row's answer does not depend on its neighbours.

        Raises:
            InvalidValue: an input is missing, unknown, or has the wrong type or shape.
            Unavailable: nothing was loaded.
        """
        ...

    def signature(self) -> Signature:
        """What the loaded model takes and gives.

        Raises:
            Unavailable: nothing was loaded.
        """
        ...

    def memory_bytes(self) -> int:
        """Bytes of memory the loaded model takes, estimated; 0 if nothing is loaded."""
        ...

    def close(self) -> None:
        """Let go of the model and its memory. Nothing answers afterwards; a second call does nothing."""
        ...


@runtime_checkable
class Streams(Protocol):
    """A runtime whose model can answer in parts (`Signature.streams`)."""

    def stream(self, inputs: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        """The parts of the answer to named arrays, as they come. Closing the iterator stops the model.

        Raises:
            InvalidValue: as `Runtime.infer`, before the first part.
        """
        ...


class Driver(Runtime, Protocol):
    """A runtime's class, with what must be known of it before any library is loaded.

    Attributes:
        model_file: the file every bundle of this runtime has.
        is_isolated: its library answers in a process of its own: a crash there fails that model's requests only.
        runs_code: its bundles carry code, which only an admin of models may register and only a confined process runs.
    """

    model_file: ClassVar[str]
    is_isolated: ClassVar[bool]
    runs_code: ClassVar[bool]

    @staticmethod
    def check(files: Files) -> None:
        """Look at a bundle's structure with our own readers, before any library sees it.

        Raises:
            NotFound, InvalidValue, UnsupportedType: a file is missing, not sound, or of a format that is not loaded.
        """
        ...


def library(module: str, runtime: str) -> Any:
    """A library, imported now.

    Raises:
        PluginMissing: it is not installed.
    """
    try:
        return import_module(module)
    except ImportError as missing:
        raise PluginMissing(
            f"the runtime {runtime!r} needs {missing.name or module}.", fix=f"pip install 'sill[{runtime}]'"
        ) from missing


def model_path(bundle: Path, name: str) -> Path:
    """The model file in a bundle's folder (the platform's own, made from verified blobs).

    Raises:
        NotFound: there is none.
        TooLarge: it is above `MODEL_BYTES_MAX`.
    """
    path = bundle / name
    if not path.is_file():
        raise NotFound(f"the bundle {bundle.name!r} has no {name}.", fix="Export the model again.")
    if path.stat().st_size > MODEL_BYTES_MAX:
        raise TooLarge(f"{name} has {path.stat().st_size} bytes; {MODEL_BYTES_MAX} are allowed.")
    return path


def files_of(folder: Path) -> Files:
    """The files of a bundle that lies in a folder."""

    def opened(path: str) -> AbstractContextManager[BinaryIO]:
        return model_path(folder, path).open("rb")

    return opened
