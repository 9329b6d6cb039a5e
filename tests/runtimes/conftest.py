"""Models of every runtime, made small, with what their own libraries answer."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pytest

from sill.runs.training.export import export, signature
from sill.testing.peers import environment

X = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)
Y = (X[:, 0] > 0).astype(int)
DOUBLE = """
import os
import numpy as np


def predict(inputs):
    x = inputs["x"]
    if x[0, 0] == 666:
        os._exit(3)
    if x[0, 0] == 7:
        open("/etc/passwd").read()
    return {"y": x * 2}


def parts(inputs):
    for row in inputs["x"]:
        yield {"y": row[None] * 2}
"""


class Made(NamedTuple):
    """A model in a folder: its runtime, rows for it, and the answer its own library gives to them.

    `python` is the interpreter that has the library, if it is not this one.
    """

    runtime: str
    folder: Path
    rows: dict[str, Any]
    answer: dict[str, Any]
    python: str = ""


def make_onnx(folder: Path) -> Made:
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression().fit(X, Y)
    made = export(model, signature(("a", "b", "c"), ("no", "yes"), "classification"))
    (folder / "model.onnx").write_bytes(made)
    return Made("onnx", folder, {"input": X[:5]}, {"probabilities": model.predict_proba(X[:5])})


def make_xgboost(folder: Path) -> Made:
    import xgboost

    data = xgboost.DMatrix(X, Y, feature_names=["a", "b", "c"])
    model = xgboost.train({"objective": "binary:logistic"}, data, 4)
    model.save_model(folder / "model.ubj")
    yes = model.inplace_predict(X[:5], validate_features=False)
    return Made("xgboost", folder, {"input": X[:5]}, {"probabilities": np.stack([1 - yes, yes], 1)})


def make_lightgbm(folder: Path) -> Made:
    import lightgbm

    data = lightgbm.Dataset(X, Y, feature_name=["a", "b", "c"], params={"verbose": -1, "min_data_in_leaf": 2})
    model = lightgbm.train({"objective": "binary", "verbose": -1}, data, 4)
    model.save_model(folder / "model.txt")
    yes = model.predict(X[:5])
    return Made("lightgbm", folder, {"input": X[:5]}, {"probabilities": np.stack([1 - yes, yes], 1)})


def make_skops(folder: Path) -> Made:
    import skops.io
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), RandomForestClassifier(5, random_state=0)).fit(X, Y)
    skops.io.dump(model, folder / "model.skops")
    return Made("skops", folder, {"input": X[:5]}, {"probabilities": model.predict_proba(X[:5])})


def make_torch(folder: Path) -> Made:
    import torch

    net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2)).eval()
    rows = torch.from_numpy(X[:5])
    program = torch.export.export(net, (rows,), dynamic_shapes=({0: torch.export.Dim("n", min=1, max=4096)},))
    torch.export.save(program, folder / "model.pt2")
    return Made("torch", folder, {"input": X[:5]}, {"output": net(rows).detach().numpy()})


def make_safetensors(folder: Path) -> Made:
    from safetensors.numpy import save_file

    chance = np.random.default_rng(1)
    layers = {"0.weight": (4, 3), "0.bias": (4,), "2.weight": (2, 4), "2.bias": (2,)}
    tensors = {name: chance.normal(size=shape).astype(np.float32) for name, shape in layers.items()}
    said = {
        "inputs": [{"name": "input", "datatype": "FP32", "shape": [-1, 3]}],
        "outputs": [{"name": "output", "datatype": "FP32", "shape": [-1, 2]}],
        "task": "other",
    }
    metadata = {"sill.class": "mlp", "sill.signature": msgspec.json.encode(said).decode(), "sill.config": "{}"}
    save_file(tensors, folder / "model.safetensors", metadata)
    hidden = np.maximum(X[:5] @ tensors["0.weight"].T + tensors["0.bias"], 0)
    return Made("safetensors", folder, {"input": X[:5]}, {"output": hidden @ tensors["2.weight"].T + tensors["2.bias"]})


def make_python(folder: Path, name: str = "predict") -> Made:
    (folder / "double.py").write_text(DOUBLE)
    spec = {"file": "double.py", "name": name, "signature": doubling(streams=name == "parts")}
    (folder / "callable.json").write_bytes(msgspec.json.encode(spec))
    return Made("python", folder, {"x": X[:5]}, {"y": X[:5] * 2})


def make_pipeline(folder: Path) -> Made:
    """The probabilities of two models, mixed half and half."""
    for place in ("one", "two"):
        (folder / place).mkdir()
    first, second = make_onnx(folder / "one"), make_xgboost(folder / "two")
    steps = [
        {"name": "one", "runtime": "onnx", "folder": "one", "inputs": {"input": "x"}},
        {"name": "two", "runtime": "xgboost", "folder": "two", "inputs": {"input": "x"}},
    ]
    said = {
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 3]}],
        "outputs": [{"name": "p", "datatype": "FP32", "shape": [-1, 2]}],
        "task": "other",
    }
    outputs = {"p": ["one.probabilities", "two.probabilities"]}
    (folder / "pipeline.json").write_bytes(msgspec.json.encode({"steps": steps, "outputs": outputs, "signature": said}))
    mean = (first.answer["probabilities"] + second.answer["probabilities"]) / 2
    return Made("pipeline", folder, {"x": X[:5]}, {"p": mean})


def make_jax(folder: Path) -> Made:
    return _made_elsewhere("jax", folder)


def make_tensorflow(folder: Path) -> Made:
    return _made_elsewhere("tensorflow", folder)


def _made_elsewhere(runtime: str, folder: Path) -> Made:
    """A model made by `large_models.py` in the environment that has its library."""
    python = str(environment("runtimes"))
    given = {"rows": X[:5].tolist(), "folder": str(folder)}
    script = Path(__file__).with_name("large_models.py")
    ended = subprocess.run(
        [python, script, runtime], input=msgspec.json.encode(given), capture_output=True, timeout=300, check=False
    )
    assert ended.returncode == 0, ended.stderr.decode()[-2_000:]
    answer = {"p": np.asarray(msgspec.json.decode(ended.stdout.splitlines()[-1]), np.float32)}
    return Made(runtime, folder, {"x": X[:5]}, answer, python)


def doubling(*, streams: bool = False) -> dict[str, Any]:
    return {
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 3]}],
        "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 3]}],
        "task": "other",
        "streams": streams,
    }


MAKERS: dict[str, Callable[[Path], Made]] = {
    "onnx": make_onnx,
    "xgboost": make_xgboost,
    "lightgbm": make_lightgbm,
    "skops": make_skops,
    "safetensors": make_safetensors,
    "torch": make_torch,
    "python": make_python,
    "pipeline": make_pipeline,
    "jax": make_jax,
    "tensorflow": make_tensorflow,
}
LARGE = {"jax", "tensorflow"}
"""Their libraries lie in an environment of their own."""
_LARGE_MARKS = (pytest.mark.slow, pytest.mark.peer("runtimes"), pytest.mark.timeout(600))
_PARAMS = [pytest.param(name, marks=_LARGE_MARKS if name in LARGE else ()) for name in MAKERS]


@pytest.fixture(scope="module", params=_PARAMS)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A model of each runtime in turn."""
    return MAKERS[request.param](tmp_path_factory.mktemp(request.param))
