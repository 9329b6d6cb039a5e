"""Named arrays as a model's signature wants them; the same refusals for every runtime."""

from collections.abc import Mapping
from typing import Any

from sill.core.errors import InvalidValue, Refused
from sill.core.names import shorten
from sill.runtimes.types import Signature, TensorSpec

NUMPY = {
    **{f"FP{bits}": f"float{bits}" for bits in (16, 32, 64)},
    **{f"INT{bits}": f"int{bits}" for bits in (8, 16, 32, 64)},
    **{f"UINT{bits}": f"uint{bits}" for bits in (8, 16, 32, 64)},
    "BOOL": "bool",
    "BF16": "uint16",
    "BYTES": "object",
}
"""The Open Inference Protocol's datatypes → NumPy's names; BF16 as its raw two bytes."""
DATATYPES = {name: datatype for datatype, name in NUMPY.items() if datatype != "BF16"}


def fit(specs: tuple[TensorSpec, ...], inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The arrays by name, each in its tensor's type.

    Raises:
        InvalidValue: one is missing, unknown, cannot be read as its type, or has the wrong shape.
    """
    known = ", ".join(spec.name for spec in specs)
    fed = {spec.name: _fit(spec, inputs, known) for spec in specs}
    if unknown := sorted(set(inputs) - set(fed)):
        raise InvalidValue(f"input {shorten(unknown[0])!r} is not known; the model takes {known}.")
    return fed


def zeros(spec: TensorSpec) -> Any:
    """A row of zeros (empty texts) for a tensor; free dimensions are one."""
    import numpy as np

    shape = tuple(max(size, 1) for size in spec.shape)
    return np.full(shape, "", object) if spec.datatype == "BYTES" else np.zeros(shape, NUMPY[spec.datatype])


def unanswerable(refused: Exception) -> InvalidValue:
    """What a library's error about an input becomes: each raises classes of its own."""
    return InvalidValue(
        f"the model could not answer these inputs: {shorten(str(refused), 200)}.", fix="Compare the signature."
    )


def named(signature: Signature, answer: Any) -> dict[str, Any]:
    """A model's own answer, with exactly the outputs its signature names, in their types.

    Raises:
        Refused: it is something else.
    """
    import numpy as np

    names = [spec.name for spec in signature.outputs]
    if not isinstance(answer, Mapping) or set(answer) != set(names):
        given = ", ".join(map(str, answer)) if isinstance(answer, Mapping) else type(answer).__name__
        raise Refused(f"the model gave {shorten(given)}, its signature names {shorten(', '.join(names))}.")
    return {spec.name: np.asarray(answer[spec.name]).astype(NUMPY[spec.datatype]) for spec in signature.outputs}


def _fit(spec: TensorSpec, inputs: Mapping[str, Any], known: str) -> Any:
    import numpy as np

    name, kind, shape = spec.name, NUMPY[spec.datatype], spec.shape
    if name not in inputs:
        raise InvalidValue(f"input {name!r} is missing; the model takes {known}.", field=name)
    try:
        array = np.asarray(inputs[name]).astype(kind, copy=False)
    except (ValueError, TypeError) as wrong:
        raise InvalidValue(f"input {name!r} cannot be read as {kind}: {shorten(str(wrong))}.", field=name) from wrong
    fits = array.ndim == len(shape) and all(want in (-1, got) for want, got in zip(shape, array.shape, strict=True))
    if not fits:
        raise InvalidValue(
            f"input {name!r} has shape {list(array.shape)}; {list(shape)} is allowed (-1: any).", field=name
        )
    return array
