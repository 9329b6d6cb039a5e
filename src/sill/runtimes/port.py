"""The port of a runtime: what makes one model answer. Which model answers which request is the business of `endpoints`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from sill.core.plugins import find
from sill.runtimes.types import Signature

PORT = "runtime"
MODEL_FILE = "model.onnx"
MODEL_BYTES_MAX = 2 * 1024**3
"""Largest model file that is read; the limit of one protocol buffer message."""


@runtime_checkable
class Runtime(Protocol):
    """Makes one model answer. `infer` is called from one thread at a time."""

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


def open_runtime(name: str, bundle: Path | bytes, device: str = "cpu") -> Runtime:
    """The runtime registered as `name` (`onnx`), with the model loaded.

    Raises:
        NotFound: nobody registered the name.
        PluginMissing: its library is not installed.
    """
    runtime: Runtime = find(PORT, name)()
    runtime.load(bundle, device)
    return runtime
