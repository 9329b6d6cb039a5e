"""How good predictions are, in NumPy alone. Each score is checked against scikit-learn's in the tests."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sill.core.errors import InvalidValue

if TYPE_CHECKING:
    import numpy as np

_EPSILON = 1e-15

CLASSIFICATION = ("auc", "accuracy", "f1", "log_loss")
REGRESSION = ("rmse", "mae", "r2")
LOSSES = frozenset({"log_loss", "rmse", "mae"})
"""Scores of which less is better."""


def score(metric: str, y: "np.ndarray[Any, Any]", predicted: "np.ndarray[Any, Any]") -> float:
    """One score of predictions; NaN where it is not defined (such as the AUC of one class alone).

    Args:
        metric: one of `CLASSIFICATION` or `REGRESSION`.
        y: class index [n] for classification, value [n] for regression.
        predicted: probabilities [n, k] for classification, values [n] or [n, 1] for regression.
    Raises:
        InvalidValue: the metric is not known.
    """
    if metric not in _SCORES:
        raise InvalidValue(f"metric {metric!r} is not known; {', '.join(_SCORES)} are.", field="metric")
    if len(y) == 0:
        return float("nan")
    return float(_SCORES[metric](y, predicted))


def all_scores(task: str, y: "np.ndarray[Any, Any]", predicted: "np.ndarray[Any, Any]") -> dict[str, float]:
    """Every defined score of a task (`classification` or `regression`)."""
    import numpy as np

    names = CLASSIFICATION if task == "classification" else REGRESSION
    found = {name: score(name, y, predicted) for name in names}
    return {name: value for name, value in found.items() if np.isfinite(value)}


def signed(metric: str, value: float) -> float:
    """The value with the sign turned so that more is better."""
    return -value if metric in LOSSES else value


def task_of(metric: str) -> str:
    """`classification` or `regression`: what the metric measures.

    Raises:
        InvalidValue: the metric is not known.
    """
    if metric not in _SCORES:
        raise InvalidValue(f"metric {metric!r} is not known; {', '.join(_SCORES)} are.", field="metric")
    return "classification" if metric in CLASSIFICATION else "regression"


def _auc(y: "np.ndarray[Any, Any]", p: "np.ndarray[Any, Any]") -> float:
    """Area under the ROC curve; with more than two classes the mean of one class against the rest.

    Source: Mann-Whitney U from mid-ranks; Hand and Till (2001) call the multi-class form one-versus-rest.
    """
    import numpy as np

    if p.shape[1] == 2:
        return _auc_binary(y == 1, p[:, 1])
    return float(np.mean([_auc_binary(y == k, p[:, k]) for k in range(p.shape[1])]))


def _auc_binary(positive: "np.ndarray[Any, Any]", points: "np.ndarray[Any, Any]") -> float:
    import numpy as np

    n_positive = int(positive.sum())
    n_negative = len(positive) - n_positive
    if n_positive == 0 or n_negative == 0:
        return float("nan")
    _, place, counts = np.unique(points, return_inverse=True, return_counts=True)
    mid_ranks = (np.cumsum(counts) - (counts - 1) / 2)[place]
    return float((mid_ranks[positive].sum() - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative))


def _accuracy(y: "np.ndarray[Any, Any]", p: "np.ndarray[Any, Any]") -> float:
    return float((p.argmax(axis=1) == y).mean())


def _f1(y: "np.ndarray[Any, Any]", p: "np.ndarray[Any, Any]") -> float:
    """F1 of class 1 with two classes, else the mean over the classes that occur; 0 where nothing was right."""
    import numpy as np

    guess = p.argmax(axis=1)
    classes = [1] if p.shape[1] == 2 else np.union1d(y, guess).tolist()
    return float(np.mean([_f1_of(y == k, guess == k) for k in classes]))


def _f1_of(truth: "np.ndarray[Any, Any]", guess: "np.ndarray[Any, Any]") -> float:
    both = int(truth.sum() + guess.sum())
    return 2 * int((truth & guess).sum()) / both if both else 0.0


def _log_loss(y: "np.ndarray[Any, Any]", p: "np.ndarray[Any, Any]") -> float:
    import numpy as np

    of_truth = p[np.arange(len(y)), y.astype(int)].astype(float) / p.sum(axis=1)
    return float(-np.log(np.clip(of_truth, _EPSILON, 1.0)).mean())


def _rmse(y: "np.ndarray[Any, Any]", p: "np.ndarray[Any, Any]") -> float:
    return float(((y - p.reshape(-1)) ** 2).mean() ** 0.5)


def _mae(y: "np.ndarray[Any, Any]", p: "np.ndarray[Any, Any]") -> float:
    return float(abs(y - p.reshape(-1)).mean())


def _r2(y: "np.ndarray[Any, Any]", p: "np.ndarray[Any, Any]") -> float:
    spread = float(((y - y.mean()) ** 2).sum())
    return 1 - float(((y - p.reshape(-1)) ** 2).sum()) / spread if spread > 0 else float("nan")


_SCORES: dict[str, Callable[..., float]] = {
    "auc": _auc,
    "accuracy": _accuracy,
    "f1": _f1,
    "log_loss": _log_loss,
    "rmse": _rmse,
    "mae": _mae,
    "r2": _r2,
}
