"""Does one step of a pipeline: calls `step(params, inputs, run)` and keeps what it returns as `result.json`."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from sill.agent.calling import call, find_function
from sill.agent.platform import Platform
from sill.agent.recording import RunRecorder
from sill.core.errors import InvalidValue, TooLarge
from sill.core.values import Value

RESULT = "result.json"
RESULT_BYTES_MAX = 16 * 1024**2


class StepTask(Value, frozen=True, kw_only=True):
    """What a step's run is to do. `results` names, for each step it needs, the run that holds the result."""

    name: str
    module: str
    function: str
    params: dict[str, Any] = {}
    inputs: tuple[str, ...] = ()
    results: dict[str, str] = {}
    seed: int = 0


def execute_step(platform: Platform, task: Mapping[str, Any], folder: Path) -> None:
    """Do a task of the kind `step`.

    Raises:
        UserError: the function raised.
        InvalidValue: it returned something that is no JSON.
    """
    spec = msgspec.convert(task["step"], StepTask)
    inputs: dict[str, Any] = {
        need: msgspec.json.decode(platform.artifact(run_id, RESULT)) for need, run_id in spec.results.items()
    }
    recorder = RunRecorder(platform.run_id, platform.log, spec.params, spec.seed)
    recorder.log_params(spec.params)
    function = find_function(spec.module, spec.function, folder)
    returned = call(
        function, folder, spec.params, {**inputs, "inputs": spec.inputs} if spec.inputs else inputs, recorder
    )
    recorder.log_artifact(RESULT, encode_result(returned, recorder))
    recorder.flush()
    print(f"step {spec.name} is done", flush=True)


def encode_result(returned: Any, recorder: RunRecorder) -> bytes:
    """The result as JSON; bytes and paths in a dict become artifacts of their name, and their digests the result.

    Raises:
        InvalidValue: a value is no JSON.
        TooLarge: more than `RESULT_BYTES_MAX`.
    """
    if isinstance(returned, dict):
        returned = {str(name): _kept(str(name), value, recorder) for name, value in returned.items()}
    try:
        encoded = msgspec.json.encode(returned, order="deterministic")
    except (TypeError, ValueError, msgspec.MsgspecError) as wrong:
        raise InvalidValue(
            f"the step's result is no JSON: {wrong}.", fix="Return plain values, bytes or paths."
        ) from wrong
    if len(encoded) > RESULT_BYTES_MAX:
        raise TooLarge(
            f"the step's result has {len(encoded):,} bytes; {RESULT_BYTES_MAX:,} are allowed.",
            fix="Leave it as an artifact, or write it to a table.",
        )
    return encoded


def _kept(name: str, value: Any, recorder: RunRecorder) -> Any:
    if not isinstance(value, bytes | Path):
        return value
    recorder.log_artifact(name, value)
    content = value if isinstance(value, bytes) else value.read_bytes()
    return {"artifact": name, "digest": hashlib.sha256(content).hexdigest(), "size_bytes": len(content)}
