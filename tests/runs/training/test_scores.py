"""Scores in NumPy say what scikit-learn says."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sill.core.errors import InvalidValue
from sill.runs.training.scores import all_scores, score, signed, task_of


def softmax(raw: Any) -> Any:
    powers = np.exp(raw - raw.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 4), st.booleans())
def test_classification_scores_are_scikit_learns(seed: int, classes: int, has_ties: bool) -> None:
    from sklearn import metrics

    random = np.random.default_rng(seed)
    y = np.concatenate([np.arange(classes), random.integers(0, classes, 60)])
    raw = random.normal(size=(len(y), classes))
    p = softmax(np.round(raw) if has_ties else raw)
    found = all_scores("classification", y, p)

    guess = p.argmax(axis=1)
    is_binary = classes == 2
    auc = metrics.roc_auc_score(y, p[:, 1]) if is_binary else metrics.roc_auc_score(y, p, multi_class="ovr")
    assert found["auc"] == pytest.approx(auc)
    assert found["accuracy"] == pytest.approx(metrics.accuracy_score(y, guess))
    assert found["f1"] == pytest.approx(metrics.f1_score(y, guess, average="binary" if is_binary else "macro"))
    assert found["log_loss"] == pytest.approx(metrics.log_loss(y, p))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_regression_scores_are_scikit_learns(seed: int) -> None:
    from sklearn import metrics

    random = np.random.default_rng(seed)
    y, p = random.normal(size=50), random.normal(size=50)
    found = all_scores("regression", y, p)

    assert found["rmse"] == pytest.approx(metrics.root_mean_squared_error(y, p))
    assert found["mae"] == pytest.approx(metrics.mean_absolute_error(y, p))
    assert found["r2"] == pytest.approx(metrics.r2_score(y, p))


def test_auc_of_one_class_is_not_defined() -> None:
    assert "auc" not in all_scores("classification", np.zeros(5, int), np.full((5, 2), 0.5))


def test_more_is_better_once_signed() -> None:
    assert signed("log_loss", 0.2) > signed("log_loss", 0.3)
    assert signed("auc", 0.9) > signed("auc", 0.8)


def test_an_unknown_metric_is_named() -> None:
    with pytest.raises(InvalidValue, match="'gini' is not known"):
        score("gini", np.zeros(1), np.zeros(1))
    with pytest.raises(InvalidValue, match="auc, accuracy"):
        task_of("gini")
