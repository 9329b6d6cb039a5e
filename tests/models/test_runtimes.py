"""A version of any runtime can be registered: its files are those its runtime loads, and code needs an admin of models."""

import json
from typing import Any

import msgspec
import numpy as np
import pytest

from sill.core.actors import PLATFORM, Actor
from sill.core.errors import Forbidden, InvalidValue, UnsupportedType
from sill.models.types import VersionSpec, VersionState
from sill.testing.platform import Platform

PROJECT = "default"
CODE = {
    "callable.json": json.dumps(
        {
            "file": "double.py",
            "name": "predict",
            "signature": {
                "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}],
                "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 2]}],
                "task": "other",
            },
        }
    ).encode(),
    "double.py": b"def predict(inputs):\n    return {'y': inputs['x'] * 2}\n",
}


def spec(platform: Platform, runtime: str, files: dict[str, bytes]) -> VersionSpec:
    made = platform.spec(files=files)
    kept = {path: digest for path, digest in made.files.items() if path != "model.onnx"}
    return msgspec.structs.replace(made, runtime=runtime, files=kept)


def booster() -> bytes:
    import xgboost

    x = np.random.default_rng(0).normal(size=(40, 2)).astype(np.float32)
    model = xgboost.train({"objective": "binary:logistic"}, xgboost.DMatrix(x, (x[:, 0] > 0).astype(int)), 2)
    return bytes(model.save_raw("ubj"))


@pytest.mark.anyio
@pytest.mark.parametrize("runtime", ["xgboost", "python"])
async def test_a_version_of_another_runtime_passes_the_gate_like_any(platform: Platform, runtime: str) -> None:
    files: dict[str, Any] = {"model.ubj": booster()} if runtime == "xgboost" else CODE
    made = await platform.models.register(PLATFORM, PROJECT, spec(platform, runtime, files))

    assert made.state is VersionState.ACCEPTED
    assert made.spec.runtime == runtime


@pytest.mark.anyio
async def test_the_files_must_be_those_the_runtime_loads(platform: Platform) -> None:
    for runtime, files in (
        ("xgboost", {"model.ubj": b"\x80\x04\x95junk."}),
        ("python", CODE | {"double.py": b"def predict(:"}),
        ("python", {"callable.json": CODE["callable.json"]}),
    ):
        with pytest.raises((InvalidValue, UnsupportedType)):
            await platform.models.register(PLATFORM, PROJECT, spec(platform, runtime, files))
    with pytest.raises(InvalidValue, match=r"no model\.ubj"):
        await platform.models.register(PLATFORM, PROJECT, spec(platform, "xgboost", {}))
    with pytest.raises(InvalidValue, match="no runtime"):
        await platform.models.register(PLATFORM, PROJECT, spec(platform, "nobody", {}))


@pytest.mark.anyio
async def test_code_is_registered_by_an_admin_of_models_only_and_under_no_other_runtime(platform: Platform) -> None:
    with pytest.raises(Forbidden):
        await platform.models.register(
            Actor(id="tok-1", scopes=frozenset({"models:read", "models:write"})),
            PROJECT,
            spec(platform, "python", CODE),
        )
    with pytest.raises(UnsupportedType):
        await platform.models.register(
            PLATFORM, PROJECT, spec(platform, "xgboost", {"model.ubj": booster(), "double.py": b""})
        )
