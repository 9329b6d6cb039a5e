"""MLflow's scoring form: a table or tensors in JSON or CSV to named arrays, and answers to `predictions`.

Source: the server that `mlflow models serve` starts (mlflow.pyfunc.scoring_server). A JSON body has exactly one of
`dataframe_split`, `dataframe_records`, `instances` and `inputs`.
"""

import csv
from collections.abc import Mapping, Sequence
from io import StringIO
from typing import Any

import numpy as np

from sill.core.errors import InvalidValue, UnsupportedType
from sill.core.names import shorten
from sill.core.values import Value
from sill.protocols.oip.tensors import unnested
from sill.runtimes.types import Signature
from sill.safety.strict_json import decode

FORMS = ("dataframe_split", "dataframe_records", "instances", "inputs")
JSON_TYPE, CSV_TYPE = "application/json", "text/csv"
ROWS_MAX = 10_000
COLUMNS_MAX = 2_000
TABULAR_INPUT = "input"

Array = np.ndarray[Any, Any]


class ScoringRequest(Value, frozen=True, kw_only=True):
    """Arrays by name, and whether they came as a table: then several outputs are answered as records."""

    tensors: dict[str, Any]
    is_table: bool


def read_scoring(kind: str, body: bytes, signature: Signature) -> ScoringRequest:
    """The arrays a body holds. Columns of a table that the model does not take are left out, as MLflow does.

    Args:
        kind: the content type, without parameters; empty is JSON.
    Raises:
        InvalidValue: none of the forms, two at once, ragged, or a value that cannot be part of an array.
        UnsupportedType: neither JSON nor CSV.
    """
    if kind == CSV_TYPE:
        return ScoringRequest(tensors=_of_table(signature, _csv(body)), is_table=True)
    if kind not in ("", JSON_TYPE):
        raise UnsupportedType(
            f"content type {shorten(kind)!r} is not known; {CSV_TYPE} and {JSON_TYPE} are.", fix="Send one of them."
        )
    given = decode(body, dict[str, Any])
    named = [form for form in FORMS if form in given]
    if len(named) != 1 or set(given) - {*FORMS, "params"}:
        raise InvalidValue(
            f"the request must contain exactly one of {', '.join(FORMS)}, not {shorten(', '.join(given)) or 'none'}.",
            fix="See the scoring protocol of MLflow.",
        )
    if given.get("params"):
        raise InvalidValue("models here take no params.", fix="Leave params out.", field="params")
    form = named[0]
    if form == "dataframe_split":
        return ScoringRequest(tensors=_of_table(signature, _split(given[form])), is_table=True)
    if form == "dataframe_records":
        return ScoringRequest(tensors=_of_table(signature, _records(form, given[form])), is_table=True)
    rows = _instances(given[form]) if form == "instances" else given[form]
    return ScoringRequest(tensors=_of_tensors(signature, form, rows), is_table=False)


def predictions_of(signature: Signature, outputs: Mapping[str, Array], *, as_records: bool) -> Any:
    """What MLflow's server would write under `predictions`: the classes of a classifier, the values of one output,
    several outputs by name (`as_records`: an object for each row).

    Raises:
        UnsupportedType: an output that has no JSON form.
    """
    if signature.task == "classification":
        return _listed("label", outputs["label"])
    if len(outputs) == 1:
        return _listed(*next(iter(outputs.items())))
    named = {name: _listed(name, array) for name, array in outputs.items()}
    if not as_records or len({len(one) if isinstance(one, list) else -1 for one in named.values()}) != 1:
        return named
    return [dict(zip(named, row, strict=True)) for row in zip(*named.values(), strict=True)]


def _listed(name: str, array: Array) -> Any:
    if array.dtype.kind not in "fiubO":
        raise UnsupportedType(f"output {shorten(name)!r} is of type {array.dtype}, which JSON lacks.")
    is_column = array.ndim == 2 and array.shape[1] == 1
    values = (array.reshape(-1) if is_column else array).tolist()
    if array.dtype.kind == "O" and any(isinstance(one, bytes) for one in array.reshape(-1)):
        raise UnsupportedType(f"output {shorten(name)!r} holds bytes that are no text.")
    return values


def _csv(body: bytes) -> dict[str, list[Any]]:
    """Columns by name; a column of numbers only is one of numbers."""
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as wrong:
        raise InvalidValue(f"the CSV is not UTF-8 (byte {wrong.start}).") from wrong
    try:
        lines = [line for line in csv.reader(StringIO(text), strict=True) if line]
    except csv.Error as wrong:
        raise InvalidValue(f"the CSV cannot be read: {shorten(str(wrong))}.") from wrong
    if len(lines) < 2:
        raise InvalidValue("the CSV needs a line of column names and one row at least.")
    head, *rows = lines
    _check_size(len(rows), len(head))
    if any(len(row) != len(head) for row in rows) or len(set(head)) != len(head):
        raise InvalidValue("a row of the CSV is longer or shorter than the column names, or one of them comes twice.")
    return {name: _numbers([row[place] for row in rows]) for place, name in enumerate(head)}


