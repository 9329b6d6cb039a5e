"""A model that is Python code its project's admin registered. It runs in a confined process of its own, never elsewhere.

`callable.json` says what it takes and gives, and where it is; the code lies beside it. A function gets named arrays and
gives named arrays; a class is made with the bundle's folder and has `infer`, and `stream` if it answers in parts. A
function that is a generator answers in parts.
"""

import importlib.util
import inspect
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from sill.core.errors import InvalidValue, Refused, Unavailable
from sill.core.names import shorten
from sill.core.values import Value
from sill.runtimes.drivers import Files, model_path
from sill.runtimes.fitting import NUMPY, fit
from sill.runtimes.types import Signature
from sill.safety.paths import check_relative
from sill.safety.strict_json import decode

MODEL_FILE = "callable.json"
SPEC_BYTES_MAX = 1024 * 1024
CODE_BYTES_MAX = 1024 * 1024


class CallableSpec(Value, frozen=True, kw_only=True):
    """What `callable.json` says: the file of the bundle, the function or class in it, and its signature."""

    file: str
    name: str
    signature: Signature


class PythonCallable:
    """One function or object of the bundle's code."""

    model_file = MODEL_FILE
    is_isolated = True
    runs_code = True

    def __init__(self) -> None:
        self._spec: CallableSpec | None = None
        self._infer: Callable[[dict[str, Any]], Any] | None = None
        self._stream: Callable[[dict[str, Any]], Any] | None = None
        self._size_bytes = 0

    @staticmethod
    def check(files: Files) -> None:
        """See `Driver.check`: the description is sound, and the code compiles. It is not run."""
        with files(MODEL_FILE) as opened:
            spec = read_spec(opened.read(SPEC_BYTES_MAX + 1))
        with files(spec.file) as opened:
            _compiled(opened.read(CODE_BYTES_MAX + 1), spec.file)

    def load(self, bundle: Path | bytes, device: str = "cpu") -> None:
        """See `Runtime.load`. The code runs now."""
        if isinstance(bundle, bytes):
            raise InvalidValue("a Python model is a folder: its description and its code.", fix="Give the folder.")
        spec = read_spec(model_path(bundle, MODEL_FILE).read_bytes())
        path = model_path(bundle, spec.file)
        self._infer, self._stream = _entry(path, bundle, spec)
        self._spec, self._size_bytes = spec, path.stat().st_size

    def infer(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """See `Runtime.infer`. Of a model that answers in parts, the parts in a row."""
        import numpy as np

        spec = self._loaded()
        fed = fit(spec.signature.inputs, inputs)
        if self._infer is not None:
            return _checked(self._infer(fed), spec.signature)
        parts = list(self.stream(inputs))
        if not parts:
            raise Refused("the model gave no part of an answer.", fix="Look at its code.")
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def stream(self, inputs: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        """See `Streams.stream`."""
        spec = self._loaded()
        if self._stream is None:
            raise InvalidValue("the model does not answer in parts.", fix="Ask it for the whole answer.")
        parts = self._stream(fit(spec.signature.inputs, inputs))
        try:
            for part in parts:
                yield _checked(part, spec.signature)
        finally:
            parts.close()

    def signature(self) -> Signature:
        """See `Runtime.signature`."""
        return self._loaded().signature

    def memory_bytes(self) -> int:
        """See `Runtime.memory_bytes`."""
        return self._size_bytes

    def close(self) -> None:
        """See `Runtime.close`."""
        self._spec = self._infer = self._stream = None
        self._size_bytes = 0

    def _loaded(self) -> CallableSpec:
        if self._spec is None:
            raise Unavailable("no model is loaded.", fix="Call load first.")
        return self._spec


def read_spec(content: bytes) -> CallableSpec:
    """What `callable.json` says.

    Raises:
        InvalidValue: it cannot be read, is too long, or names no Python file of the bundle.
    """
    if len(content) > SPEC_BYTES_MAX:
        raise InvalidValue(f"{MODEL_FILE} has more than {SPEC_BYTES_MAX} bytes.", field=MODEL_FILE)
    spec = decode(content, CallableSpec)
    check_relative(spec.file, "file")
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


def _entry(path: Path, bundle: Path, spec: CallableSpec) -> tuple[Any, Any]:
    """(infer, stream) of the code; one of them may be None."""
    found: Any = getattr(run_file(path), spec.name, None)
    if found is None:
        raise Refused(f"{spec.file} has no {spec.name!r}.", fix=f"Name it in {MODEL_FILE}.")
    if isinstance(found, type):
        made: Any = found(bundle)
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


def _checked(answer: Any, signature: Signature) -> dict[str, Any]:
    """The answer, with exactly the outputs its signature names, in their types.

    Raises:
        Refused: it is something else.
    """
    import numpy as np

    names = [spec.name for spec in signature.outputs]
    if not isinstance(answer, Mapping) or set(answer) != set(names):
        given = ", ".join(map(str, answer)) if isinstance(answer, Mapping) else type(answer).__name__
        raise Refused(f"the model gave {shorten(given)}, its signature names {shorten(', '.join(names))}.")
    return {spec.name: np.asarray(answer[spec.name]).astype(NUMPY[spec.datatype]) for spec in signature.outputs}
