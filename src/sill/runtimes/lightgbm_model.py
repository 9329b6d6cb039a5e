"""LightGBM's own text files (`.txt`) behind the port, in a process of their own."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sill.runtimes.drivers import Held, cannot_load, check_format, library, loaded, read_model
from sill.runtimes.fitting import fit, unanswerable
from sill.runtimes.types import Signature, TensorSpec
from sill.safety.formats import ModelFormat, Source

MODEL_FILE = "model.txt"
_CLASSIFIERS = ("binary", "multiclass", "multiclassova", "cross_entropy")
_NOT_NEEDED = ("sklearn", "pandas", "pyarrow", "matplotlib", "graphviz", "dask", "cffi", "polars")
"""What LightGBM imports if it is there, to train with; seconds and 70 MB."""


class LightgbmModel(Held):
    """One booster. Classifiers give `probabilities`, one column for each class; others `output`."""

    model_file = MODEL_FILE

    @staticmethod
    def warm() -> None:
        """See `Driver.warm`."""
        library("lightgbm", "lightgbm", without=_NOT_NEEDED)

    @staticmethod
    def look(file: Source) -> None:
        """See `Held`."""
        check_format(file, MODEL_FILE, ModelFormat.LIGHTGBM)

    def load(self, bundle: Path | bytes, device: str = "cpu") -> None:
        """See `Runtime.load`. Prediction is on the processor, whatever the device."""
        data = read_model(bundle, MODEL_FILE)
        self.look(data)
        lightgbm = library("lightgbm", "lightgbm", without=_NOT_NEEDED)
        try:
            booster = lightgbm.Booster(model_str=data.decode())
        except (lightgbm.basic.LightGBMError, ValueError) as broken:
            raise cannot_load("LightGBM", broken) from broken
        self._signature = _signature(booster, data)
        self._model, self._size_bytes = booster, len(data)

    def infer(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """See `Runtime.infer`. A missing value is NaN, as the library has it."""
        import numpy as np

        booster, signature = loaded(self._model), self.signature()
        try:
            answer = booster.predict(fit(signature.inputs, inputs)["input"], num_threads=1)
        except Exception as refused:  # the library raises its own classes, all of them about this input
            raise unanswerable(refused) from refused
        if signature.task == "classification" and answer.ndim == 1:
            answer = np.stack([1 - answer, answer], axis=1)
        return {signature.outputs[0].name: answer}


def _signature(booster: Any, data: bytes) -> Signature:
    """What the file says. Classes are their places, `0` to `k - 1`: it has no names."""
    header = data[: data.find(b"\nTree=0\n")].decode().splitlines()
    told = dict(line.split("=", 1) for line in header if "=" in line)
    objective = told.get("objective", "").partition(" ")[0]
    given = TensorSpec(name="input", datatype="FP64", shape=(-1, booster.num_feature()))
    named = tuple(booster.feature_name())
    unnamed = tuple(f"Column_{place}" for place in range(len(named)))
    features = () if named == unnamed else named
    columns = int(told.get("num_tree_per_iteration", "1"))
    if objective in _CLASSIFIERS:
        classes = tuple(str(place) for place in range(max(2, columns)))
        made = TensorSpec(name="probabilities", datatype="FP64", shape=(-1, len(classes)))
        return Signature(inputs=(given,), outputs=(made,), features=features, classes=classes)
    shape = (-1,) if columns == 1 else (-1, columns)
    made = TensorSpec(name="output", datatype="FP64", shape=shape)
    return Signature(inputs=(given,), outputs=(made,), features=features, task="regression")
