"""A TensorFlow SavedModel behind the port, in a confined process of its own.

The bundle is the folder as TensorFlow writes it: `saved_model.pb` and `variables/`. It answers by its signature
`serving_default`, which `model.export(...)` of Keras makes.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sill.core.errors import Refused
from sill.core.names import shorten
from sill.runtimes.drivers import Held, cannot_load, files_of, folder_of, library, loaded
from sill.runtimes.fitting import DATATYPES, fit, unanswerable
from sill.runtimes.types import Signature, TensorSpec
from sill.safety.program_check import check_saved_model

MODEL_FILE = "saved_model.pb"
SIGNATURE = "serving_default"
_FIX = "Save it with tf.saved_model.save and a signature serving_default of plain tensors."


class TensorflowModel(Held):
    """One SavedModel; inputs and outputs have the names of its signature."""

    model_file = MODEL_FILE
    look = staticmethod(check_saved_model)
    must_confine = True

    def __init__(self) -> None:
        super().__init__()
        self._answer: Any = None

    @staticmethod
    def warm() -> None:
        """See `Driver.warm`."""
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        library("tensorflow", "tensorflow")

    def load(self, bundle: Path | bytes, device: str = "cpu") -> None:
        """See `Runtime.load`."""
        folder = folder_of(bundle, "a SavedModel is a folder: saved_model.pb and variables")
        self.check(files_of(folder))
        self.warm()
        tf = library("tensorflow", "tensorflow")
        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)
        try:
            self._model = tf.saved_model.load(str(folder))
        except Exception as broken:  # the library raises its own classes, all of them about this file
            raise cannot_load("TensorFlow", broken, _FIX) from broken
        if SIGNATURE not in self._model.signatures:
            known = ", ".join(self._model.signatures) or "none"
            raise Refused(f"the model has no signature {SIGNATURE!r}; it has {shorten(known)}.", fix=_FIX)
        self._answer = self._model.signatures[SIGNATURE]
        self._signature = Signature(
            inputs=_tensors(self._answer.structured_input_signature[1]),
            outputs=_tensors(self._answer.structured_outputs),
            task="other",
        )
        self._size_bytes = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())

    def infer(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """See `Runtime.infer`."""
        import tensorflow as tf

        answer, signature = loaded(self._answer), self.signature()
        fed = fit(signature.inputs, inputs)
        try:
            made = answer(**{name: tf.constant(array) for name, array in fed.items()})
        except Exception as refused:  # the library raises its own classes, all of them about this input
            raise unanswerable(refused) from refused
        return {spec.name: made[spec.name].numpy() for spec in signature.outputs}

    def close(self) -> None:
        """See `Runtime.close`."""
        super().close()
        self._answer = None


def _tensors(given: Mapping[str, Any]) -> tuple[TensorSpec, ...]:
    return tuple(_tensor(name, spec) for name, spec in sorted(given.items()))


def _tensor(name: str, spec: Any) -> TensorSpec:
    kind = "object" if spec.dtype.name == "string" else spec.dtype.name
    if kind not in DATATYPES or spec.shape.rank is None:
        raise Refused(f"{shorten(name)!r} is a {spec.dtype.name} of {spec.shape}; plain tensors are allowed.", fix=_FIX)
    shape = tuple(-1 if size is None else int(size) for size in spec.shape)
    return TensorSpec(name=name, datatype=DATATYPES[kind], shape=shape)
