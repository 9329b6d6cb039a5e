"""Between a request's named tensors and a model's own inputs and outputs. Which wire they came over is left to `protocols`."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from sill.core.errors import InvalidValue, Refused
from sill.core.names import shorten
from sill.core.values import Value
from sill.runtimes.dtypes import BF16, DTYPES, widened
from sill.runtimes.types import Signature, TensorSpec

ROWS_MAX = 10_000
"""Most rows one request may ask for."""
FEATURES_LOGGED_MAX = 2_000
AGREE_RELATIVE = 0.1
"""Two numbers agree when they differ by at most this part of the larger one."""
TABULAR_INPUT = "input"
SQUARED_MAX = 4_096
"""Values whose squares are summed up at once; for more the library wakes threads of its own."""

Array = np.ndarray[Any, Any]


class Question(Value, frozen=True, kw_only=True):
    """What a model is asked: its inputs by name, all with the same first axis, `rows` long.

    `form` tells apart what cannot share a batch: the inner shapes, where the model leaves them free.
    """

    arrays: dict[str, Any]
    rows: int
    form: tuple[Any, ...] | None = None
    is_whole: bool = False
    """For a model without a batch axis: one row, whatever the shapes are; it shares no batch, its answer is not cut."""


class Prediction(Value, frozen=True, kw_only=True):
    """What one row was answered, for the log and the judge: the class or the number, and the class's probability."""

    text: str
    score: float | None = None


class Plain:
    """The short way to a question: for a model with one input of fixed inner shape, and a tensor that fits as it is."""

    __slots__ = ("_names", "dtype", "inner", "name")

    def __init__(self, spec: TensorSpec) -> None:
        self.name = spec.name
        self._names = (spec.name, TABULAR_INPUT)
        self.dtype = DTYPES[spec.datatype]
        self.inner = spec.shape[1:]

    def question(self, name: str, array: Array) -> Question | None:
        """The question, or None if `to_question` must look at it."""
        shape = array.shape
        if array.dtype is not self.dtype or shape[1:] != self.inner or name not in self._names:
            return None
        return Question(arrays={self.name: array}, rows=shape[0]) if 0 < shape[0] <= ROWS_MAX else None


def plain_way(signature: Signature) -> Plain | None:
    """`Plain` for a model that has it."""
    spec = signature.inputs[0]
    is_fixed = len(signature.inputs) == 1 and all(size >= 0 for size in spec.shape[1:])
    return Plain(spec) if is_fixed and has_rows(signature) and spec.datatype not in ("BYTES", "BF16") else None


def has_rows(signature: Signature) -> bool:
    """Whether the first axis of every tensor is the batch: free in every input, and not fixed in any output."""
    is_free = all(spec.shape and spec.shape[0] == -1 for spec in signature.inputs)
    return is_free and (
        signature.task == "classification" or all(spec.shape[:1] in ((), (-1,)) for spec in signature.outputs)
    )


def to_question(signature: Signature, tensors: Mapping[str, Array]) -> Question:
    """The model's inputs, from what a client sent.

    A tabular model takes one tensor `[n, features]`, named `input` or as the model names it, or one tensor of shape
    `[n]` or `[n, 1]` for each feature. Other models take their inputs by name.

    Raises:
        InvalidValue: an input is missing, unknown, of the wrong type, or has the wrong shape.
    """
    inputs = signature.inputs
    if signature.features and len(inputs) == 1 and not (tensors.keys() & {TABULAR_INPUT, inputs[0].name}):
        arrays = {inputs[0].name: _table(signature, tensors)}
    else:
        named = dict(tensors)
        if len(inputs) == 1 and TABULAR_INPUT in named and inputs[0].name not in named:
            named[inputs[0].name] = named.pop(TABULAR_INPUT)
        _check_names(named, tuple(spec.name for spec in inputs))
        arrays = {spec.name: _fit(spec, named[spec.name]) for spec in inputs}
    if not has_rows(signature):
        return Question(arrays=arrays, rows=1, is_whole=True)
    rows = {array.shape[0] for array in arrays.values()}
    if len(rows) != 1 or max(rows) > ROWS_MAX:
        raise InvalidValue(
            f"the inputs have {', '.join(map(str, sorted(rows)))} rows; all must have the same, at most {ROWS_MAX:,}.",
            field="inputs",
        )
    return Question(arrays=arrays, rows=rows.pop(), form=form_of(signature, arrays))


def form_of(signature: Signature, arrays: Mapping[str, Array]) -> tuple[Any, ...] | None:
    """The inner shapes of a question to a model that leaves some of them free; None if it leaves none."""
    if all(size >= 0 for spec in signature.inputs for size in spec.shape[1:]):
        return None
    return tuple(array.shape[1:] for array in arrays.values())


