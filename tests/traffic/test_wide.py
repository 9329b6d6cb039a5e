"""All cores are given to a lone question only where that was measured to be worth its memory."""

import time
from collections.abc import Mapping
from typing import Any

import pytest
from msgspec.structs import replace

from sill.runtimes.onnx_runtime import OnnxRuntime
from sill.testing.serving_models import REGRESSION, regressor
from sill.traffic import pool
from sill.traffic.pool import WIDE_MS_MIN, gains_by_cores

VERY_DEAR_MS = 1e9


class SlowTogether(OnnxRuntime):
    """Answers later the more cores it is given."""

    def infer_wide(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        time.sleep(WIDE_MS_MIN / 1e3)
        return super().infer_wide(inputs)


@pytest.fixture(autouse=True)
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "CORES", 2)


def loaded(runtime: OnnxRuntime) -> OnnxRuntime:
    runtime.load(regressor())
    return runtime


def test_a_dear_model_that_gains_by_them_is_ready_for_them() -> None:
    runtime = loaded(OnnxRuntime())

    assert gains_by_cores(REGRESSION, runtime, VERY_DEAR_MS)
    assert runtime.memory_bytes() == 2 * len(regressor())


def test_a_model_whose_rows_are_cheap_does_not_try() -> None:
    runtime = loaded(OnnxRuntime())

    assert not gains_by_cores(REGRESSION, runtime, WIDE_MS_MIN / 2)
    assert runtime.memory_bytes() == len(regressor())


def test_one_that_gains_nothing_lets_go_of_the_memory() -> None:
    runtime = loaded(SlowTogether())

    assert not gains_by_cores(REGRESSION, runtime, WIDE_MS_MIN)
    assert runtime.memory_bytes() == len(regressor())


def test_what_was_measured_once_holds_when_the_model_comes_back() -> None:
    known = pool.measure(REGRESSION, loaded(OnnxRuntime()))
    runtime = loaded(OnnxRuntime())

    pool.measure(REGRESSION, runtime, replace(known, is_wide=True))

    assert runtime.memory_bytes() == 2 * len(regressor())
