"""Which steps of a pipeline may start, and when it is over: pure decisions on the state of its steps."""

import hashlib
from collections.abc import Mapping

import msgspec

from sill.core.errors import InvalidValue
from sill.core.names import check_name, shorten
from sill.core.schedules import check_schedule
from sill.core.values import Value
from sill.runs.pipelines.types import PipelineSpec, StepSpec
from sill.runs.rules import check_spec
from sill.runs.types import RunSpec, RunState

STEPS_MAX = 1_000


class StepPlan(Value, frozen=True, kw_only=True):
    """Steps to start now, the pipeline's end if it has come, and why the others wait."""

    start: tuple[str, ...]
    ended: RunState | None
    reasons: dict[str, str]


def check_pipeline(spec: PipelineSpec) -> tuple[str, ...]:
    """The steps' names in an order in which each comes after those it needs.

    Raises:
        InvalidValue: no steps, too many, a name twice, an unknown need, a cycle, a step that does nothing, or one that
            could not be a run.
    """
    check_name(spec.name)
    if not 1 <= len(spec.steps) <= STEPS_MAX:
        raise InvalidValue(
            f"pipeline {spec.name!r} has {len(spec.steps)} steps; 1 to {STEPS_MAX} are allowed.", field="steps"
        )
    names = [check_name(step.name) for step in spec.steps]
    twice = next((name for name in names if names.count(name) > 1), None) if len(set(names)) < len(names) else None
    if twice:
        raise InvalidValue(f"step {twice!r} is declared twice.", fix="Give each step its own name.", field="steps")
    for step in spec.steps:
        unknown = sorted(set(step.needs) - set(names))
        if unknown:
            raise InvalidValue(f"step {step.name!r} needs {unknown[0]!r}, which is not a step.", field="steps")
        if bool(step.function) == bool(step.command):
            raise InvalidValue(
                f"step {step.name!r} has both or neither of function and command.", fix="Give one.", field="steps"
            )
        check_spec(_as_run(spec, step), spec.project)
    if not all(part.isidentifier() for part in spec.module.split(".")) and spec.module:
        raise InvalidValue(f"module {shorten(spec.module)!r} is not the name of one.", field="module")
    if spec.every:
        check_schedule(spec.every)
    return _ordered(spec)


def decide(spec: PipelineSpec, states: Mapping[str, RunState]) -> StepPlan:
    """Start each step whose needs are finished; fail as soon as one failed and none runs any more."""
    failed = [name for name, state in states.items() if state in (RunState.FAILED, RunState.CANCELLED)]
    running = [name for name, state in states.items() if not state.is_final]
    if failed:
        reasons = {step.name: f"step {failed[0]!r} did not finish" for step in spec.steps if step.name not in states}
        return StepPlan(start=(), ended=None if running else RunState.FAILED, reasons=reasons)
    ready, reasons = [], {}
    for step in spec.steps:
        if step.name in states:
            continue
        missing = [need for need in step.needs if states.get(need) is not RunState.FINISHED]
        if missing:
            reasons[step.name] = f"waits for {', '.join(missing)}"
        else:
            ready.append(step.name)
    is_over = not ready and not running and not reasons
    return StepPlan(start=tuple(ready), ended=RunState.FINISHED if is_over else None, reasons=reasons)


def cache_key(spec: PipelineSpec, step: StepSpec, results: Mapping[str, str]) -> str:
    """What makes a step's result: its code, what it calls, its params and inputs, and the results of those it needs.

    Args:
        results: digest of the result of each needed step.
    """
    needed = {need: results[need] for need in sorted(step.needs)}
    parts = (spec.code, spec.module, step.function, step.command, step.params, step.inputs, needed)
    return hashlib.sha256(msgspec.json.encode(parts, order="deterministic")).hexdigest()


def _as_run(spec: PipelineSpec, step: StepSpec) -> RunSpec:
    """The run of a step, as far as it can be judged when the pipeline is declared."""
    return RunSpec(
        name=step.name,
        kind="step",
        command=step.command,
        code=spec.code,
        task={"params": step.params},
        inputs=step.inputs,
        resources=step.resources,
        timeout_s=step.timeout_s,
        retries=step.retries,
    )


def _ordered(spec: PipelineSpec) -> tuple[str, ...]:
    """Kahn's algorithm (1962)."""
    waiting = {step.name: set(step.needs) for step in spec.steps}
    order: list[str] = []
    while waiting:
        free = sorted(name for name, needs in waiting.items() if not needs)
        if not free:
            raise InvalidValue(
                f"the steps {', '.join(sorted(waiting)[:5])} need each other.", fix="Break the cycle.", field="steps"
            )
        order += free
        for name in free:
            del waiting[name]
        for needs in waiting.values():
            needs.difference_update(free)
    return tuple(order)
