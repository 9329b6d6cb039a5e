"""scikit-learn estimators as skops keeps them (`.skops`), behind the port, in a process of their own.

No pickle is in such a file; which types it may name is our own list (`safety.skops_check`), not the file's.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from sill.core.errors import Refused
from sill.core.names import shorten
from sill.runtimes.drivers import Held, cannot_load, library, loaded, read_model
from sill.runtimes.fitting import DATATYPES, NUMPY, fit, unanswerable
from sill.runtimes.types import Signature, TensorSpec
from sill.safety.formats import check_skops

MODEL_FILE = "model.skops"
_FIX = "Export it to ONNX, or wrap its steps in one scikit-learn Pipeline."
_ESTIMATORS = ("pipeline", "compose", "ensemble", "linear_model", "tree")
"""Parts of scikit-learn that a warm parent has; the others are imported by the models that name them."""


class SkopsModel(Held):
    """One fitted estimator. Classifiers give `probabilities` (or `label`, where they have none), others `output`."""

    model_file = MODEL_FILE
    look = staticmethod(check_skops)

    @staticmethod
    def warm() -> None:
        """See `Driver.warm`."""
        library("skops.io", "skops")
        for part in _ESTIMATORS:
            library(f"sklearn.{part}", "skops")

    def load(self, bundle: Path | bytes, device: str = "cpu") -> None:
        """See `Runtime.load`."""
        data = read_model(bundle, MODEL_FILE)
        trusted = sorted(check_skops(data))
        skops = library("skops.io", "skops")
        try:
            estimator = skops.loads(data, trusted=trusted)
        except Exception as broken:  # the libraries raise their own classes, all of them about this file
            raise cannot_load("skops", broken) from broken
        self._signature, self._model = _signature(estimator)
        self._size_bytes = len(data)

    def infer(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """See `Runtime.infer`."""
        import numpy as np

        answer, signature = loaded(self._model), self.signature()
        fed = fit(signature.inputs, inputs)["input"]
        try:
            made = answer(fed)
        except Exception as refused:  # the library raises its own classes, all of them about this input
            raise unanswerable(refused) from refused
        return {signature.outputs[0].name: np.asarray(made.toarray() if hasattr(made, "toarray") else made)}


def _signature(estimator: Any) -> tuple[Signature, Any]:
    """What a fitted estimator takes and gives, and its method that gives it."""
    width = getattr(estimator, "n_features_in_", None)
    if width is None:
        raise Refused(f"the file holds a {type(estimator).__name__}, which is no fitted estimator.", fix=_FIX)
    classes = getattr(estimator, "classes_", ())
    has_classes = not isinstance(classes, list) and len(classes) > 0  # a list: several labels at once
    method = _method(estimator, has_classes=has_classes)
    datatype, answer = _tried(estimator, method, int(width))
    kind = "object" if answer.dtype.kind in "OSU" else str(answer.dtype)
    if kind not in DATATYPES:
        raise Refused(f"it gives a {answer.dtype}; numbers and texts are allowed.", fix=_FIX)
    output = "probabilities" if method == "predict_proba" else "label" if has_classes else "output"
    given = TensorSpec(name="input", datatype=datatype, shape=(-1, int(width)))
    made = TensorSpec(name=output, datatype=DATATYPES[kind], shape=(-1, *map(int, answer.shape[1:])))
    said = Signature(
        inputs=(given,),
        outputs=(made,),
        features=tuple(str(name) for name in getattr(estimator, "feature_names_in_", ())),
        classes=tuple(str(one) for one in classes) if method == "predict_proba" else (),
        task=_task(estimator, method),
    )
    return said, getattr(estimator, method)


def _method(estimator: Any, *, has_classes: bool) -> str:
    methods = ("predict_proba", "predict", "transform") if has_classes else ("predict", "transform")
    found = next((name for name in methods if hasattr(estimator, name)), "")
    if not found:
        raise Refused(f"a {type(estimator).__name__} can neither predict nor transform.", fix=_FIX)
    return found


def _task(estimator: Any, method: str) -> Literal["classification", "regression", "other"]:
    from sklearn.base import is_regressor

    if method == "predict_proba":
        return "classification"
    return "regression" if is_regressor(estimator) else "other"


def _tried(estimator: Any, method: str, width: int) -> tuple[str, Any]:
    """The type of numbers an estimator takes (a few take only what they were fitted on), and its answer to a row of zeros.

    Raises:
        Refused: it answers none: it wants other columns.
    """
    import numpy as np

    why = ""
    for datatype in ("FP64", "FP32"):
        try:
            return datatype, getattr(estimator, method)(np.zeros((1, width), NUMPY[datatype]))
        except Exception as broken:  # the library raises its own classes
            why = why or shorten(str(broken), 200)
    raise Refused(f"it cannot answer a row of numbers: {why}.", fix=_FIX)
