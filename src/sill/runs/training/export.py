"""Turns a fitted model into ONNX with one input and agreed outputs. Whether the two agree is `parity`'s to say.

Input `input`: float32 [n, features]; missing values are NaN and reach the model, whose own pipeline must fill them.
Classifiers give `label` (int64 [n], the index of the class in the signature's `classes`) and `probabilities`
(float32 [n, k]); all others give `output` (float32 [n, 1]).
"""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec

from sill.core.errors import PluginMissing, Refused, SillError
from sill.core.names import shorten
from sill.runs.training.families import family_of, with_outputs
from sill.runtimes.types import Signature, TensorSpec

INPUT = "input"
LABEL = "label"
PROBABILITIES = "probabilities"
OUTPUT = "output"
SIGNATURE_KEY = "sill.signature"
TORCH_OPSET = 17
XGBOOST_OPSET = {"": 17, "ai.onnx.ml": 3}
"""The newest that onnxmltools converts trees to."""
_EXTRAS = {"sklearn": "train", "xgboost": "xgboost", "torch": "torch"}


def signature(features: tuple[str, ...], classes: tuple[str, ...], task: str) -> Signature:
    """What an exported model takes and gives."""
    taken = (TensorSpec(name=INPUT, datatype="FP32", shape=(-1, len(features))),)
    if task == "classification":
        given = (
            TensorSpec(name=LABEL, datatype="INT64", shape=(-1,)),
            TensorSpec(name=PROBABILITIES, datatype="FP32", shape=(-1, len(classes))),
        )
        return Signature(inputs=taken, outputs=given, features=features, classes=classes, task="classification")
    one = (TensorSpec(name=OUTPUT, datatype="FP32", shape=(-1, 1)),)
    return Signature(inputs=taken, outputs=one, features=features, task="regression")


def export(model: Any, wanted: Signature) -> bytes:
    """The model as the bytes of an ONNX file that carries its signature as metadata.

    Args:
        wanted: made by `signature`.
    Raises:
        InvalidValue: it is no model of a known library.
        PluginMissing: the library that converts it is not installed.
        Refused: it has a part that cannot be converted; the message names it.
    """
    family = family_of(model)
    features = len(wanted.features)
    try:
        with _third_party_warnings_off():
            if family == "torch":
                graph = _from_torch(model, features, wanted.task)
            elif family == "xgboost":
                graph = _from_xgboost(model, features)
            else:
                graph = _from_sklearn(model, features, wanted.task)
            return _finish(graph, wanted)
    except ImportError as missing:
        raise PluginMissing(
            f"exporting a {family} model needs {missing.name!r}.", fix=f"pip install 'sill[{_EXTRAS[family]}]'"
        ) from missing
    except SillError:
        raise
    except Exception as failed:  # converters raise whatever they like, all of it about this model
        raise Refused(
            f"{type(model).__name__} cannot be exported to ONNX: {shorten(str(failed), 300)}.",
            fix="Use estimators that skl2onnx, onnxmltools or torch.onnx convert.",
        ) from failed


def _from_sklearn(model: Any, features: int, task: str) -> Any:
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import FloatTensorType

    opset = None
    if _holds_xgboost(model):
        _teach_xgboost()
        opset = XGBOOST_OPSET
    options = {id(model): {"zipmap": False}} if task == "classification" else None
    tensor = FloatTensorType([None, features])
    return to_onnx(model, initial_types=[(INPUT, tensor)], options=options, target_opset=opset)


def _from_xgboost(model: Any, features: int) -> Any:
    from onnxmltools import convert_xgboost
    from onnxmltools.convert.common.data_types import FloatTensorType

    return convert_xgboost(model, initial_types=[(INPUT, FloatTensorType([None, features]))])


def _from_torch(model: Any, features: int, task: str) -> Any:
    """By the TorchScript exporter: 0.2 s where the newer one takes 6 s, and enough for feed-forward models."""
    import onnx
    import torch

    # Warns of branches that depend on the data; whether they matter is seen by the parity check.
    warnings.filterwarnings("ignore", category=torch.jit.TracerWarning)
    names = [LABEL, PROBABILITIES] if task == "classification" else [OUTPUT]
    written = io.BytesIO()
    torch.onnx.export(
        with_outputs(model, task),
        (torch.zeros(2, features),),
        written,
        input_names=[INPUT],
        output_names=names,
        dynamic_axes={name: {0: "n"} for name in (INPUT, *names)},
        dynamo=False,
        opset_version=TORCH_OPSET,
    )
    return onnx.load_model_from_string(written.getvalue())


def _holds_xgboost(model: Any) -> bool:
    steps = [step for _, step in getattr(model, "steps", [])]
    return any(type(step).__module__.startswith("xgboost") for step in steps)


def _teach_xgboost() -> None:
    """Let skl2onnx convert XGBoost's estimators inside a pipeline."""
    import xgboost
    from onnxmltools.convert.xgboost.operator_converters.XGBoost import convert_xgboost
    from skl2onnx import update_registered_converter
    from skl2onnx.common.shape_calculator import (
        calculate_linear_classifier_output_shapes,
        calculate_linear_regressor_output_shapes,
    )

    update_registered_converter(
        xgboost.XGBClassifier,
        "SillXGBClassifier",
        calculate_linear_classifier_output_shapes,
        convert_xgboost,
        options={"nocl": [True, False], "zipmap": [True, False, "columns"]},
    )
    update_registered_converter(
        xgboost.XGBRegressor, "SillXGBRegressor", calculate_linear_regressor_output_shapes, convert_xgboost
    )


def _finish(graph: Any, wanted: Signature) -> bytes:
    """Give the outputs their agreed names, put the signature in, and check that all is there."""
    names = [tensor.name for tensor in wanted.outputs]
    found = [output.name for output in graph.graph.output]
    if len(found) != len(names):
        raise Refused(f"the exported model gives {', '.join(found)}; {', '.join(names)} were expected.")
    for old, new in zip(found, names, strict=True):
        _rename(graph.graph, old, new)
    entry = graph.metadata_props.add()
    entry.key, entry.value = SIGNATURE_KEY, msgspec.json.encode(wanted).decode()
    return bytes(graph.SerializeToString())


def _rename(graph: Any, old: str, new: str) -> None:
    """Rename one tensor of a graph, wherever it is made or used; a tensor that has the new name makes way."""
    if old == new:
        return
    swap = {old: new, new: f"{new}_inner"}
    for node in graph.node:
        node.input[:] = [swap.get(name, name) for name in node.input]
        node.output[:] = [swap.get(name, name) for name in node.output]
    for output in [*graph.output, *graph.value_info]:
        output.name = swap.get(output.name, output.name)


@contextmanager
def _third_party_warnings_off() -> Iterator[None]:
    """Converters warn about their own ageing (torch's old exporter, skl2onnx's use of scikit-learn): not the user's."""
    with warnings.catch_warnings():
        for kind in (DeprecationWarning, FutureWarning, UserWarning):
            warnings.filterwarnings(
                "ignore", category=kind, module=r"(torch|skl2onnx|onnxmltools|sklearn|onnx|xgboost)\b"
            )
        warnings.filterwarnings("ignore", message=".*legacy TorchScript-based ONNX export", category=DeprecationWarning)
        yield
