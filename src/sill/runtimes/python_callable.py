"""A model that is Python code its project's admin registered. It runs in a confined process of its own, never elsewhere.

`callable.json` says what it takes and gives, and where it is; the code lies beside it. A function gets named arrays and
gives named arrays; a class is made with the bundle's folder and has `infer`, and `stream` if it answers in parts. A
function that is a generator answers in parts. With `weights`, a safetensors file of the bundle, the class is made of its
tensors and `config` (see `weights`).
"""

import importlib.util
import inspect
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from sill.core.errors import InvalidValue, Refused
from sill.core.names import shorten
from sill.core.values import Value
from sill.runtimes.drivers import Files, Held, files_of, folder_of, loaded, model_path, read_model, read_spec
from sill.runtimes.fitting import fit, named
from sill.runtimes.types import Signature
from sill.runtimes.weights import build
from sill.safety.formats import check_safetensors
from sill.safety.paths import check_relative

MODEL_FILE = "callable.json"
CODE_BYTES_MAX = 1024 * 1024


class CallableSpec(Value, frozen=True, kw_only=True):
    """What `callable.json` says: the file of the bundle, the function or class in it, its signature and weights."""

    file: str
    name: str
    signature: Signature
    weights: str = ""
    config: dict[str, Any] = {}


class PythonCallable(Held):
    """One function or object of the bundle's code."""

    model_file = MODEL_FILE
    runs_code = True
    must_confine = True

    def __init__(self) -> None:
        super().__init__()
        self._spec: CallableSpec | None = None
        self._infer: Callable[[dict[str, Any]], Any] | None = None
        self._stream: Callable[[dict[str, Any]], Any] | None = None

    @staticmethod
    def check(files: Files) -> None:
        """See `Driver.check`: the description is sound, and the code compiles. It is not run."""
        spec = _spec(files)
        with files(spec.file) as opened:
            _compiled(opened.read(CODE_BYTES_MAX + 1), spec.file)
        if spec.weights:
            with files(spec.weights) as opened:
                check_safetensors(opened)

    def load(self, bundle: Path | bytes, device: str = "cpu") -> None:
        """See `Runtime.load`. The code runs now."""
        folder = folder_of(bundle, "a Python model is a folder: its description and its code")
        spec = _spec(files_of(folder))
        path = model_path(folder, spec.file)
        self._infer, self._stream = _entry(path, folder, spec)
        self._spec, self._signature = spec, spec.signature
        self._size_bytes = sum(model_path(folder, name).stat().st_size for name in (spec.file, spec.weights) if name)

    def infer(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """See `Runtime.infer`. Of a model that answers in parts, the parts in a row."""
        import numpy as np

        spec = loaded(self._spec)
        fed = fit(spec.signature.inputs, inputs)
        if self._infer is not None:
            return named(spec.signature, self._infer(fed))
        parts = list(self.stream(inputs))
        if not parts:
            raise Refused("the model gave no part of an answer.", fix="Look at its code.")
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def stream(self, inputs: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        """See `Streams.stream`."""
        spec = loaded(self._spec)
        if self._stream is None:
            raise InvalidValue("the model does not answer in parts.", fix="Ask it for the whole answer.")
        parts = self._stream(fit(spec.signature.inputs, inputs))
        try:
            for part in parts:
                yield named(spec.signature, part)
        finally:
            parts.close()

    def close(self) -> None:
        """See `Runtime.close`."""
        super().close()
        self._spec = self._infer = self._stream = None


def _spec(files: Files) -> CallableSpec:
    """What `callable.json` says.

    Raises:
        InvalidValue: it cannot be read, is too long, or names no Python file of the bundle.
    """
    with files(MODEL_FILE) as opened:
        spec = read_spec(opened, CallableSpec, MODEL_FILE)
    for name in (spec.file, spec.weights):
        if name:
            check_relative(name, "file")
    if not spec.file.endswith(".py") or not spec.name.isidentifier():
        raise InvalidValue(
            f"{shorten(spec.file)!r} and {shorten(spec.name)!r} are no Python file and name in it.", field=MODEL_FILE
        )
    return spec


def _compiled(code: bytes, name: str) -> Any:
    if len(code) > CODE_BYTES_MAX:
        raise InvalidValue(f"{name} has more than {CODE_BYTES_MAX} bytes.", field=name)
    try:
        return compile(code, name, "exec")
    except (SyntaxError, ValueError) as wrong:
        raise InvalidValue(f"{name} is no Python code: {shorten(str(wrong), 200)}.", field=name) from wrong


def _entry(path: Path, folder: Path, spec: CallableSpec) -> tuple[Any, Any]:
    """(infer, stream) of the code; one of them may be None."""
    found: Any = getattr(run_file(path), spec.name, None)
    if found is None:
        raise Refused(f"{spec.file} has no {spec.name!r}.", fix=f"Name it in {MODEL_FILE}.")
    if spec.weights:
        data = read_model(folder, spec.weights)
        check_safetensors(data)
        return build(found, spec.config, data, spec.signature), None
    if isinstance(found, type):
        made: Any = found(folder)
        return getattr(made, "infer", None), getattr(made, "stream", None)
    return (None, found) if inspect.isgeneratorfunction(found) else (found, None)


def run_file(path: Path) -> Any:
    """The module a bundle's Python file makes. Called in a confined process only."""
    described = importlib.util.spec_from_file_location("sill_model_code", path)
    if described is None or described.loader is None:
        raise Refused(f"{path.name} is no Python file.", fix="Register another.")
    module = importlib.util.module_from_spec(described)
    described.loader.exec_module(module)
    return module
