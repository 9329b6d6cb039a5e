"""XGBoost's own model files (`.ubj`, or JSON under the same name) behind the port, in a process of their own."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from sill.core.errors import Refused, Unavailable, UnsupportedType
from sill.core.names import shorten
from sill.runtimes.drivers import Files, library, model_path
from sill.runtimes.fitting import fit
from sill.runtimes.types import Signature, TensorSpec
from sill.safety.formats import ModelFormat, identify

MODEL_FILE = "model.ubj"
FORMATS = (ModelFormat.XGBOOST_UBJ, ModelFormat.XGBOOST_JSON)


class XgboostModel:
    """One booster. Classifiers give `probabilities`, one column for each class; others `output`."""

    model_file = MODEL_FILE
    is_isolated = True
    runs_code = False

    def __init__(self) -> None:
        self._booster: Any = None
        self._signature: Signature | None = None
        self._size_bytes = 0

    @staticmethod
    def check(files: Files) -> None:
        """See `Driver.check`."""
        with files(MODEL_FILE) as opened:
            if (found := identify(opened)) not in FORMATS:
                raise UnsupportedType(f"{MODEL_FILE} is {found}; {', '.join(FORMATS)} are allowed.")

    def load(self, bundle: Path | bytes, device: str = "cpu") -> None:
        """See `Runtime.load`."""
        data = bundle if isinstance(bundle, bytes) else model_path(bundle, MODEL_FILE).read_bytes()
        if (found := identify(data)) not in FORMATS:
            raise UnsupportedType(f"{MODEL_FILE} is {found}; {', '.join(FORMATS)} are allowed.")
        xgboost = library("xgboost", "xgboost")
        booster = xgboost.Booster()
        try:
            booster.load_model(bytearray(data))
            booster.set_param({"nthread": 1, "device": device})
        except xgboost.core.XGBoostError as broken:
            raise Refused(f"XGBoost cannot load the model: {shorten(str(broken), 200)}.") from broken
        self._signature = _signature(booster)
        self._booster, self._size_bytes = booster, len(data)

    def infer(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """See `Runtime.infer`. A missing value is NaN, as the library has it."""
        import numpy as np

        signature = self.signature()
        answer = self._booster.inplace_predict(fit(signature.inputs, inputs)["input"], validate_features=False)
        if signature.task != "classification":
            return {"output": np.asarray(answer, np.float32)}
        if answer.ndim == 1:
            answer = np.stack([1 - answer, answer], axis=1)
        return {"probabilities": np.asarray(answer, np.float32)}

    def signature(self) -> Signature:
        """See `Runtime.signature`. Classes are their places, `0` to `k - 1`: the file has no names."""
        if self._signature is None:
            raise Unavailable("no model is loaded.", fix="Call load first.")
        return self._signature

    def memory_bytes(self) -> int:
        """See `Runtime.memory_bytes`."""
        return self._size_bytes

    def close(self) -> None:
        """See `Runtime.close`."""
        self._booster = self._signature = None
        self._size_bytes = 0


def _signature(booster: Any) -> Signature:
    learner = msgspec.json.decode(booster.save_config())["learner"]
    objective = learner["learner_train_param"]["objective"]
    if objective in ("multi:softmax", "binary:hinge"):
        raise Refused(f"the objective {objective!r} gives no probabilities.", fix="Train with multi:softprob.")
    classes = max(2, int(learner["learner_model_param"]["num_class"]))
    width = booster.num_features()
    given = TensorSpec(name="input", datatype="FP32", shape=(-1, width))
    features = tuple(booster.feature_names or ())
    if objective in ("multi:softprob", "binary:logistic"):
        made = TensorSpec(name="probabilities", datatype="FP32", shape=(-1, classes))
        names = tuple(str(place) for place in range(classes))
        return Signature(inputs=(given,), outputs=(made,), features=features, classes=names)
    targets = int(learner["learner_model_param"].get("num_target", "1"))
    shape = (-1,) if targets == 1 else (-1, targets)
    made = TensorSpec(name="output", datatype="FP32", shape=shape)
    return Signature(inputs=(given,), outputs=(made,), features=features, task="regression")
