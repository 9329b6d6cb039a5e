"""From tables to arrays: which columns are features, which rows are fitted on, and what a training function sees."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sill.core.errors import InvalidValue, Refused
from sill.core.labels import class_name, distinct, means_same
from sill.core.names import shorten
from sill.features.types import FeatureView
from sill.runs.training.scores import task_of
from sill.runs.training.split import VALID_FRACTION, VALID_SALT, held_out
from sill.runs.training.types import TrainingSpec

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

CLASSES_MAX = 1_000
ROWS_MIN = 10
LABEL = "label"
"""The column that holds the truth among labelled requests."""


@dataclass(frozen=True)
class Rows:
    """Rows of a set: `X` float32 [n, features], `y` [n], and the same rows as an Arrow table with every column."""

    X: "np.ndarray[Any, Any]"
    y: "np.ndarray[Any, Any]"
    table: "pa.Table"

    def __len__(self) -> int:
        return len(self.y)

    def take(self, which: "np.ndarray[Any, Any]") -> "Rows":
        """The rows where a boolean array [n] is true, or those an index array names."""
        import numpy as np

        places = np.flatnonzero(which) if which.dtype == bool else which
        return Rows(self.X[places], self.y[places], self.table.take(places))


@dataclass(frozen=True)
class TrainingData:
    """What a training function is given.

    Attributes:
        X: rows to fit on, float32 [n, features]; missing values are NaN.
        y: class index [n] (int64) for classification, value [n] (float64) for regression.
        features: column names of `X`, in order.
        classes: names of the classes; `y` counts through them. Empty for regression.
        table: the rows of `X` as an Arrow table, with every column.
        train, valid: an inner split of the rows for early stopping; in a trial of a tuning `X` is `train.X`, and the
            trial is judged on `valid`.
        holdout_rows: rows kept for the evaluation. They never reach the function.
    """

    X: "np.ndarray[Any, Any]"
    y: "np.ndarray[Any, Any]"
    table: "pa.Table"
    features: tuple[str, ...]
    classes: tuple[str, ...]
    task: str
    train: Rows
    valid: Rows
    holdout_rows: int

    def for_trial(self) -> "TrainingData":
        """The same with only the inner training rows to fit on."""
        return TrainingData(**{**self.__dict__, "X": self.train.X, "y": self.train.y, "table": self.train.table})


@dataclass(frozen=True)
class Split:
    """Everything a training works on. Feedback rows are the last `feedback_fitted` of `fitted`, in the order of time."""

    data: TrainingData
    fitted: Rows
    held: Rows
    feedback_fitted: int
    feedback_held: int


def make_split(spec: TrainingSpec, view: FeatureView, table: "pa.Table", feedback: "pa.Table | None") -> Split:
    """Join training set and labelled requests, choose features, and hold rows out by entity.

    Raises:
        InvalidValue: the label is missing, a feature column is no number, or there are too many classes.
        Refused: too few rows, or a single class.
    """
    import numpy as np

    if spec.label not in table.column_names:
        raise InvalidValue(
            f"label {spec.label!r} is not a column of {spec.data!r}; it has {shorten(', '.join(table.column_names), 300)}.",
            field="label",
        )
    features = feature_columns(spec, view, table.schema)
    joined = _join(spec, view, table, feedback, features)
    task = task_of(spec.gate.metric)
    side = held_out(joined.entities, spec.holdout.fraction, spec.holdout.salt)
    classes = _classes(joined.labels, side) if task == "classification" else ()
    y, known = _truth(joined.labels, classes)
    rows = Rows(joined.X, y, joined.table)
    fit_on, judge_on = np.flatnonzero(known & ~side), np.flatnonzero(known & side)
    _check_rows(spec, len(fit_on), len(judge_on), classes, task)
    fitted, held = rows.take(fit_on), rows.take(judge_on)
    inner = held_out([joined.entities[place] for place in fit_on], VALID_FRACTION, VALID_SALT)
    data = TrainingData(
        X=fitted.X,
        y=fitted.y,
        table=fitted.table,
        features=features,
        classes=classes,
        task=task,
        train=fitted.take(~inner),
        valid=fitted.take(inner),
        holdout_rows=len(held),
    )
    first_feedback = len(y) - joined.feedback_rows
    return Split(data, fitted, held, int((fit_on >= first_feedback).sum()), int((judge_on >= first_feedback).sum()))


@dataclass(frozen=True)
class _Joined:
    """Training set and labelled requests as one: the last `feedback_rows` rows are requests, in the order of time."""

    X: "np.ndarray[Any, Any]"
    labels: list[Any]
    entities: list[tuple[Any, ...]]
    table: "pa.Table"
    feedback_rows: int


def _join(
    spec: TrainingSpec, view: FeatureView, table: "pa.Table", feedback: "pa.Table | None", features: Sequence[str]
) -> _Joined:
    import numpy as np
    import pyarrow.compute as pc

    table = table.filter(pc.is_valid(table[spec.label]))
    own = _Joined(matrix(table, features), table[spec.label].to_pylist(), _entities(table, view.entity), table, 0)
    if feedback is None:
        return own
    label = _label_of(feedback, spec)
    feedback = _in_time(feedback.filter(pc.is_valid(feedback[label])))
    return _Joined(
        X=np.concatenate([own.X, matrix(feedback, features)]),
        labels=own.labels + feedback[label].to_pylist(),
        entities=own.entities + _entities(feedback, _request_key(feedback, view)),
        table=_stack(table, feedback),
        feedback_rows=feedback.num_rows,
    )


def _classes(labels: Sequence[Any], side: "np.ndarray[Any, Any]") -> tuple[str, ...]:
    """The classes among the rows that are fitted on: a model cannot know others."""
    return class_names([label for label, is_held in zip(labels, side, strict=True) if not is_held])


def _truth(labels: Sequence[Any], classes: Sequence[str]) -> "tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]":
    """What to predict [n], and which rows have it: class indices, or numbers where there are no classes.

    Raises:
        InvalidValue: a label to be predicted as a number is none.
    """
    import numpy as np

    if classes:
        return encode(labels, classes)
    try:
        values = np.asarray([float(label) for label in labels], dtype=np.float64)
    except (ValueError, TypeError) as wrong:
        raise InvalidValue(
            f"the label is to be predicted as a number: {shorten(str(wrong))}.",
            fix="For classes, choose gate.metric auc, accuracy, f1 or log_loss.",
            field="label",
        ) from wrong
    return values, np.isfinite(values)


def feature_columns(spec: TrainingSpec, view: FeatureView, schema: "pa.Schema") -> tuple[str, ...]:
    """Every column but entity, time, label, excluded ones and those the platform adds (they start with `_`).

    Raises:
        InvalidValue: one of them is neither number nor boolean; or none is left.
    """
    import pyarrow as pa

    kept_out = {*view.entity, view.time, spec.label, *spec.exclude}
    chosen = tuple(name for name in schema.names if name not in kept_out and not name.startswith("_"))
    for name in chosen:
        kind = schema.field(name).type
        is_number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
        if not (is_number or pa.types.is_boolean(kind) or pa.types.is_null(kind)):
            raise InvalidValue(
                f"column {name!r} of {spec.data!r} is {kind}; features are numbers and booleans.",
                fix=f"Leave it out with exclude=[{name!r}], or turn it into numbers in the view's SQL.",
                field=name,
            )
    if not chosen:
        raise InvalidValue(f"{spec.data!r} has no column left to learn from.", fix="Add features to the view.")
    return chosen


def matrix(table: "pa.Table", features: Sequence[str]) -> "np.ndarray[Any, Any]":
    """The feature columns as float32 [n, features]; a missing value or column is NaN.

    Raises:
        InvalidValue: a column holds something that is no number.
    """
    import numpy as np
    import pyarrow as pa

    x = np.full((table.num_rows, len(features)), np.nan, dtype=np.float32)
    for place, name in enumerate(features):
        if name in table.column_names and table.num_rows:
            try:
                x[:, place] = table[name].cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as wrong:
                raise InvalidValue(f"column {name!r} holds no numbers: {shorten(str(wrong))}.", field=name) from wrong
    return x


def class_names(labels: Sequence[Any]) -> tuple[str, ...]:
    """The classes among labels, as texts: in numerical order if all are numbers, else in alphabetical.

    Raises:
        InvalidValue: more than `CLASSES_MAX`.
    """
    names = distinct((class_name(label) for label in labels), CLASSES_MAX)
    if len(names) > CLASSES_MAX:
        raise InvalidValue(
            f"the label has more than {CLASSES_MAX} different values; {CLASSES_MAX} classes are allowed.",
            fix="For a number to predict, choose gate.metric rmse, mae or r2.",
        )
    try:
        return tuple(sorted(names, key=float))
    except ValueError:
        return tuple(sorted(names))


def encode(labels: Sequence[Any], classes: Sequence[str]) -> "tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]":
    """Class index [n] of each label (0 for one that is no class), and which are known."""
    import numpy as np

    places: dict[str, int] = {}
    for name in dict.fromkeys(class_name(label) for label in labels):
        places[name] = next((place for place, known in enumerate(classes) if means_same(name, known)), -1)
    found = [places[class_name(label)] for label in labels]
    y = np.asarray(found, dtype=np.int64).reshape(-1)
    return np.maximum(y, 0), y >= 0


def _check_rows(spec: TrainingSpec, fitted: int, held: int, classes: Sequence[str], task: str) -> None:
    if fitted < ROWS_MIN or held == 0:
        raise Refused(
            f"{spec.data!r} has {fitted} labelled rows to fit on and {held} to evaluate with; "
            f"{ROWS_MIN} and 1 are needed.",
            fix="Bring more rows.",
        )
    if task == "classification" and len(classes) < 2:
        raise Refused(f"label {spec.label!r} has the one value {', '.join(classes)!r}; two are needed.")


def _entities(table: "pa.Table", key: Sequence[str]) -> list[tuple[Any, ...]]:
    """The entity of each row; without a key, every row is its own."""
    columns = [table[name].to_pylist() for name in key if name in table.column_names]
    return list(zip(*columns, strict=True)) if columns else [(place,) for place in range(table.num_rows)]


def _request_key(feedback: "pa.Table", view: FeatureView) -> Sequence[str]:
    """A request is about its entity where it named one, so that this stays on its side; else it is its own."""
    names = set(feedback.column_names)
    is_named = set(view.entity) <= names and all(feedback[name].null_count == 0 for name in view.entity)
    return view.entity if is_named else ("request_id",)


def _label_of(feedback: "pa.Table", spec: TrainingSpec) -> str:
    for name in (LABEL, spec.label):
        if name in feedback.column_names:
            return name
    raise InvalidValue(f"the feedback of {spec.feedback!r} has no column {LABEL!r}.", field="feedback")


def _in_time(feedback: "pa.Table") -> "pa.Table":
    return feedback.sort_by("at_us") if "at_us" in feedback.column_names else feedback


def _stack(upper: "pa.Table", lower: "pa.Table") -> "pa.Table":
    """Two tables as one. Numbers on both sides become float64, all else texts; a column one side lacks is missing there."""
    import pyarrow as pa

    def is_number(table: Any, name: str) -> bool:
        if name not in table.column_names:
            return True
        kind = table.schema.field(name).type
        numbers = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_null)
        return any(is_kind(kind) for is_kind in numbers)

    def column(table: Any, name: str) -> Any:
        if name not in table.column_names:
            return pa.nulls(table.num_rows, pa.float64() if is_number(upper, name) else pa.string())
        if is_number(upper, name) and is_number(lower, name):
            return table[name].cast(pa.float64(), safe=False)
        return pa.array(
            [None if value is None else class_name(value) for value in table[name].to_pylist()], pa.string()
        )

    names = upper.column_names
    tables = [pa.table({name: column(table, name) for name in names}) for table in (upper, lower)]
    return pa.concat_tables(tables)
