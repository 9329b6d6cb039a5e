"""Models that MLflow's own client logs, registers and promotes answer at endpoints, with their own library's answer."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from tests.runtimes.conftest import X, make_tensorflow

from sill.core.errors import Refused
from sill.endpoints.types import EndpointSpec
from sill.sdk.stages import Stages
from sill.testing.control_plane import ControlPlane, wait_until_served
from sill.testing.peers import environment

pytestmark = [pytest.mark.slow, pytest.mark.peer("mlflow-models"), pytest.mark.timeout(600)]
PROJECT = "default"
SERVED = {
    "sklearn": "skops",
    "xgboost": "xgboost",
    "lightgbm": "lightgbm",
    "onnx": "onnx",
    "pytorch": "torch",
    "tensorflow": "tensorflow",
}
CLIENTS = {
    "mlflow-models": ("sklearn", "xgboost", "lightgbm", "onnx", "pickled", "tensorflow"),
    "autolog": ("pytorch",),
}
"""By environment, what its client logs."""
RUN_S_MAX = 400.0


class Ran(NamedTuple):
    """The platform, and what the clients' libraries answer to two rows, by the model's name."""

    plane: ControlPlane
    stages: Stages
    rows: list[list[float]]
    yes: dict[str, list[float]]

    def ask(self, name: str) -> list[float]:
        """What the endpoint gives: of a classifier the probability of its second class, else all values."""
        client = self.stages.client
        features = self.stages.models.version(name, 1).spec.signature
        tensor = features.inputs[0]
        data = [value for row in self.rows for value in row]
        told = {"name": tensor.name, "shape": [2, 3], "datatype": tensor.datatype, "data": data}
        url = f"{client.inference_url}/v2/models/{PROJECT}/{name}/infer"
        token = (self.plane.home / "token").read_text().strip()
        headers = {"authorization": f"Bearer {token}"}
        answer = httpx.post(url, json={"inputs": [told]}, headers=headers, timeout=30, trust_env=False)
        assert answer.status_code == 200, answer.text
        outputs: dict[str, Any] = {one["name"]: one["data"] for one in answer.json()["outputs"]}
        return outputs["probabilities"][1::2] if "probabilities" in outputs else next(iter(outputs.values()))


def logged(peer: str, plane: ControlPlane, folder: Path, *names: str) -> dict[str, list[float]]:
    """Let the client of an environment log these models; what their libraries answer, where it says so."""
    token = (plane.home / "token").read_text().strip()
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "SILL_"))}
    ended = subprocess.run(
        [environment(peer), Path(__file__).with_name("client.py"), folder, *names],
        cwd=folder,
        env=kept | {"MLFLOW_TRACKING_URI": plane.url, "MLFLOW_TRACKING_TOKEN": token},
        capture_output=True,
        text=True,
        timeout=RUN_S_MAX,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr[-4_000:]
    yes: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])["yes"]
    return {name: values for name, values in yes.items() if values is not None}


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ran]:
    folder = tmp_path_factory.mktemp("mlflow")
    (folder / "saved_model").mkdir()
    network = make_tensorflow(folder / "saved_model")
    plane = ControlPlane(folder / "home", runtime_pythons=f"tensorflow={network.python}")
    plane.start()
    try:
        stages = Stages(plane.client(PROJECT))
        for name in SERVED:
            stages.endpoints.apply(EndpointSpec(project=PROJECT, name=name, model=name))
        told = {"rows": X[:2].tolist(), "yes": {"tensorflow": network.answer["p"][:2].ravel().tolist()}}
        for peer, names in CLIENTS.items():
            told["yes"] |= logged(peer, plane, folder, *names)
        yield Ran(plane, stages, **told)
    finally:
        plane.stop()


@pytest.mark.parametrize("name", SERVED)
def test_a_version_that_mlflows_client_promotes_answers_at_its_endpoint(ran: Ran, name: str) -> None:
    version = ran.stages.models.version(name, 1)
    assert (version.spec.runtime, version.may_serve) == (SERVED[name], True)

    wait_until_served(ran.plane, PROJECT, name)

    assert ran.ask(name) == pytest.approx(ran.yes[name], rel=1e-4)


def test_one_that_must_be_unpickled_is_refused_with_what_to_do(ran: Ran) -> None:
    assert ran.stages.models.get("pickled").aliases == {"champion": 1}
    ran.stages.endpoints.apply(EndpointSpec(project=PROJECT, name="pickled", model="pickled"))

    with pytest.raises(Refused, match="serialization_format='skops'"):
        ran.stages.endpoints.deploy("pickled", 1)
