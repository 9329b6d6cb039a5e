"""Steps: what they get, and what becomes of what they return."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from sill.agent import step as steps
from sill.agent.calling import UserError
from sill.agent.platform import Platform
from sill.agent.step import StepTask, execute_step
from sill.core.errors import InvalidValue, TooLarge

from .conftest import StandIn

CODE = """
import pathlib

def join(params, inputs, run):
    run.log_metric("rows", len(inputs["load"]))
    return {"sum": sum(inputs["load"]) * params["scale"], "table.bin": b"123"}

def strange(params, inputs, run):
    return object()

def large(params, inputs, run):
    return "x" * 1000

def broken(params, inputs, run):
    return 1 / 0
"""


def task(function: str, **fields: Any) -> dict[str, Any]:
    return {"step": msgspec.to_builtins(StepTask(name="one", module="step_code", function=function, **fields))}


@pytest.fixture
def code(folder: Path) -> Path:
    (folder / "step_code.py").write_text(CODE)
    return folder


def test_a_step_gets_results_and_leaves_its_own_with_its_files(
    platform: Platform, stand_in: StandIn, code: Path, tmp_path: Path
) -> None:
    stand_in.results["run-00000009"] = [1, 2, 3]
    execute_step(platform, task("join", params={"scale": 2}, results={"load": "run-00000009"}), code)
    left = msgspec.json.decode((tmp_path / "run/outputs/result.json").read_bytes())

    assert left["sum"] == 12
    assert left["table.bin"]["size_bytes"] == 3
    assert (tmp_path / "run/outputs/table.bin").read_bytes() == b"123"
    assert stand_in.metrics() == {"rows": 3}


def test_a_result_that_is_no_json_is_refused(platform: Platform, code: Path) -> None:
    with pytest.raises(InvalidValue, match="the step's result is no JSON"):
        execute_step(platform, task("strange"), code)


def test_a_result_that_is_too_large_is_refused(platform: Platform, code: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "RESULT_BYTES_MAX", 100)
    with pytest.raises(TooLarge, match="100 are allowed"):
        execute_step(platform, task("large"), code)


def test_what_a_step_raises_is_told_with_file_and_line(platform: Platform, code: Path) -> None:
    with pytest.raises(UserError, match=r"broken\(\) raised at step_code.py:\d+: ZeroDivisionError"):
        execute_step(platform, task("broken"), code)