def _numbers(texts: list[str]) -> list[Any]:
    for kind in (int, float):
        try:
            found: list[Any] = [kind(text) for text in texts]
        except ValueError:
            continue
        if kind is int or np.isfinite(found).all():
            return found
    return list(texts)


def _split(given: Any) -> dict[str, list[Any]]:
    """`{"columns": [...], "data": [[...]]}`; columns without names are numbered."""
    if not isinstance(given, dict) or not isinstance(given.get("data"), list):
        raise InvalidValue("dataframe_split is an object with columns and data.", field="dataframe_split")
    rows = given["data"]
    width = len(rows[0]) if rows and isinstance(rows[0], list) else 0
    columns = given.get("columns", list(range(width)))
    if not isinstance(columns, list) or any(not isinstance(row, list) or len(row) != len(columns) for row in rows):
        raise InvalidValue("dataframe_split has a row that is not as long as columns.", field="dataframe_split.data")
    _check_size(len(rows), len(columns))
    if len({str(name) for name in columns}) != len(columns):
        raise InvalidValue("dataframe_split names a column twice.", field="dataframe_split.columns")
    return {str(name): [row[place] for row in rows] for place, name in enumerate(columns)}


def _records(form: str, given: Any) -> dict[str, list[Any]]:
    if not isinstance(given, list) or not all(isinstance(row, dict) for row in given):
        raise InvalidValue(f"{form} is a list of objects.", field=form)
    names = list(given[0]) if given else []
    _check_size(len(given), len(names))
    if any(row.keys() != given[0].keys() for row in given):
        raise InvalidValue(f"{form} has rows with different keys.", field=form)
    return {name: [row[name] for row in given] for name in names}


def _instances(given: Any) -> Any:
    """Row by row to column by column."""
    if not isinstance(given, list) or not given:
        raise InvalidValue("instances is a list of rows.", field="instances")
    return _records("instances", given) if isinstance(given[0], dict) else given


def _of_table(signature: Signature, columns: dict[str, list[Any]]) -> dict[str, Any]:
    """Tabular models take their features by name, or by place if the columns have none; others one input a column."""
    wanted = signature.features or tuple(spec.name for spec in signature.inputs)
    if set(wanted) <= set(columns):
        return {name: _array(name, columns[name]) for name in wanted}
    is_numbered = list(columns) == [str(place) for place in range(len(columns))]
    if signature.features and not (is_numbered and len(columns) == len(wanted)):
        missing = ", ".join(name for name in wanted if name not in columns)
        raise InvalidValue(f"column {shorten(missing)!r} is missing.", fix="Give every feature of the model.")
    arrays = [_array(name, values) for name, values in columns.items()]
    if signature.features:
        return dict(zip(wanted, arrays, strict=True))
    if len(signature.inputs) != 1 or not arrays or any(array.ndim != 1 for array in arrays):
        raise InvalidValue(f"the model takes {shorten(', '.join(wanted))}.", fix="Name them as columns.")
    return {TABULAR_INPUT: np.stack(arrays, axis=1)}


def _of_tensors(signature: Signature, form: str, given: Any) -> dict[str, Any]:
    if isinstance(given, dict):
        return {name: _array(name, value) for name, value in given.items()}
    if len(signature.inputs) != 1:
        names = ", ".join(spec.name for spec in signature.inputs)
        raise InvalidValue(f"the model has several inputs: {shorten(names)}.", fix=f"Name them in {form}.", field=form)
    return {TABULAR_INPUT: _array(form, given)}


def _array(name: str, given: Any) -> Array:
    """A nested list of one kind of values as an array of that kind: BOOL, INT64, FP64 or texts."""
    shape, values = unnested(name, given)
    return np.array(values, dtype=_kind(name, values)).reshape(shape)


def _kind(name: str, values: Sequence[Any]) -> Any:
    kinds = {type(value) for value in values}
    if kinds == {bool}:
        return np.bool_
    if kinds == {int}:
        return np.int64
    if kinds <= {int, float}:
        return np.float64
    if kinds == {str}:
        return np.object_
    said = ", ".join(sorted("null" if kind is type(None) else kind.__name__ for kind in kinds))
    raise InvalidValue(
        f"{shorten(name)!r} holds {said}; values of one kind are allowed: numbers, texts or booleans.", field=name[:100]
    )


def _check_size(rows: int, columns: int) -> None:
    if rows > ROWS_MAX or not 0 < columns <= COLUMNS_MAX:
        raise InvalidValue(f"{rows} rows of {columns} columns were given; {ROWS_MAX:,} of {COLUMNS_MAX:,} are allowed.")
