"""ONNX Runtime passes the contract of runtimes."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sill.core.errors import InvalidValue, Refused
from sill.core.plugins import find
from sill.runs.training.export import export, signature
from sill.runtimes.onnx_runtime import OnnxRuntime
from sill.runtimes.port import open_runtime
from sill.runtimes.types import TensorSpec
from sill.testing.identity_models import identity
from sill.testing.runtime import RuntimeContract


@pytest.fixture(scope="module")
def bundle() -> bytes:
    from sklearn.linear_model import LogisticRegression

    x = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
    model = LogisticRegression().fit(x, (x[:, 0] > 0).astype(int))
    return export(model, signature(("a", "b", "c"), ("no", "yes"), "classification"))


@pytest.fixture
def rows() -> dict[str, Any]:
    return {"input": np.random.default_rng(1).normal(size=(5, 3)).astype(np.float32)}


class TestOnnxRuntime(RuntimeContract):
    @pytest.fixture
    def runtime(self) -> OnnxRuntime:
        return OnnxRuntime()


def test_it_is_found_by_its_entry_point() -> None:
    assert find("runtime", "onnx") is OnnxRuntime


def test_the_signature_names_features_classes_and_tensors(bundle: bytes) -> None:
    found = open_runtime("onnx", bundle).signature()

    assert found.features == ("a", "b", "c")
    assert found.classes == ("no", "yes")
    assert found.inputs == (TensorSpec(name="input", datatype="FP32", shape=(-1, 3)),)


def test_a_wrong_shape_is_refused_with_both_shapes(bundle: bytes) -> None:
    with pytest.raises(InvalidValue, match=r"shape \[2, 9\]; \[-1, 3\]"):
        open_runtime("onnx", bundle).infer({"input": np.zeros((2, 9))})


def test_texts_where_numbers_belong_are_refused(bundle: bytes) -> None:
    with pytest.raises(InvalidValue, match="cannot be read as float32"):
        open_runtime("onnx", bundle).infer({"input": [["a", "b", "c"]]})


def test_bytes_that_are_no_text_are_refused_and_not_written_as_python_shows_them() -> None:  # B56
    texts = np.empty((1, 2), dtype=object)
    texts[0, :] = ["a", b"\xff"]

    with pytest.raises(InvalidValue, match="no UTF-8 text"):
        open_runtime("onnx", identity("BYTES", (-1, -1))[0]).infer({"INPUT0": texts})


def test_a_device_that_is_not_there_is_refused(bundle: bytes) -> None:
    with pytest.raises(Refused, match="'tpu' is not there"):
        open_runtime("onnx", bundle, "tpu")


def test_loading_a_model_reports_nothing_to_the_librarys_maker(bundle: bytes, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(bundle)
    load = "import sys; from pathlib import Path; from sill.runtimes.port import open_runtime as o; o('onnx', Path(sys.argv[1]))"
    quiet = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    environment = quiet | {"TMPDIR": str(tmp_path / "tmp"), "HOME": str(tmp_path / "home")}
    for folder in ("tmp", "home"):
        (tmp_path / folder).mkdir()
    subprocess.run([sys.executable, "-c", load, str(tmp_path)], env=environment, check=True)

    assert [*(tmp_path / "tmp").iterdir(), *(tmp_path / "home").iterdir()] == [], "its session file is there"


def test_all_cores_give_the_answers_one_gives_for_as_much_memory_again(bundle: bytes, rows: dict[str, Any]) -> None:
    runtime = OnnxRuntime()
    runtime.load(bundle)
    alone, size_bytes = runtime.infer(rows), runtime.memory_bytes()

    runtime.widen()
    together = runtime.infer_wide(rows)

    assert runtime.memory_bytes() == 2 * size_bytes
    for name, array in alone.items():
        assert np.array_equal(array, together[name])
    runtime.narrow()
    assert runtime.memory_bytes() == size_bytes
    assert runtime.infer_wide(rows).keys() == alone.keys()
