"""A pipeline as a project file writes it: functions and commands, each after those it needs."""

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from sill.core.errors import InvalidValue
from sill.runs.pipelines.types import PipelineSpec, StepSpec

F = TypeVar("F", bound=Callable[..., Any])


class Pipeline:
    """A graph of steps; made by `Project.pipeline`."""

    def __init__(self, project: str, name: str, every: str) -> None:
        self.project = project
        self.name = name
        self.every = every
        self._steps: list[StepSpec] = []
        self._functions: list[Callable[..., Any]] = []

    def step(
        self,
        function: F | None = None,
        *,
        needs: Sequence[Callable[..., Any] | str] = (),
        params: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Any:
        """Take the decorated function, called as `step(params, inputs, run)`, as a step after those it `needs`.

        Args:
            options: further fields of `StepSpec`: cache, retries, timeout_s, resources, inputs.
        """

        def take(decorated: F) -> F:
            names = tuple(need if isinstance(need, str) else step_name(need) for need in needs)
            step = StepSpec(
                name=step_name(decorated),
                function=decorated.__name__,
                needs=names,
                params=dict(params or {}),
                **options,
            )
            self._steps.append(step)
            self._functions.append(decorated)
            return decorated

        return take if function is None else take(function)

    def command(self, name: str, *command: str, needs: Sequence[Callable[..., Any] | str] = (), **options: Any) -> None:
        """Take a command as a step; never a shell line."""
        names = tuple(need if isinstance(need, str) else step_name(need) for need in needs)
        self._steps.append(StepSpec(name=name, command=command, needs=names, **options))

    def spec(self, code: str) -> PipelineSpec:
        """What was noted.

        Raises:
            InvalidValue: its functions come from more than one module.
        """
        modules = sorted({module_of(function) for function in self._functions})
        if len(modules) > 1:
            raise InvalidValue(
                f"pipeline {self.name!r} takes steps from {', '.join(modules)}.", fix="Keep its steps in one module."
            )
        module = modules[0] if modules else ""
        return PipelineSpec(
            project=self.project,
            name=self.name,
            steps=tuple(self._steps),
            module=module,
            code=code,
            every=self.every,
        )


def step_name(function: Callable[..., Any]) -> str:
    """The name a function is known by on the platform: its own, in lower case."""
    return function.__name__.lower().strip("_")


def module_of(function: Callable[..., Any]) -> str:
    """The module to import a function from, inside a run; for a script that is executed, its file's name."""
    if function.__module__ != "__main__":
        return function.__module__
    return Path(getattr(sys.modules["__main__"], "__file__", None) or "project.py").stem
