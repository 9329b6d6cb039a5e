"""`python -m sill.agent`: reads the task an engine left, does it, and ends with 0 or with a reason and another code.

Codes: 0 done, 1 failed (the last line says why), 2 the task itself is wrong.
"""

import os
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from sill.agent.evaluation import execute_evaluation
from sill.agent.ingest import execute_ingestion
from sill.agent.pipeline import execute_pipeline
from sill.agent.platform import Platform, open_platform
from sill.agent.step import execute_step
from sill.agent.training import execute_training
from sill.core.errors import InvalidValue, SillError

TASK_BYTES_MAX = 16 * 1024**2
FAILED = 1
WRONG_TASK = 2

TASKS: dict[str, Callable[[Platform, dict[str, Any], Path], None]] = {
    "training": execute_training,
    "ingestion": execute_ingestion,
    "step": execute_step,
    "evaluation": execute_evaluation,
    "pipeline": execute_pipeline,
}
"""What a task holds → who does it. A trial is a task that holds `training` and `trial`."""


def main(environ: Mapping[str, str] = os.environ) -> int:
    """Do the task; the exit code."""
    try:
        task = read_task(environ)
        execute = TASKS[next(name for name in TASKS if name in task)]
        platform = open_platform(environ)
    except SillError as wrong:
        print(f"error: {wrong}", flush=True)
        return WRONG_TASK
    try:
        execute(platform, task, Path.cwd())
    except (SillError, msgspec.ValidationError) as failed:
        _show_cause(failed)
        print(f"error: {failed}", flush=True)
        return FAILED
    except Exception as broken:  # the edge of the process: the run's log gets all of it, its reason one line
        traceback.print_exc()
        print(f"error: the agent failed: {type(broken).__name__}: {broken}", flush=True)
        return FAILED
    return 0


def read_task(environ: Mapping[str, str]) -> dict[str, Any]:
    """The task: `SILL_TASK` is a file that holds it as JSON, or the JSON itself.

    Raises:
        InvalidValue: it is not set, too large, no JSON, or of no known kind.
    """
    said = environ.get("SILL_TASK", "")
    if not said:
        raise InvalidValue("SILL_TASK is not set: the agent is started by an engine.", fix="Use `sill run`.")
    try:
        text = said.encode() if said.lstrip().startswith("{") else _read(Path(said))
        task = msgspec.json.decode(text, type=dict[str, Any])
    except (OSError, msgspec.DecodeError) as wrong:
        raise InvalidValue(f"the task cannot be read: {wrong}.") from wrong
    if not any(name in task for name in TASKS):
        raise InvalidValue(f"the task holds {', '.join(task) or 'nothing'}; one of {', '.join(TASKS)} is allowed.")
    return task


def _read(path: Path) -> bytes:
    if path.stat().st_size > TASK_BYTES_MAX:
        raise InvalidValue(f"the task has {path.stat().st_size:,} bytes; {TASK_BYTES_MAX:,} are allowed.")
    return path.read_bytes()


def _show_cause(failed: BaseException) -> None:
    """The traceback of what the user's own code raised, without our frames around it."""
    cause = failed.__cause__
    if cause is not None:
        traceback.print_exception(type(cause), cause, cause.__traceback__)


if __name__ == "__main__":
    sys.exit(main())
