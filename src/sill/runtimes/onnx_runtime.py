"""ONNX Runtime behind the port. scikit-learn, XGBoost and Torch models enter here, exported by `runs.training`."""

import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from sill.core.errors import InvalidValue, Refused
from sill.runtimes.drivers import Held, cannot_load, loaded, read_model
from sill.runtimes.fitting import NUMPY, fit, unanswerable
from sill.runtimes.types import Signature, TensorSpec
from sill.safety.formats import check_onnx

MODEL_FILE = "model.onnx"
SIGNATURE_KEY = "sill.signature"
"""Metadata property of the file that names features, classes and task (a `Signature` as JSON)."""
THREADS = 1
"""Threads inside one operator. One is quickest for small models, and keeps a worker's use of the machine predictable."""
EVERY_CORE = 0
"""What the library takes for a thread for each core."""
PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
NO_TELEMETRY = "ORT_DISABLE_TELEMETRY"
"""Without it the official builds (1.29 and later) send events about each process and model to their maker."""
_LOG_ERRORS = 3

# ONNX Runtime's type name → the Open Inference Protocol's datatype
TYPES = {
    "tensor(float)": "FP32",
    "tensor(double)": "FP64",
    "tensor(float16)": "FP16",
    "tensor(int8)": "INT8",
    "tensor(int16)": "INT16",
    "tensor(int32)": "INT32",
    "tensor(int64)": "INT64",
    "tensor(uint8)": "UINT8",
    "tensor(uint16)": "UINT16",
    "tensor(uint32)": "UINT32",
    "tensor(uint64)": "UINT64",
    "tensor(bool)": "BOOL",
    "tensor(string)": "BYTES",
}


class OnnxRuntime(Held):
    """One ONNX model in this process.

    Args:
        threads: threads inside one operator.
    """

    model_file = MODEL_FILE
    look = staticmethod(check_onnx)
    is_isolated = False

    def __init__(self, threads: int = THREADS) -> None:
        super().__init__()
        self._threads = threads
        self._name = ""
        self._dtype: Any = None
        self._inner: tuple[int, ...] = ()
        self._inputs: tuple[TensorSpec, ...] = ()
        self._texts: tuple[str, ...] = ()
        self._outputs: list[str] = []
        self._wide: Any = None
        self._make_wide: Callable[[], Any] | None = None

    def load(self, bundle: Path | bytes, device: str = "cpu") -> None:
        """See `Runtime.load`. The file is checked (operators, external data, size) before the library sees it."""
        data = read_model(bundle, MODEL_FILE)
        check_onnx(data)
        session = _session(data, device, self._threads)
        self._size_bytes = len(data)
        self._signature = _signature(session)
        self._inputs = self._signature.inputs
        self._texts = tuple(spec.name for spec in self._inputs if spec.datatype == "BYTES")
        self._outputs = [tensor.name for tensor in self._signature.outputs]
        self._learn_plain(self._inputs)
        self._model = session._sess.run  # the wrapper's checks cost as much as a small model, and `fit` has made them
        self._make_wide = partial(_wide_session, bundle, device)

    def widen(self) -> None:
        """See `Widens`: one more session."""
        self._wide = loaded(self._make_wide)()._sess.run

    def narrow(self) -> None:
        """See `Widens`."""
        self._wide = None

    def memory_bytes(self) -> int:
        """See `Runtime.memory_bytes`: each session has the weights."""
        return self._size_bytes * (1 + (self._wide is not None))

    def close(self) -> None:
        """See `Runtime.close`."""
        super().close()
        self._wide = self._make_wide = None

    def infer(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """See `Runtime.infer`."""
        return self._answer(loaded(self._model), inputs)

    def infer_wide(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """See `Widens`."""
        return self._answer(self._wide or loaded(self._model), inputs)

    def _answer(self, run: Any, inputs: Mapping[str, Any]) -> dict[str, Any]:
        fed = inputs if self._fits(inputs) else fit(self._inputs, inputs)
        for name in self._texts:
            check_text(name, fed[name])
        try:
            answers = run(self._outputs, fed, None)
        except Exception as refused:  # the library raises its own classes, all of them about this input
            raise unanswerable(refused) from refused
        return dict(zip(self._outputs, answers, strict=True))

    def _learn_plain(self, inputs: tuple[TensorSpec, ...]) -> None:
        import numpy as np

        spec = inputs[0]
        if len(inputs) == 1 and spec.shape[:1] == (-1,) and -1 not in spec.shape[1:]:
            self._name, self._dtype, self._inner = spec.name, np.dtype(NUMPY[spec.datatype]), spec.shape[1:]

    def _fits(self, inputs: Mapping[str, Any]) -> bool:
        """Whether the inputs are the one of a model with fixed inner sizes, in its very type: nothing is left to fit."""
        array = inputs.get(self._name) if len(inputs) == 1 else None
        if array is None or getattr(array, "dtype", None) is not self._dtype:
            return False
        return bool(array.ndim == len(self._inner) + 1 and array.shape[1:] == self._inner)


def check_text(name: str, array: Any) -> None:
    """Refuse bytes that are no text: the library would take how Python shows them for what they are.

    Raises:
        InvalidValue: there are some.
    """
    if any(isinstance(value, bytes) for value in array.reshape(-1).tolist()):
        raise InvalidValue(f"input {name!r} holds bytes that are no UTF-8 text, which ONNX takes only.", field=name)


def _wide_session(bundle: Path | bytes, device: str) -> Any:
    return _session(read_model(bundle, MODEL_FILE), device, EVERY_CORE)


def _session(data: bytes, device: str, threads: int) -> Any:
    os.environ[NO_TELEMETRY] = "1"  # the library reads it when it is imported
    import onnxruntime

    kind = device.partition(":")[0]
    provider = PROVIDERS.get(kind, "")
    if provider not in onnxruntime.get_available_providers():
        raise Refused(
            f"device {device!r} is not there; this ONNX Runtime has {onnxruntime.get_device()}.", fix="Use cpu."
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # it would take the time of others' models
    options.log_severity_level = _LOG_ERRORS
    number = {"device_id": device.partition(":")[2]} if ":" in device else {}
    try:
        return onnxruntime.InferenceSession(data, options, providers=[(provider, number)])
    except Exception as broken:  # the library raises its own classes, all of them about this file
        raise cannot_load("ONNX Runtime", broken) from broken


def _signature(session: Any) -> Signature:
    """Inputs and outputs as the file has them; features, classes and task from its metadata, if it says."""
    inputs = tuple(_tensor(given) for given in session.get_inputs())
    outputs = tuple(_tensor(given) for given in session.get_outputs())
    said = session.get_modelmeta().custom_metadata_map.get(SIGNATURE_KEY, "")
    if not said:
        return Signature(inputs=inputs, outputs=outputs, task="other")
    try:
        kept = msgspec.json.decode(said, type=Signature)
    except msgspec.DecodeError as wrong:
        raise Refused(f"the model's {SIGNATURE_KEY} cannot be read: {wrong}.", fix="Export it again.") from wrong
    return msgspec.structs.replace(kept, inputs=inputs, outputs=outputs)


def _tensor(given: Any) -> TensorSpec:
    if given.type not in TYPES:
        raise Refused(
            f"tensor {given.name!r} is a {given.type}; plain tensors are allowed.", fix="Export without zipmap."
        )
    return TensorSpec(name=given.name, datatype=TYPES[given.type], shape=_shape(given.shape))


def _shape(dimensions: Any) -> tuple[int, ...]:
    return tuple(size if isinstance(size, int) else -1 for size in dimensions or ())
