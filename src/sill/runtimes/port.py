"""Opens runtimes by name. Which model answers which request is the business of `endpoints`."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sill.core import plugins
from sill.core.errors import SillError
from sill.runtimes.drivers import Driver, Runtime, Streams, Widens, WorkerDied
from sill.runtimes.fitting import zeros
from sill.runtimes.process import WorkerRuntime
from sill.runtimes.types import Inspection

__all__ = ["PORT", "Runtime", "Streams", "Widens", "WorkerDied", "driver", "inspect", "names", "open_runtime", "opener"]

PORT = "runtime"
INSPECTED_TIMES = 20
"""Rows that a model is asked when it is looked at."""


def driver(name: str) -> type[Driver]:
    """What is known of the runtime registered as `name` without loading its library.

    Raises:
        NotFound: nobody registered the name.
    """
    found: type[Driver] = plugins.find(PORT, name)
    return found


def open_runtime(name: str, bundle: Path | bytes, device: str = "cpu", python: str = "") -> Runtime:
    """The runtime registered as `name` (such as `onnx`), with the model loaded: in this process, or in one of its own.

    Args:
        bundle: a bundle's folder, or the bytes of its model file, where there is one only.
        python: the interpreter that has its library, for one that answers in a process of its own; else this one.
    Raises:
        NotFound: nobody registered the name, or the folder has no model file.
        PluginMissing: its library is not installed.
    """
    found = driver(name)
    made = _in_a_worker(found, python) if found.is_isolated else found()
    made.load(bundle, device)
    return made


def opener(pythons: Mapping[str, str]) -> Callable[[str, Path], Runtime]:
    """`open_runtime` of a bundle's folder, with the interpreters that have some runtimes' libraries."""

    def opened(name: str, folder: Path) -> Runtime:
        return open_runtime(name, folder, python=pythons.get(name, ""))

    return opened


def names() -> tuple[str, ...]:
    """Every runtime that is registered."""
    return plugins.names(PORT)


def inspect(name: str, bundle: Path, python: str = "") -> Inspection:
    """What a model says of itself: loaded in a confined process, which ends at once. Errors as `open_runtime`."""
    made = _in_a_worker(driver(name), python)
    try:
        made.load(bundle)
        signature = made.signature()
        latency_ms = _latency_ms(made, {spec.name: zeros(spec) for spec in signature.inputs})
        return Inspection(signature=signature, memory_bytes=made.memory_bytes(), latency_ms_p99=latency_ms)
    finally:
        made.close()


def _latency_ms(runtime: Runtime, row: dict[str, Any]) -> float | None:
    """The 99th percentile of how long a row takes, of a few; None if it cannot be answered."""
    taken_ms = []
    try:
        for _ in range(INSPECTED_TIMES):
            started_s = time.perf_counter()
            runtime.infer(row)
            taken_ms.append((time.perf_counter() - started_s) * 1e3)
    except SillError:
        return None
    return sorted(taken_ms[1:])[-1]  # the first makes what the others find


def _in_a_worker(found: type[Driver], python: str) -> WorkerRuntime:
    place = f"{found.__module__}:{found.__qualname__}"
    return WorkerRuntime(place, found.model_file, must_confine=found.must_confine, python=python)
