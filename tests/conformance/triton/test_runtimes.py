"""One model of every runtime answers each of the field's own clients as its own library does; BF16 as well."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from tests.runtimes.conftest import MAKERS, X

from sill.runtimes.port import open_runtime
from sill.runtimes.types import Signature, TensorSpec
from sill.testing.peers import environment
from sill.testing.serving_models import TOKEN, make_signer
from sill.testing.serving_plane import ControlStandIn, InferenceUnderTest, serving
from sill.testing.serving_zoo import Zoo, files_in

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
HERE = Path(__file__).parent
FORMS = (
    *("http", "http-json", "gevent", "gevent-json", "aio", "aio-json"),
    *("grpc", "grpc-stream", "grpc-aio", "grpc-aio-stream"),
)
CLASSES: dict[str, Callable[[Any], Any]] = {
    "batch": lambda rows: rows,
    "one row": lambda rows: rows[:1],
    "zero size": lambda rows: rows[:0],
    "large": lambda rows: np.tile(rows, (400, 1)),
}
"""Shapes of a model of rows, made of some; answers are the same rows of the answer."""
ONLY = "output"
"""What a model's one output is called."""
TWICE = b"""
import numpy as np


def predict(inputs):
    wide = (inputs["x"].astype(np.uint32) << 16).view(np.float32)
    return {"y": ((wide * 2).view(np.uint32) >> 16).astype(np.uint16)}
"""
HALVES = Signature(
    inputs=(TensorSpec(name="x", datatype="BF16", shape=(-1, 3)),),
    outputs=(TensorSpec(name="y", datatype="BF16", shape=(-1, 3)),),
    task="other",
)


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What came back, by form, model and class of shapes; `wanted/MODEL` is what the model's own library says."""
    folder: Path = tmp_path_factory.mktemp("runtimes")
    zoo, pythons = Zoo(make_signer(folder)), {}
    questions: dict[str, Any] = {}
    wanted: dict[str, Any] = {}
    for runtime, make in MAKERS.items():
        (folder / runtime).mkdir()
        made = make(folder / runtime)
        opened = open_runtime(runtime, made.folder, python=made.python)
        pythons[runtime] = made.python
        zoo.add(runtime, files_in(made.folder), opened.signature(), runtime)
        opened.close()
        [(name, rows)], [(output, answer)] = made.rows.items(), made.answer.items()
        output = output if output == "probabilities" else ONLY
        questions |= {f"{runtime}/{name}/{output}/{kind}": of(rows) for kind, of in CLASSES.items()}
        wanted[f"wanted/{runtime}"] = answer
    spec = {"file": "twice.py", "name": "predict", "signature": HALVES}
    zoo.add("bf16", {"callable.json": msgspec.json.encode(spec), "twice.py": TWICE}, HALVES, "python")
    halves = (X[:5].view(np.uint32) >> 16 << 16).view(np.float32)
    questions |= {f"bf16/x/{ONLY}/{kind}": of(halves) for kind, of in CLASSES.items()}
    wanted["wanted/bf16"] = halves * 2
    np.savez(folder / "questions.npz", **questions)

    def make_plane(home: Path, control: ControlStandIn) -> InferenceUnderTest:
        plane = InferenceUnderTest(home, control)
        plane.up_s = 120.0  # TensorFlow alone takes many seconds
        named = (f"{runtime}={python}" for runtime, python in pythons.items() if python)
        plane.environment["SILL_RUNTIME_PYTHONS"] = ",".join(named)
        return plane

    with serving(folder, zoo.plan(), zoo.bundles, make_plane) as plane:
        addresses = [f"127.0.0.1:{plane.port}", f"127.0.0.1:{plane.port + 1}"]
        files = [str(folder / "questions.npz"), str(folder / "answers.npz")]
        command = [str(environment("tritonclient")), str(HERE / "runtimes.py"), *files, *addresses, TOKEN]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert ended.returncode == 0, ended.stderr[-3_000:]
    return dict(np.load(folder / "answers.npz")) | wanted


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("runtime", [*MAKERS, "bf16"])
def test_a_model_of_every_runtime_answers_as_its_own_library(runtime: str, form: str, answers: dict[str, Any]) -> None:
    if runtime == "bf16" and form.endswith("json"):
        pytest.skip("the protocol has no JSON form of BF16")
    for kind, of in CLASSES.items():
        found, wanted = answers[f"{form}/{runtime}/{kind}"], of(answers[f"wanted/{runtime}"])

        assert found.shape == wanted.shape
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)
