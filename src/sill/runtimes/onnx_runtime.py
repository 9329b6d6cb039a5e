"""ONNX Runtime behind the port. scikit-learn, XGBoost and Torch models enter here, exported by `runs.training`."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from sill.core.errors import InvalidValue, Refused, Unavailable
from sill.core.names import shorten
from sill.runtimes.drivers import Files, model_path
from sill.runtimes.fitting import fit
from sill.runtimes.types import Signature, TensorSpec
from sill.safety.formats import check_onnx

MODEL_FILE = "model.onnx"
SIGNATURE_KEY = "sill.signature"
"""Metadata property of the file that names features, classes and task (a `Signature` as JSON)."""
THREADS = 1
"""Threads inside one operator. One is quickest for small models, and keeps a worker's use of the machine predictable."""
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


class OnnxRuntime:
    """One ONNX model in this process.

    Args:
        threads: threads inside one operator.
    """

    model_file = MODEL_FILE
    is_isolated = False
    runs_code = False

    def __init__(self, threads: int = THREADS) -> None:
        self._threads = threads
        self._session: Any = None
        self._signature: Signature | None = None
        self._inputs: tuple[TensorSpec, ...] = ()
        self._outputs: list[str] = []
        self._size_bytes = 0

    @staticmethod
    def check(files: Files) -> None:
        """See `Driver.check`."""
        with files(MODEL_FILE) as opened:
            check_onnx(opened)

    def load(self, bundle: Path | bytes, device: str = "cpu") -> None:
        """See `Runtime.load`. The file is checked (operators, external data, size) before the library sees it."""
        data = bundle if isinstance(bundle, bytes) else model_path(bundle, MODEL_FILE).read_bytes()
        check_onnx(data)
        self._session = _session(data, device, self._threads)
        self._size_bytes = len(data)
        self._signature = _signature(self._session)
        self._inputs = self._signature.inputs
        self._outputs = [tensor.name for tensor in self._signature.outputs]

    def infer(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """See `Runtime.infer`."""
        session = self._loaded()
        fed = fit(self._inputs, inputs)
        try:
            answers = session.run(self._outputs, fed)
        except Exception as refused:  # the library raises its own classes, all of them about this input
            raise InvalidValue(
                f"the model could not answer these inputs: {shorten(str(refused), 200)}.", fix="Compare the signature."
            ) from refused
        return dict(zip(self._outputs, answers, strict=True))

    def signature(self) -> Signature:
        """See `Runtime.signature`."""
        self._loaded()
        if self._signature is None:
            raise Unavailable("no model is loaded.", fix="Call load first.")
        return self._signature

    def memory_bytes(self) -> int:
        """See `Runtime.memory_bytes`: ONNX Runtime keeps the weights once, and little beside."""
        return self._size_bytes

    def close(self) -> None:
        """See `Runtime.close`."""
        self._session = self._signature = None
        self._size_bytes = 0

    def _loaded(self) -> Any:
        if self._session is None:
            raise Unavailable("no model is loaded.", fix="Call load first.")
        return self._session


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
    options.log_severity_level = _LOG_ERRORS
    number = {"device_id": device.partition(":")[2]} if ":" in device else {}
    try:
        return onnxruntime.InferenceSession(data, options, providers=[(provider, number)])
    except Exception as broken:  # the library raises its own classes, all of them about this file
        raise Refused(
            f"ONNX Runtime cannot load the model: {shorten(str(broken), 200)}.", fix="Export it again."
        ) from broken


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
