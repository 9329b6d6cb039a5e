"""A model in a process of its own harms nobody: not by a crash, not by what it tries to reach."""

import io
import zipfile
from pathlib import Path

import msgspec
import numpy as np
import psutil
import pytest
from tests.runtimes.conftest import doubling, make_pipeline, make_python, make_torch

from sill.core.errors import InvalidValue, Unavailable
from sill.runtimes.drivers import Streams, files_of
from sill.runtimes.nursery import nursery_of
from sill.runtimes.pipeline import Pipeline
from sill.runtimes.port import open_runtime
from sill.runtimes.torch_model import safe_archive

LOOK = """
import os
import numpy as np


def predict(inputs):
    found = []
    for name in sorted(os.listdir("/proc/self/fd"), key=int):
        try:
            where = os.readlink(f"/proc/self/fd/{name}")
        except FileNotFoundError:  # the listing's own
            continue
        found.append(name if int(name) < 3 else "line" if where.startswith("socket:") else where)
    try:
        forked = os.fork()
    except OSError as refused:
        forked = type(refused).__name__
    return {"y": np.array([" ".join(found), " ".join(os.environ), str(forked)], object)}
"""


def ask(value: float) -> dict[str, np.ndarray]:
    return {"x": np.full((1, 3), value, np.float32)}


def test_a_crash_fails_its_own_request_and_the_next_is_answered(tmp_path: Path) -> None:
    runtime = open_runtime("python", make_python(tmp_path).folder)

    with pytest.raises(Unavailable, match="died"):
        runtime.infer(ask(666))
    assert runtime.infer(ask(1))["y"].tolist() == [[2, 2, 2]]
    runtime.close()


def test_code_cannot_read_a_file_that_is_not_its_own(tmp_path: Path) -> None:
    runtime = open_runtime("python", make_python(tmp_path).folder)

    with pytest.raises(Unavailable, match="PermissionError"):
        runtime.infer(ask(7))
    runtime.close()


def test_a_worker_holds_no_file_and_no_word_of_those_that_were_forked_beside_it(tmp_path: Path) -> None:
    (tmp_path / "look.py").write_text(LOOK)
    said = doubling() | {"outputs": [{"name": "y", "datatype": "BYTES", "shape": [-1]}]}
    spec = {"file": "look.py", "name": "predict", "signature": said}
    (tmp_path / "callable.json").write_bytes(msgspec.json.encode(spec))
    runtimes = [open_runtime("python", tmp_path) for _ in range(3)]

    open_files, environment, can_fork = runtimes[-1].infer(ask(1))["y"].tolist()

    assert open_files.split() == ["0", "1", "2", "line"]
    assert set(environment.split()) <= {"LANG", "LC_CTYPE", "OMP_NUM_THREADS", "TMPDIR", "HOME"}
    assert can_fork == "PermissionError"
    for runtime in runtimes:
        runtime.close()


def test_a_generator_answers_in_parts_and_can_be_stopped(tmp_path: Path) -> None:
    runtime = open_runtime("python", make_python(tmp_path, "parts").folder)
    assert isinstance(runtime, Streams)
    rows = {"x": np.arange(9, dtype=np.float32).reshape(3, 3)}

    parts = runtime.stream(rows)
    assert next(iter(parts))["y"].tolist() == [[0, 2, 4]]
    parts.close()  # type: ignore[attr-defined]

    assert len(list(runtime.stream(rows))) == 3
    assert np.array_equal(runtime.infer(rows)["y"], rows["x"] * 2)
    runtime.close()


def test_a_bundles_own_torch_module_gets_its_weights_from_safetensors(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    layer = torch.nn.Linear(3, 2)
    save_file(layer.state_dict(), tmp_path / "model.safetensors")
    said = doubling() | {"outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 2]}]}
    (tmp_path / "net.py").write_text(
        "import torch\n\n\nclass Net(torch.nn.Linear):\n    def forward(self, x):\n        return super().forward(x)\n"
    )
    spec = {"file": "net.py", "name": "Net", "signature": said, "weights": "model.safetensors"}
    spec["config"] = {"in_features": 3, "out_features": 2}
    (tmp_path / "callable.json").write_bytes(msgspec.json.encode(spec))

    runtime = open_runtime("python", tmp_path)

    expected = layer(torch.ones(1, 3)).detach().numpy()
    np.testing.assert_allclose(runtime.infer(ask(1))["y"], expected, rtol=1e-5)
    runtime.close()


def test_a_warm_parent_that_died_takes_its_workers_along_and_is_started_again(tmp_path: Path) -> None:
    others = set(psutil.Process().children(recursive=True))
    runtime = open_runtime("python", make_python(tmp_path).folder)
    workers = set(psutil.Process().children(recursive=True)) - others

    nursery_of("sill.runtimes.python_callable:PythonCallable").close()
    psutil.wait_procs(workers, timeout=10)  # the system ends a worker a moment after its parent

    assert runtime.infer(ask(1))["y"].tolist() == [[2, 2, 2]]
    assert runtime.memory_bytes() > 0
    runtime.close()


def test_a_circle_of_steps_is_refused_and_so_is_a_place_that_nothing_gives(tmp_path: Path) -> None:
    folder = make_pipeline(tmp_path).folder
    spec = msgspec.json.decode((folder / "pipeline.json").read_bytes())
    for place, why in (("two.probabilities", "wait for each other"), ("nobody", "gives")):
        spec["steps"][0]["inputs"]["input"] = place
        spec["steps"][1]["inputs"]["input"] = "one.probabilities"
        (folder / "pipeline.json").write_bytes(msgspec.json.encode(spec))
        with pytest.raises(InvalidValue, match=why):
            Pipeline.check(files_of(folder))


def test_no_part_of_a_pytorch_archive_that_would_be_unpickled_reaches_the_library(tmp_path: Path) -> None:
    original = zipfile.ZipFile(make_torch(tmp_path).folder / "model.pt2")
    config = "model/data/weights/model_weights_config.json"
    for name, content in (
        ("model/data/constants/custom_obj_0", b"\x80\x04."),
        (config, original.read(config).replace(b'"use_pickle":false', b'"use_pickle":true').replace(
            b'"use_pickle": false', b'"use_pickle": true')),
    ):  # fmt: skip
        made = io.BytesIO()
        with zipfile.ZipFile(made, "w") as archive:
            for part in original.namelist():
                if part != name:
                    archive.writestr(part, original.read(part))
            archive.writestr(name, content)
        with pytest.raises(InvalidValue, match="not accepted"):
            safe_archive(made)
