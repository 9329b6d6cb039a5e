"""Drives a pipeline: starts each step when those it needs are done, takes cached results, stops at the first failure.

It holds no state of its own: after a restart the same idempotency keys lead to the same step runs.
"""

import hashlib
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from sill.agent.platform import Platform
from sill.agent.step import RESULT, StepTask
from sill.core.errors import NotFound, Refused
from sill.runs.pipelines.rules import cache_key, check_pipeline, decide
from sill.runs.pipelines.types import CachedStep, PipelineSpec, StepSpec
from sill.runs.types import Run, RunSpec, RunState

POLL_S = 0.3


class PipelineRun:
    """One execution of a pipeline."""

    def __init__(self, platform: Platform, spec: PipelineSpec) -> None:
        self._platform = platform
        self._spec = spec
        self._steps = {step.name: step for step in spec.steps}
        self._states: dict[str, RunState] = {}
        self._runs: dict[str, str] = {}
        """Step → the run that holds its result."""
        self._results: dict[str, str] = {}
        """Step → digest of its result."""
        self._failures: dict[str, str] = {}

    def execute(self) -> None:
        """Do all steps.

        Raises:
            Refused: a step failed; the message names it and why.
        """
        check_pipeline(self._spec)
        while True:
            plan = decide(self._spec, self._states)
            if plan.ended is RunState.FINISHED:
                print(f"pipeline {self._spec.name} is done", flush=True)
                return
            if plan.ended is not None:
                name, reason = next(iter(self._failures.items()))
                raise Refused(f"step {name!r} did not finish: {reason}", fix=f"Look at `sill logs {self._runs[name]}`.")
            for name in plan.start:
                self._start(self._steps[name])
            if not plan.start:
                time.sleep(POLL_S)
            self._look()

    def _start(self, step: StepSpec) -> None:
        known = self._cached(step)
        if known is not None:
            self._states[step.name], self._runs[step.name] = RunState.FINISHED, known.run_id
            self._results[step.name] = known.result
            print(f"step {step.name}: taken from run {known.run_id}", flush=True)
            return
        run = self._platform.submit(self._run_spec(step), key=f"{self._platform.run_id}/step/{step.name}")
        self._states[step.name], self._runs[step.name] = RunState.QUEUED, run.id
        print(f"step {step.name}: run {run.id}", flush=True)

    def _look(self) -> None:
        """Take in what became of the steps that were going."""
        for name, state in list(self._states.items()):
            if state.is_final:
                continue
            run = self._platform.run(self._runs[name])
            self._states[name] = run.state
            if run.state is RunState.FINISHED:
                self._finished(self._steps[name], run)
            elif run.state.is_final:
                self._failures[name] = run.reason or run.state.value
                print(f"step {name}: {run.state.value}, {self._failures[name]}", flush=True)

    def _finished(self, step: StepSpec, run: Run) -> None:
        digest = self._platform.artifact_digest(run.id, RESULT)
        self._results[step.name] = digest or hashlib.sha256(run.id.encode()).hexdigest()
        print(f"step {step.name}: finished", flush=True)
        if step.cache and digest:
            key = cache_key(self._spec, step, self._results)
            self._platform.remember_step(CachedStep(project=self._spec.project, key=key, run_id=run.id, result=digest))

    def _cached(self, step: StepSpec) -> CachedStep | None:
        if not step.cache:
            return None
        try:
            return self._platform.cached_step(cache_key(self._spec, step, self._results))
        except NotFound:
            return None

    def _run_spec(self, step: StepSpec) -> RunSpec:
        task = StepTask(
            name=step.name,
            module=self._spec.module,
            function=step.function,
            params=step.params,
            inputs=step.inputs,
            # A step that is a command leaves no result; what it made is found among its run's artifacts.
            results={need: self._runs[need] for need in step.needs if not self._steps[need].command},
        )
        return RunSpec(
            name=f"{self._spec.name}.{step.name}",
            kind="command" if step.command else "step",
            command=step.command,
            code=self._spec.code,
            task={} if step.command else {"step": msgspec.to_builtins(task)},
            inputs=step.inputs,
            experiment=self._spec.name,
            params={name: str(value) for name, value in step.params.items()},
            tags={"step": step.name},
            parent_id=self._platform.run_id,
            resources=step.resources,
            timeout_s=step.timeout_s,
            retries=step.retries,
        )


def execute_pipeline(platform: Platform, task: Mapping[str, Any], _folder: Path) -> None:
    """Do a task of the kind `pipeline`."""
    PipelineRun(platform, msgspec.convert(task["pipeline"], PipelineSpec)).execute()
