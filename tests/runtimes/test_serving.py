"""From a signed bundle of another runtime to an answer of the endpoint, through the real inference process."""

from pathlib import Path
from typing import Any

import pytest
from tests.runtimes.conftest import Made, make_python, make_xgboost

from sill.runtimes.port import open_runtime
from sill.safety.signing import Signer
from sill.testing.serving_models import Bundle, make_signer, plan
from sill.testing.serving_plane import InferenceUnderTest, serving


def bundle_of(signer: Signer, made: Made) -> Bundle:
    opened = open_runtime(made.runtime, made.folder)
    files = {path.name: path.read_bytes() for path in made.folder.iterdir()}
    bundle = Bundle(signer, files, opened.signature(), made.runtime)
    opened.close()
    return bundle


@pytest.mark.parametrize("make", [pytest.param(make_xgboost, marks=pytest.mark.slow), make_python])
def test_an_endpoint_answers_with_a_model_of_its_runtime(make: Any, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    made, signer = make(tmp_path / "model"), make_signer(tmp_path)
    bundle = bundle_of(signer, made)
    served = plan(signer, 1, bundle.revision(1, 100))
    with serving(tmp_path, served, {"v1": bundle}, InferenceUnderTest) as plane:
        name, rows = next(iter(made.rows.items()))
        told = {"name": name, "shape": [1, 3], "datatype": "FP32", "data": rows[:1].reshape(-1).tolist()}
        answer = plane.http.post("/v2/models/churn/infer", json={"inputs": [told]})
    assert answer.status_code == 200, answer.text
    wanted = next(iter(made.answer.values()))[0].tolist()
    outputs = {one["name"]: one["data"] for one in answer.json()["outputs"]}
    assert outputs.get("probabilities", outputs.get("output")) == pytest.approx(wanted, rel=1e-5)
