"""Examples of six frameworks under the unchanged MLflow client show up complete, and their models come back as they were.

The examples (docs/autolog) run one after the other in one process of the peer's environment, since importing
the frameworks takes longer than training their small models.
"""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from sill.testing.control_plane import ControlPlane
from sill.testing.peers import environment

pytestmark = [pytest.mark.peer("autolog"), pytest.mark.timeout(1_800)]
HERE = Path(__file__).resolve().parent
EXAMPLES = HERE.parents[1] / "docs" / "autolog"
RUN_S_MAX = 600
ENVIRON = {
    "CUDA_VISIBLE_DEVICES": "",
    "HF_HUB_OFFLINE": "1",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    # The client would load each model once more in a process of its own, to see which packages it imports.
    "MLFLOW_REQUIREMENTS_INFERENCE_TIMEOUT": "1",
    "OMP_NUM_THREADS": "1",
}


class Ran(NamedTuple):
    """What the examples did, and the server that saw it."""

    did: dict[str, dict[str, Any]]
    client: httpx.Client

    def ask(self, path: str, **query: Any) -> Any:
        """The answer of MLflow's API 2.0."""
        return self.client.get(f"/api/2.0/mlflow/{path}", params=query).raise_for_status().json()


class Wanted(NamedTuple):
    """What autologging leaves behind.

    Attributes:
        series: number of points of metrics.
        files: artifacts of the run, besides the model's.
    """

    flavor: str
    model: str
    params: dict[str, str]
    series: dict[str, int]
    files: frozenset[str]
    tags: frozenset[str] = frozenset()


WANTED = {
    "sklearn_example": Wanted(
        flavor="sklearn",
        model="iris-scikit-learn",
        params={"max_iter": "200", "solver": "lbfgs"},
        series={"training_accuracy_score": 1, "training_log_loss": 1},
        files=frozenset({"estimator.html", "training_confusion_matrix.png"}),
        tags=frozenset({"estimator_name", "estimator_class"}),
    ),
    "lightning_example": Wanted(
        flavor="pytorch",
        model="sum-lightning",
        params={"epochs": "3", "optimizer_name": "SGD", "lr": "0.1"},
        series={"train_loss": 3},
        files=frozenset({"model_summary.txt"}),
        tags=frozenset({"Mode"}),
    ),
    "xgboost_example": Wanted(
        flavor="xgboost",
        model="cancer-xgboost",
        params={"max_depth": "3", "num_boost_round": "5"},
        series={"train-logloss": 5},
        files=frozenset({"feature_importance_weight.json", "feature_importance_weight.png"}),
    ),
    "lightgbm_example": Wanted(
        flavor="lightgbm",
        model="cancer-lightgbm",
        params={"num_leaves": "7", "num_boost_round": "5"},
        series={"train-binary_logloss": 5},
        files=frozenset({"feature_importance_gain.json", "feature_importance_split.png"}),
    ),
    "keras_example": Wanted(
        flavor="keras",
        model="sum-keras",
        params={"epochs": "3", "batch_size": "16", "optimizer_name": "adam"},
        series={"loss": 3},
        files=frozenset({"model_summary.txt"}),
    ),
    "transformers_example": Wanted(
        flavor="transformers",
        model="films-transformers",
        params={"num_train_epochs": "2", "num_hidden_layers": "1"},
        series={"loss": 4, "train_loss": 1},
        files=frozenset(),
    ),
}


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ran]:
    folder = tmp_path_factory.mktemp("autolog")
    python = environment("autolog")
    plane = ControlPlane(folder / "home")
    plane.start()
    try:
        token = (plane.home / "token").read_text().strip()
        told = {"MLFLOW_TRACKING_URI": plane.url, "MLFLOW_TRACKING_TOKEN": token, **ENVIRON}
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "SILL_"))}
        command = [str(python), str(HERE / "examples.py"), str(EXAMPLES), *sorted(WANTED)]
        ended = subprocess.run(
            command, cwd=folder, env=kept | told, capture_output=True, text=True, timeout=RUN_S_MAX, check=False
        )
        assert ended.returncode == 0, ended.stderr[-4_000:]
        headers = {"authorization": f"Bearer {token}"}
        with httpx.Client(base_url=plane.url, headers=headers, trust_env=False, timeout=30) as client:
            yield Ran(json.loads(ended.stdout.splitlines()[-1]), client)
    finally:
        plane.stop()


@pytest.mark.parametrize("name", WANTED)
def test_what_autologging_logs_is_there(ran: Ran, name: str) -> None:
    wanted, did = WANTED[name], ran.did[name]
    assert "error" not in did, did["error"]

    run = ran.ask("runs/get", run_id=did["run"])["run"]

    assert run["info"]["status"] == "FINISHED"
    assert pairs(run["data"]["params"]).items() >= wanted.params.items()
    assert pairs(run["data"]["tags"]).keys() >= wanted.tags | {"mlflow.user", "mlflow.source.name"}
    for key, points in wanted.series.items():
        series = ran.ask("metrics/get-history", run_id=did["run"], metric_key=key)["metrics"]
        assert len(series) == len({(point.get("step", 0), point["timestamp"]) for point in series}) == points, key
        assert pairs(run["data"]["metrics"])[key] == series[-1]["value"]


@pytest.mark.parametrize("name", WANTED)
def test_its_files_and_its_model_are_there(ran: Ran, name: str) -> None:
    wanted, did = WANTED[name], ran.did[name]
    run = ran.ask("runs/get", run_id=did["run"])["run"]
    model_id = run["outputs"]["model_outputs"][0]["model_id"]

    files = {file["path"] for file in ran.ask("artifacts/list", run_id=did["run"]).get("files", ())}
    info = ran.ask(f"logged-models/{model_id}")["model"]["info"]
    described = ran.client.get(
        f"/api/2.0/mlflow/logged-models/{model_id}/artifacts/files", params={"artifact_file_path": "MLmodel"}
    ).text

    assert files >= wanted.files
    assert (info["status"], info["source_run_id"]) == ("LOGGED_MODEL_READY", did["run"])
    assert f"  {wanted.flavor}:" in described


@pytest.mark.parametrize("name", WANTED)
def test_the_registered_model_comes_back_and_scores_the_same(ran: Ran, name: str) -> None:
    wanted, did = WANTED[name], ran.did[name]

    version = ran.ask("model-versions/get", name=wanted.model, version=1)["model_version"]

    assert (version["status"], version["run_id"]) == ("READY", did["run"])
    assert did["scores"] > 0
    assert did["is_same"]


def pairs(listed: list[dict[str, Any]]) -> dict[str, Any]:
    """A list of keys with values as a dict."""
    return {each["key"]: each["value"] for each in listed}
