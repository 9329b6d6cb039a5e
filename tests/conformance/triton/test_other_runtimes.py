"""The core of the matrix over models of other runtimes: every client, form and datatype, in every class of shapes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests.conformance.triton.test_matrix import TRITON, wrong_ones

from sill.runtimes.port import open_runtime
from sill.testing.identity_models import identities_of, identity_in_python
from sill.testing.peers import environment
from sill.testing.serving_models import make_signer
from sill.testing.serving_plane import ControlStandIn, InferenceUnderTest, serving
from sill.testing.serving_zoo import Zoo, files_in

pytestmark = [
    pytest.mark.slow,
    pytest.mark.peer("tritonclient"),
    pytest.mark.peer("runtimes"),
    pytest.mark.timeout(600),
]
UP_S = 120.0
CACHE_BYTES = 3 * 1024**3
"""Of all models in memory: some leave it for others meanwhile."""
ASKED_LEAST = 20


def made(runtime: str, folder: Path, inputs: dict[str, str]) -> tuple[Zoo, str]:
    """The models of a runtime, and the interpreter that has its library; empty for this one.

    Args:
        inputs: gets what each model's input is called.
    """
    zoo, wanted = Zoo(make_signer(folder)), identities_of(runtime)
    if runtime == "python":
        for name, (datatype, shape) in wanted.items():
            zoo.add(name, *identity_in_python(datatype, shape), runtime)
            inputs[name] = "INPUT0"
        return zoo, ""
    python = "" if runtime == "torch" else str(environment("runtimes"))
    place = folder / runtime
    place.mkdir()
    script = Path(__file__).with_name("identities.py")
    command = [python or sys.executable, str(script), runtime, str(place)]
    ended = subprocess.run(command, input=json.dumps(wanted), capture_output=True, text=True, timeout=400, check=False)
    assert ended.returncode == 0, ended.stderr[-2_000:]
    for name in wanted:
        opened = open_runtime(runtime, place / name, python=python)
        zoo.add(name, files_in(place / name), opened.signature(), runtime)
        inputs[name] = opened.signature().inputs[0].name  # PyTorch writes it in small letters
        opened.close()
    return zoo, python


@pytest.mark.parametrize("runtime", ["python", "torch", "jax", "tensorflow"])
def test_every_value_comes_back_from_another_runtime(runtime: str, tmp_path: Path) -> None:
    inputs: dict[str, str] = {}
    zoo, python = made(runtime, tmp_path, inputs)
    models = tmp_path / "models"
    models.write_text("\n".join(f"{name} {given}" for name, given in inputs.items()))

    def make_plane(home: Path, control: ControlStandIn) -> InferenceUnderTest:
        plane = InferenceUnderTest(home, control)
        plane.up_s = UP_S
        plane.environment |= {
            "SILL_RUNTIME_PYTHONS": f"{runtime}={python}" if python else "",
            "SILL_MODEL_CACHE_BYTES": str(CACHE_BYTES),
        }
        return plane

    with serving(tmp_path, zoo.plan(), zoo.bundles, make_plane) as plane:
        assert wrong_ones("tritonclient", str(models), plane, *TRITON, asked_least=ASKED_LEAST) == []
