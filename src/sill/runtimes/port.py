"""Opens runtimes by name. Which model answers which request is the business of `endpoints`."""

from pathlib import Path

from sill.core.plugins import find
from sill.runtimes.drivers import Driver, Runtime, Streams
from sill.runtimes.process import WorkerRuntime

__all__ = ["PORT", "Runtime", "Streams", "driver", "open_runtime"]

PORT = "runtime"


def driver(name: str) -> type[Driver]:
    """What is known of the runtime registered as `name` without loading its library.

    Raises:
        NotFound: nobody registered the name.
    """
    found: type[Driver] = find(PORT, name)
    return found


def open_runtime(name: str, bundle: Path | bytes, device: str = "cpu") -> Runtime:
    """The runtime registered as `name` (such as `onnx`), with the model loaded: in this process, or in one of its own.

    Args:
        bundle: a bundle's folder, or the bytes of its model file, where there is one only.
    Raises:
        NotFound: nobody registered the name, or the folder has no model file.
        PluginMissing: its library is not installed.
    """
    found = driver(name)
    place = f"{found.__module__}:{found.__qualname__}"
    made = WorkerRuntime(place, found.model_file, must_confine=found.runs_code) if found.is_isolated else found()
    made.load(bundle, device)
    return made