class Finisher:
    """Checks a model's answers and names them as they go over the wire; what its signature says is looked up once."""

    __slots__ = ("_has_rows", "_is_classifier", "_marked", "_signature")

    def __init__(self, signature: Signature) -> None:
        self._signature = signature
        self._has_rows = has_rows(signature)
        self._is_classifier = signature.task == "classification"
        self._marked = frozenset(spec.name for spec in signature.outputs if spec.datatype == "BF16")

    def __call__(self, raw: Mapping[str, Array], rows: int) -> dict[str, Any]:
        """Outputs as they are named on the wire: `label` and `probabilities` of a classifier, `output` of others.

        Raises:
            Refused: the model gave NaN or infinity, or not one answer for each row.
        """
        for name, array in raw.items():
            if self._has_rows and (array.ndim == 0 or array.shape[0] != rows):
                raise Refused(f"the model's output {name!r} has shape {list(array.shape)} for {rows} rows.")
            if array.dtype.kind == "f" and not is_finite(array):
                raise Refused(
                    f"the model's output {name!r} is not finite for this input.", fix="Look at the input's values."
                )
        if self._is_classifier:
            return _classes(self._signature, raw, rows)
        named = {name: array.view(BF16) if name in self._marked else array for name, array in raw.items()}
        return {"output": next(iter(named.values()))} if len(named) == 1 else named


def finish(signature: Signature, raw: Mapping[str, Array], rows: int) -> dict[str, Any]:
    """`Finisher` for one answer."""
    return Finisher(signature)(raw, rows)


def is_finite(array: Array) -> bool:
    """Whether no value is NaN or infinite. The sum of squares says so at once, unless it is itself too large."""
    is_small = array.size <= SQUARED_MAX
    return (is_small and math.isfinite(np.vdot(array, array))) or bool(np.isfinite(array).all())


def predictions(signature: Signature, outputs: Mapping[str, Array], rows: int) -> list[Prediction]:
    """What each row was answered, in short; empty texts where an answer is not one class or number.

    So they are where the rows of an answer are not those of its question: the last part of one that came in parts.
    """
    if has_rows(signature) and len(next(iter(outputs.values()))) != rows:
        return [Prediction(text="")] * rows
    if signature.task == "classification":
        scores = [None] * rows if "probabilities" not in outputs else outputs["probabilities"].max(axis=1).tolist()
        return [
            Prediction(text=_text(label), score=score)
            for label, score in zip(outputs["label"].tolist(), scores, strict=True)
        ]
    first = next(iter(outputs.values()))
    if not has_rows(signature) or first.size != rows or first.dtype.kind not in "fiub":
        return [Prediction(text="")] * rows
    return [Prediction(text=f"{value:.9g}") for value in first.reshape(-1).tolist()]


def feature_rows(signature: Signature, question: Question) -> list[dict[str, float | str | None]]:
    """The named inputs of each row of a tabular model; empty rows for other models."""
    names = signature.features
    if not names or len(names) > FEATURES_LOGGED_MAX:
        return [{} for _ in range(question.rows)]
    if len(signature.inputs) == 1:
        table = question.arrays[signature.inputs[0].name]
        if table.ndim != 2 or table.shape[1] != len(names):
            return [{} for _ in range(question.rows)]
        if table.dtype.kind == "f":  # they are plain numbers already
            return [dict(zip(names, row, strict=True)) for row in table.tolist()]
        return [dict(zip(names, map(_plain, row), strict=True)) for row in table.tolist()]
    columns = [
        question.arrays[name].reshape(question.rows, -1)[:, 0].tolist() for name in names if name in question.arrays
    ]
    if len(columns) != len(names):
        return [{} for _ in range(question.rows)]
    return [dict(zip(names, map(_plain, row), strict=True)) for row in zip(*columns, strict=True)]


def agree(task: str, ours: str, other: str) -> bool:
    """Whether two predictions of a row say the same: equal classes, or numbers close to each other."""
    if task == "classification" or not ours or not other:
        return ours == other
    a, b = float(ours), float(other)
    return abs(a - b) <= AGREE_RELATIVE * max(abs(a), abs(b), 1e-9)


def zero_question(signature: Signature, rows: int = 1, seed: int | None = None) -> Question:
    """A row of zeros (empty texts) to warm a model up with; with a seed, rows of standard normal numbers instead."""
    random = None if seed is None else np.random.default_rng(seed)
    arrays: dict[str, Any] = {}
    for spec in signature.inputs:
        inner = tuple(1 if size < 0 else size for size in spec.shape)
        shape = (rows, *inner[1:]) if has_rows(signature) else inner
        if spec.datatype == "BYTES":
            arrays[spec.name] = np.full(shape, "", dtype=object)
        elif spec.datatype == "BF16":
            arrays[spec.name] = np.zeros(shape, dtype=np.uint16)
        elif random is not None and spec.datatype.startswith("FP"):
            arrays[spec.name] = random.standard_normal(shape).astype(DTYPES[spec.datatype])
        else:
            arrays[spec.name] = np.zeros(shape, dtype=DTYPES[spec.datatype])
    whole = not has_rows(signature)
    return Question(arrays=arrays, rows=1 if whole else rows, is_whole=whole)


