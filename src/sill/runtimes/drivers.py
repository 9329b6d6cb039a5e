"""The port of a runtime: what makes one model answer. Drivers register in the entry point group `sill.runtime`."""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO, ClassVar, Protocol, TypeVar, runtime_checkable

from sill.core.errors import InvalidValue, NotFound, PluginMissing, Refused, TooLarge, Unavailable, UnsupportedType
from sill.core.names import shorten
from sill.runtimes.types import Signature
from sill.safety.formats import ModelFormat, Source, identify
from sill.safety.strict_json import decode

MODEL_BYTES_MAX = 2 * 1024**3
"""Largest model file that is read; the limit of one protocol buffer message."""
SPEC_BYTES_MAX = 1024 * 1024
"""Largest description (`callable.json`, `pipeline.json` ...) that is read."""
Files = Callable[[str], AbstractContextManager[BinaryIO]]
"""Opens a file of a bundle by its path; NotFound if there is none."""
T = TypeVar("T")


class WorkerDied(Unavailable):
    """The process that a model answers in ended while it was asked; a fresh one is there for the next question."""


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


@runtime_checkable
class Widens(Protocol):
    """A runtime that can give all cores to one question. For when nobody else asks: many at once go faster by a core each."""

    def widen(self) -> None:
        """Be ready for it, which takes as much memory again."""
        ...

    def narrow(self) -> None:
        """Be ready for it no longer."""
        ...

    def infer_wide(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """`Runtime.infer`, by all cores if it is ready for it."""
        ...


class Driver(Runtime, Protocol):
    """A runtime's class, with what must be known of it before any library is loaded.

    Attributes:
        model_file: the file every bundle of this runtime has.
        is_isolated: its library answers in a process of its own: a crash there fails that model's requests only.
        runs_code: its bundles carry code, which only an admin of models may register.
        must_confine: it is not run where its process cannot be confined: its files are programs, not only numbers.
    """

    model_file: ClassVar[str]
    is_isolated: ClassVar[bool]
    runs_code: ClassVar[bool]
    must_confine: ClassVar[bool]

    @staticmethod
    def warm() -> None:
        """Import what a load needs; called once, in the process whose copies load and answer.

        Raises:
            PluginMissing: a library is not installed. Whoever loads is told so again.
        """
        ...

    @staticmethod
    def check(files: Files) -> None:
        """Look at a bundle's structure with our own readers, before any library sees it.

        Raises:
            NotFound, InvalidValue, UnsupportedType: a file is missing, not sound, or of a format that is not loaded.
        """
        ...


class Held:
    """What the drivers have in common: one model, or none; its signature, and the bytes it takes."""

    model_file: ClassVar[str]
    is_isolated = True
    runs_code = False
    must_confine = False

    def __init__(self) -> None:
        self._model: Any = None
        self._signature: Signature | None = None
        self._size_bytes = 0

    @staticmethod
    def warm() -> None:
        """See `Driver.warm`: nothing is needed."""

    @staticmethod
    def look(file: BinaryIO, /) -> object:
        """Our own reader of the model file. A driver of several files has its own `check` instead."""
        raise NotImplementedError

    @classmethod
    def check(cls, files: Files) -> None:
        """See `Driver.check`: the model file is looked at."""
        with files(cls.model_file) as opened:
            cls.look(opened)

    def signature(self) -> Signature:
        """See `Runtime.signature`."""
        return loaded(self._signature)

    def memory_bytes(self) -> int:
        """See `Runtime.memory_bytes`: as much as its files have."""
        return self._size_bytes

    def close(self) -> None:
        """See `Runtime.close`."""
        self._model = self._signature = None
        self._size_bytes = 0


def loaded(model: T | None) -> T:
    """The model, if there is one.

    Raises:
        Unavailable: nothing was loaded.
    """
    if model is None:
        raise Unavailable("no model is loaded.", fix="Call load first.")
    return model


def library(module: str, runtime: str, *, without: Iterable[str] = ()) -> Any:
    """A library, imported now.

    Args:
        without: other libraries that it would import although nothing here needs them; whoever does has them later.
    Raises:
        PluginMissing: it is not installed.
    """
    hidden = {name for name in without if name not in sys.modules}
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # None: an ImportError, as if it were not there
    try:
        return import_module(module)
    except ImportError as missing:
        raise PluginMissing(
            f"the runtime {runtime!r} needs {missing.name or module}.", fix=f"pip install 'sill[{runtime}]'"
        ) from missing
    finally:
        for name in hidden:
            sys.modules.pop(name, None)


def cannot_load(name: str, broken: Exception, fix: str = "Export it again.") -> Refused:
    """What a library's error about a file becomes: each raises classes of its own."""
    return Refused(f"{name} cannot load the model: {shorten(str(broken), 200)}.", fix=fix)


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


def read_model(bundle: Path | bytes, name: str) -> bytes:
    """The model file's bytes. Errors as `model_path`."""
    return bundle if isinstance(bundle, bytes) else model_path(bundle, name).read_bytes()


def folder_of(bundle: Path | bytes, what: str) -> Path:
    """The bundle, for a runtime whose model is several files.

    Raises:
        InvalidValue: it is one file.
    """
    if isinstance(bundle, bytes):
        raise InvalidValue(f"{what}, not one file.", fix="Give the folder.")
    return bundle


def check_format(source: Source, name: str, *formats: ModelFormat) -> None:
    """Check a model file's whole structure.

    Raises:
        UnsupportedType: it is of none of the formats.
        InvalidValue: it is, and not sound.
    """
    if (found := identify(source)) not in formats:
        raise UnsupportedType(f"{name} is {found}; {', '.join(formats)} are allowed.", fix="Export the model again.")


def read_spec(file: BinaryIO, kind: type[T], name: str) -> T:
    """A bundle's description of itself.

    Raises:
        InvalidValue: it cannot be read, or is too long.
    """
    content = file.read(SPEC_BYTES_MAX + 1)
    if len(content) > SPEC_BYTES_MAX:
        raise InvalidValue(f"{name} has more than {SPEC_BYTES_MAX} bytes.", field=name)
    return decode(content, kind)
