"""The agent's process: its task, its exit code, and its last line, which becomes the run's reason."""

import json
from pathlib import Path

import pytest

from sill.agent.__main__ import FAILED, WRONG_TASK, main, read_task
from sill.core.errors import InvalidValue


@pytest.mark.parametrize("said", ["", "/nowhere/task.json", "{", '{"bake": {}}', "{}", "[1]"])
def test_a_wrong_task_ends_with_its_own_code_and_a_reason(said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main({"SILL_TASK": said}) == WRONG_TASK
    assert capsys.readouterr().out.splitlines()[-1].startswith("error: ")


def test_a_task_is_read_from_a_file_or_taken_as_it_is(tmp_path: Path) -> None:
    task = {"step": {"name": "one"}}
    (tmp_path / "task.json").write_text(json.dumps(task))

    assert read_task({"SILL_TASK": str(tmp_path / "task.json")}) == read_task({"SILL_TASK": json.dumps(task)}) == task


def test_a_task_that_is_too_large_is_refused(tmp_path: Path) -> None:
    large = tmp_path / "task.json"
    with large.open("wb") as file:
        file.truncate(17 * 1024**2)
    with pytest.raises(InvalidValue, match="16,777,216 are allowed"):
        read_task({"SILL_TASK": str(large)})


def test_a_task_whose_fields_are_wrong_fails_with_the_field(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SILL_TOKEN", "t")
    environment = {"SILL_TASK": '{"step": {"name": 7}}', "SILL_RUN_ID": "run-00000001"}

    assert main(environment) == FAILED
    assert "$.name" in capsys.readouterr().out.splitlines()[-1]
