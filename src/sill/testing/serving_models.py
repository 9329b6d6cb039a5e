"""Small real ONNX models and the signed bundles around them."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from sill.endpoints.types import PlanEndpoint, PlanRevision, PlanToken, ServingPlan
from sill.runtimes.port import open_runtime
from sill.runtimes.types import Signature, TensorSpec
from sill.safety.signing import Signer
from sill.safety.tokens import digest
from sill.traffic.pool import Model
from sill.traffic.recording import Asked, Seen
from sill.traffic.tensors import Question, finish
from sill.traffic.waiting import Answered, Part

FEATURES = ("a", "b", "c")
CLASSES = ("no", "yes")
SIGNATURE = Signature(
    inputs=(TensorSpec(name="input", datatype="FP32", shape=(-1, 3)),),
    outputs=(
        TensorSpec(name="label", datatype="BYTES", shape=(-1,)),
        TensorSpec(name="probabilities", datatype="FP32", shape=(-1, 2)),
    ),
    features=FEATURES,
    classes=CLASSES,
)
REGRESSION = Signature(
    inputs=SIGNATURE.inputs,
    outputs=(TensorSpec(name="variable", datatype="FP32", shape=(-1, 1)),),
    features=FEATURES,
    task="regression",
)
TOKEN = "sill_" + "t" * 43


def classifier(weights: tuple[float, ...] = (1.0, 1.0, 1.0), bias: float = 0.0) -> bytes:
    """A logistic regression over three features; `yes` if weights·x + bias > 0."""
    from onnx import helper

    minus = [-w for w in weights]
    node = helper.make_node(
        "LinearClassifier",
        ["input"],
        ["label", "probabilities"],
        domain="ai.onnx.ml",
        coefficients=[*minus, *weights],
        intercepts=[-bias, bias],
        classlabels_strings=list(CLASSES),
        multi_class=0,
        post_transform="LOGISTIC",
    )
    return _model([node], [("label", "STRING", [None]), ("probabilities", "FLOAT", [None, 2])])


def regressor() -> bytes:
    """The sum of three features."""
    from onnx import helper

    node = helper.make_node(
        "LinearRegressor", ["input"], ["variable"], domain="ai.onnx.ml", coefficients=[1.0] * 3, intercepts=[0.0]
    )
    return _model([node], [("variable", "FLOAT", [None, 1])])


def dear_regressor(layers: int = 120, places: int = 32, width: int = 256) -> bytes:
    """A regressor whose row takes milliseconds of one core, alone or in a batch alike: `layers` products of matrices.

    Args:
        places, width: each row becomes a matrix of that shape.
    """
    from onnx import helper, numpy_helper

    chance = np.random.default_rng(0)
    arrays = {
        "first": chance.standard_normal((3, places * width)).astype(np.float32),
        "weights": chance.standard_normal((width, width)).astype(np.float32) / np.sqrt(np.float32(width)),
        "shape": np.array([-1, places, width], np.int64),
        "axis": np.array([1], np.int64),
    }
    nodes = [
        helper.make_node("MatMul", ["input", "first"], ["wide"]),
        helper.make_node("Reshape", ["wide", "shape"], ["x0"]),
    ]
    for layer in range(layers):
        nodes.append(helper.make_node("MatMul", [f"x{layer}", "weights"], [f"y{layer}"]))
        nodes.append(helper.make_node("Tanh", [f"y{layer}"], [f"x{layer + 1}"]))
    nodes.append(helper.make_node("ReduceMean", [f"x{layers}"], ["mean"], axes=[1, 2], keepdims=0))
    nodes.append(helper.make_node("Unsqueeze", ["mean", "axis"], ["variable"]))
    return _model(nodes, [("variable", "FLOAT", [None, 1])], [numpy_helper.from_array(a, n) for n, a in arrays.items()])


def centred() -> bytes:
    """Takes the batch's own mean away: a row's answer depends on its neighbours."""
    from onnx import helper

    nodes = [
        helper.make_node("ReduceMean", ["input"], ["mean"], keepdims=1),
        helper.make_node("Sub", ["input", "mean"], ["variable"]),
    ]
    return _model(nodes, [("variable", "FLOAT", [None, 3])])


def _model(
    nodes: list[Any], outputs: list[tuple[str, str, list[int | None]]], arrays: list[Any] | None = None
) -> bytes:
    from onnx import TensorProto, helper

    given = helper.make_tensor_value_info("input", TensorProto.FLOAT, [None, 3])
    made = [helper.make_tensor_value_info(name, getattr(TensorProto, kind), shape) for name, kind, shape in outputs]
    graph = helper.make_graph(nodes, "g", [given], made, arrays or [])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    model: bytes = helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()
    return model


class Bundle:
    """A signed bundle: files by digest, and the plan revision that names them.

    Args:
        model: the bytes of an ONNX model, or the files of a model of another `runtime`, by their paths.
    """

    def __init__(
        self,
        signer: Signer,
        model: bytes | Mapping[str, bytes],
        signature: Signature = SIGNATURE,
        runtime: str = "onnx",
    ) -> None:
        files = {"model.onnx": model, "card.md": b"# a model"} if isinstance(model, bytes) else dict(model)
        files["manifest.json"] = msgspec.json.encode(signer.make_manifest(files))
        self.files = files
        self.digests = {path: hashlib.sha256(content).hexdigest() for path, content in files.items()}
        self.signature = signature
        self.runtime = runtime

    def revision(self, number: int, weight: int, is_shadow: bool = False) -> PlanRevision:
        return PlanRevision(
            number=number,
            model_version=number,
            files=self.digests,
            signature=self.signature,
            runtime=self.runtime,
            weight=weight,
            is_shadow=is_shadow,
        )


def plan(signer: Signer, revision: int, *revisions: PlanRevision, **changes: Any) -> ServingPlan:
    endpoint = PlanEndpoint(
        project="default", name="churn", revisions=revisions, log_sample=1.0, log_payload=True, model="churn"
    )
    return ServingPlan(
        revision=revision,
        endpoints=(msgspec.structs.replace(endpoint, **changes),),
        tokens=(PlanToken(digest=digest(TOKEN), projects=("*",)),),
        public_key=signer.public_key_pem(),
    )


def make_signer(folder: Path) -> Signer:
    return Signer(folder / "signing.key")


def rows(count: int, seed: int = 0) -> "np.ndarray[Any, Any]":
    return np.random.default_rng(seed).standard_normal((count, 3)).astype(np.float32)


def rows_model() -> Model:
    """The classifier, loaded."""
    revision = PlanRevision(number=1, model_version=1, files={}, signature=SIGNATURE, weight=100)
    return Model(revision, open_runtime("onnx", classifier()))


def seen(number: int = 1, *, log_sample: float = 1.0, latency_ms: float = 1.0, model: Model | None = None) -> Seen:
    """One answered request of one row, as the recorder takes it."""
    model = model or rows_model()
    question = Question(arrays={"input": rows(1, number)}, rows=1)
    answered = Answered(finish(SIGNATURE, open_runtime("onnx", classifier()).infer(question.arrays), 1), 1, 0.5)
    return Seen(
        asked=Asked(id=f"req-{number}", project="default", endpoint="churn", tensors=question.arrays),
        endpoint=PlanEndpoint(
            project="default", name="churn", revisions=(model.revision,), log_sample=log_sample, log_payload=True
        ),
        model=model,
        question=question,
        at_us=number,
        latency_ms=latency_ms,
        part=Part(answered, 0, 1),
    )
