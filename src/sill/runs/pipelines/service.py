"""Pipelines: declared, started as a run that drives its steps, with a cache of what steps have made."""

import msgspec

from sill.core.actors import Actor
from sill.governance.rules import require
from sill.runs.pipelines.rules import check_pipeline
from sill.runs.pipelines.types import CachedStep, PipelineSpec
from sill.runs.service import Runs
from sill.runs.types import Resources, Run, RunSpec
from sill.stores.database import Database, Documents, Tx

PIPELINES: Documents[PipelineSpec] = Documents("pipelines", PipelineSpec)
DRIVER_RESOURCES = Resources(cpus=0.05, memory_bytes=128 * 1024**2)
"""The driver only waits for its steps; it must not take their place."""


STEP_CACHE: Documents[CachedStep] = Documents("cached_steps", CachedStep, key="key")


class Pipelines:
    """Declares and starts pipelines."""

    def __init__(self, database: Database, runs: Runs) -> None:
        self._database = database
        self._runs = runs

    async def declare(self, actor: Actor, spec: PipelineSpec) -> PipelineSpec:
        """Keep a pipeline.

        Raises:
            InvalidValue: its steps are no graph without cycles.
        """
        require(actor, "runs:write", spec.project)
        check_pipeline(spec)

        def keep(tx: Tx) -> PipelineSpec:
            kept = PIPELINES.put(tx, spec)
            tx.emit("pipeline.declared", spec.project, spec.name, actor.id, steps=len(spec.steps))
            return kept

        return await self._database.write(keep)

    async def pipeline(self, actor: Actor, project: str, name: str) -> PipelineSpec:
        """One declared pipeline."""
        require(actor, "runs:read", project)
        return await self._database.read(lambda connection: PIPELINES.get(connection, project, name))

    async def pipelines(self, actor: Actor, project: str) -> tuple[PipelineSpec, ...]:
        """All declared pipelines of a project."""
        require(actor, "runs:read", project)
        return tuple(await self._database.read(lambda connection: PIPELINES.every(connection, project)))

    async def start(self, actor: Actor, project: str, name: str, key: str = "") -> Run:
        """Start a run that drives the pipeline's steps, each a run of its own."""
        spec = await self.pipeline(actor, project, name)
        run = RunSpec(
            name=name,
            kind="pipeline",
            code=spec.code,
            task={"pipeline": msgspec.to_builtins(spec)},
            resources=DRIVER_RESOURCES,
            retries=1,
        )
        return await self._runs.submit(actor, project, run, key=key)

    async def cached(self, actor: Actor, project: str, key: str) -> CachedStep:
        """What a step made before.

        Raises:
            NotFound: nothing was made by that code with those inputs.
        """
        require(actor, "runs:read", project)
        return await self._database.read(lambda connection: STEP_CACHE.get(connection, project, key))

    async def remember(self, actor: Actor, step: CachedStep) -> CachedStep:
        """Keep what a step made."""
        require(actor, "runs:write", step.project)
        return await self._database.write(lambda tx: STEP_CACHE.put(tx, step))
