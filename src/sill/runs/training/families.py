"""Tells which library a fitted model came from, and lets it predict as itself. Nothing is imported to find out."""

from typing import TYPE_CHECKING, Any, Literal

from sill.core.errors import InvalidValue

if TYPE_CHECKING:
    import numpy as np

Family = Literal["sklearn", "xgboost", "torch"]
_MODULES: dict[str, Family] = {"xgboost": "xgboost", "torch": "torch", "sklearn": "sklearn"}


def family_of(model: Any) -> Family:
    """The library of a fitted model.

    Raises:
        InvalidValue: the function returned something that is no model of a known library.
    """
    bases = {base.__module__.partition(".")[0] for base in type(model).__mro__}
    for module, family in _MODULES.items():  # XGBoost's estimators have scikit-learn bases too, so it comes first
        if module in bases:
            return family
    raise InvalidValue(
        f"the training function returned a {type(model).__module__}.{type(model).__qualname__}; a fitted scikit-learn "
        "estimator or pipeline, an XGBoost estimator, or a torch.nn.Module is allowed.",
        fix="Return the fitted model.",
    )


def predict(model: Any, x: "np.ndarray[Any, Any]", task: str) -> "np.ndarray[Any, Any]":
    """What the model itself says: probabilities [n, k] for classification, values [n] else.

    A torch module gets a float32 tensor [n, features] and gives logits [n, k] (or one logit [n] or [n, 1] for two
    classes), or values [n] or [n, 1] for regression.
    """
    import numpy as np

    if family_of(model) == "torch":
        return _predict_torch(model, x, task)
    if task == "classification":
        if not hasattr(model, "predict_proba"):
            raise InvalidValue(
                f"{type(model).__name__} gives no probabilities.", fix="Use a classifier that has predict_proba."
            )
        return np.asarray(model.predict_proba(x), dtype=np.float64)
    return np.asarray(model.predict(x), dtype=np.float64).reshape(-1)


def with_outputs(module: Any, task: str) -> Any:
    """A torch module that gives `label` [n] and `probabilities` [n, k], or `output` [n, 1], from the user's module."""
    import torch

    class Outputs(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.inner = module

        def forward(self, x: Any) -> Any:
            raw = self.inner(x)
            if task != "classification":
                return raw.reshape(-1, 1)
            if raw.dim() == 1 or raw.shape[1] == 1:
                positive = torch.sigmoid(raw.reshape(-1, 1))
                probabilities = torch.cat([1 - positive, positive], dim=1)
            else:
                probabilities = torch.softmax(raw, dim=1)
            return torch.argmax(probabilities, dim=1), probabilities

    return Outputs().eval().cpu()


def _predict_torch(model: Any, x: "np.ndarray[Any, Any]", task: str) -> "np.ndarray[Any, Any]":
    import numpy as np
    import torch

    with torch.no_grad():
        answer = with_outputs(model, task)(torch.from_numpy(np.ascontiguousarray(x, dtype=np.float32)))
    return np.asarray(answer[1] if task == "classification" else answer.reshape(-1), dtype=np.float64)