def _table(signature: Signature, tensors: Mapping[str, Array]) -> Array:
    """One tensor for each feature → the one input `[n, features]`."""
    spec = signature.inputs[0]
    _check_names(tensors, signature.features)
    columns = [_column(spec, name, tensors[name]) for name in signature.features]
    if len({len(column) for column in columns}) != 1:
        raise InvalidValue("the features have different numbers of rows.", field="inputs")
    return np.stack(columns, axis=1)


def _column(spec: TensorSpec, name: str, array: Array) -> Array:
    if array.ndim > 2 or (array.ndim == 2 and array.shape[1] != 1):
        raise InvalidValue(f"feature {name!r} has shape {list(array.shape)}; [n] or [n, 1] is allowed.", field=name)
    return _cast(spec, name, array.reshape(-1))


def _check_names(given: Mapping[str, Any], wanted: tuple[str, ...]) -> None:
    known = set(wanted)
    if missing := [name for name in wanted if name not in given]:
        raise InvalidValue(
            f"input {missing[0]!r} is missing; the model takes {shorten(', '.join(wanted), 300)}.", field="inputs"
        )
    if unknown := [name for name in given if name not in known]:
        raise InvalidValue(
            f"input {shorten(unknown[0])!r} is not known; the model takes {shorten(', '.join(wanted), 300)}.",
            field="inputs",
        )


def _fit(spec: TensorSpec, array: Array) -> Array:
    if array.ndim == 1 and len(spec.shape) == 2 and spec.shape[1] in (1, -1):
        array = array.reshape(-1, 1)  # a feature of its own input: [n] is allowed for [n, 1]
    is_right = array.ndim == len(spec.shape) and all(
        size in (-1, given) for size, given in zip(spec.shape, array.shape, strict=True)
    )
    if not is_right:
        raise InvalidValue(
            f"input {spec.name!r} has shape {list(array.shape)}; {list(spec.shape)} is allowed (-1: any).",
            field=spec.name,
        )
    return _cast(spec, spec.name, array)


def _cast(spec: TensorSpec, name: str, array: Array) -> Array:
    """The array in the model's type, if no value changes its meaning by it: never text to number, nor out of range."""
    wanted = DTYPES[spec.datatype]
    if wanted == BF16:
        return _raw(name, array)
    if array.dtype == wanted:
        return array
    if array.dtype == BF16:
        array = widened(array)
    if (array.dtype.kind == "O") != (wanted.kind == "O"):
        raise InvalidValue(f"input {name!r} holds {'texts' if array.dtype.kind == 'O' else 'numbers'}; "
                           f"the model takes {spec.datatype}.", field=name)  # fmt: skip
    with np.errstate(over="ignore", invalid="ignore"):
        cast = array.astype(wanted)
    is_whole = wanted.kind in "iub"
    if (is_whole and not (cast == array).all()) or (wanted.kind == "f" and not np.isfinite(cast).all()):
        raise InvalidValue(f"input {name!r} holds a value that {spec.datatype} cannot hold.", field=name)
    return cast


def _raw(name: str, array: Array) -> Array:
    """What a runtime takes for BF16."""
    if array.dtype != BF16:
        raise InvalidValue(f"input {name!r} holds {array.dtype}; the model takes BF16, as binary data.", field=name)
    return array.view(np.uint16)


def _classes(signature: Signature, raw: Mapping[str, Array], rows: int) -> dict[str, Any]:
    flat = [array.reshape(rows, -1) if array.ndim > 1 else array for array in raw.values()]
    tables = [array for array in flat if array.dtype.kind == "f" and array.ndim == 2]
    labels = [array.reshape(-1) for array in flat if array.dtype.kind != "f" and array.size == rows]
    if not tables and not labels:
        raise Refused("the classifier gave neither labels nor probabilities.", fix="Export it again.")
    outputs = {"label": _named(signature, labels[0]) if labels else _labels(signature, tables[0])}
    return outputs | {"probabilities": tables[0]} if tables else outputs


def _labels(signature: Signature, table: Array) -> Array:
    return _named(signature, table.argmax(axis=1) if table.shape[1] > 1 else (table[:, 0] >= 0.5).astype(np.int64))


def _named(signature: Signature, places: Array) -> Array:
    """The classes' names for their places in the signature; labels that are names already, as they are."""
    if not signature.classes or places.dtype.kind not in "iu":
        return places
    names: Array = np.array(signature.classes, dtype=object)
    return np.asarray(names[places])


def _plain(value: Any) -> float | str | None:
    return _text(value) if isinstance(value, str | bytes) else float(value)


def _text(value: Any) -> str:
    """For the log: bytes that are no text are shown escaped."""
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)
