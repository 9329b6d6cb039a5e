"""Use cases of deletion: delete so that it can be undone, undo, erase for good, and say how long undoing is possible."""

import asyncio
from collections.abc import Iterable

from sill.core.actors import PLATFORM, Actor
from sill.core.clock import Clock
from sill.core.errors import InvalidValue, NotFound
from sill.core.names import check_id
from sill.engines.types import Engine
from sill.governance.rules import require
from sill.runs import rules
from sill.runs import store as run_store
from sill.runs.experiments import rules as experiment_rules
from sill.runs.experiments import store as experiments
from sill.runs.experiments.types import DEFAULT_ID, Experiment, ExperimentDeleted
from sill.runs.logged_models import store as models
from sill.runs.retention import store
from sill.runs.retention.store import Forgetter
from sill.runs.retention.types import DAYS_MAX, Erased, RetentionPolicy, RetentionSpec, RunsRestored
from sill.runs.types import EXTERNAL, Lifecycle, Run, RunDeleted
from sill.stores.blobs.sweeping import Sweeper, let_go
from sill.stores.database import Database, Tx

ERASED_AT_ONCE = 50
"""Runs or logged models whose rows go in one transaction."""
ERASED_PER_PASS = 1_000
"""The same of each kind and project in one pass of the worker."""
DAY_US = 86_400 * 1_000_000
INLINE = "inline"
"""The handle of a run that was executed inside its parent's process; it has no folder of its own."""


class Retention:
    """Deletes, restores and erases runs and experiments of all projects."""

    def __init__(self, database: Database, sweeper: Sweeper, engine: Engine, clock: Clock) -> None:
        self._database = database
        self._sweeper = sweeper
        self._engine = engine
        self._clock = clock
        self._run_forgetters: list[Forgetter] = []
        self._experiment_forgetters: list[Forgetter] = []

    def on_erase_run(self, forget: Forgetter) -> None:
        """Let another part remove what it keeps of a run, in the transaction that erases the run."""
        self._run_forgetters.append(forget)

    def on_erase_experiment(self, forget: Forgetter) -> None:
        """Let another part remove what it keeps of an experiment, in the transaction that erases it."""
        self._experiment_forgetters.append(forget)

    async def policy(self, actor: Actor, project: str) -> RetentionPolicy:
        """How long what was deleted can be restored."""
        require(actor, "runs:read", project)
        return await self._database.read(lambda connection: store.policy(connection, project))

    async def set_policy(self, actor: Actor, project: str, spec: RetentionSpec) -> RetentionPolicy:
        """Say how long what was deleted, also before now, can be restored.

        Raises:
            InvalidValue: less than none, or more than ten years.
        """
        require(actor, "runs:admin", project)
        if not 0 <= spec.days <= DAYS_MAX:
            raise InvalidValue(f"days {spec.days} is outside 0 to {DAYS_MAX:g}.", field="days")

        def work(tx: Tx) -> RetentionPolicy:
            tx.emit("retention.set", project, project, actor.id, days=spec.days)
            return store.POLICIES.put(tx, RetentionPolicy(project=project, days=spec.days, updated_us=tx.now_us))

        return await self._database.write(work)

    async def delete_run(self, actor: Actor, project: str, run_id: str, *, now: bool = False) -> RunDeleted:
        """Delete a run and the runs under it. They can be restored for a while, unless they are to be erased now.

        Raises:
            Conflict: one of them is not over yet.
        """
        require(actor, "runs:write", project)
        check_id(run_id)

        def put_away(tx: Tx) -> list[Run]:
            every = run_store.tree(tx.connection, project, run_id)
            rules.check_own(actor, every[0])
            return [run_store.put_away(tx, run, actor.id) for run in every]

        gone = await self._database.write(put_away)
        names = tuple(run.id for run in gone)
        if now:
            return RunDeleted(runs=names, bytes_freed=await self._erase_runs(gone, actor.id))
        until_us = min(run.deleted_us for run in gone) + await self._kept_us(project)
        return RunDeleted(runs=names, bytes_freed=0, restorable_until_us=until_us)

    async def restore_run(self, actor: Actor, project: str, run_id: str) -> RunsRestored:
        """Bring a deleted run back, with the runs under it that were deleted together with it.

        Raises:
            InvalidValue: its experiment was deleted.
        """
        require(actor, "runs:write", project)
        check_id(run_id)

        def work(tx: Tx) -> RunsRestored:
            first, *under = run_store.tree(tx.connection, project, run_id)
            rules.check_own(actor, first)
            together = [run for run in under if run.deleted_us == first.deleted_us]
            back = [run_store.bring_back(tx, run, actor.id) for run in (first, *together) if run.deleted_us]
            return RunsRestored(runs=tuple(run.id for run in back))

        return await self._database.write(work)

    async def delete_experiment(
        self, actor: Actor, project: str, experiment_id: str, *, now: bool = False
    ) -> ExperimentDeleted:
        """Delete an experiment with its runs. It can be restored for a while, unless it is to be erased now.

        Raises:
            NotFound: there is none, or it was deleted already (and is not to be erased now).
            Conflict: one of its runs is not over yet.
            InvalidValue: the default experiment cannot be erased.
        """
        require(actor, "runs:write", project)
        if now and experiment_id == DEFAULT_ID:
            raise InvalidValue("the default experiment cannot be erased.", fix="Erase its runs.", field="experiment_id")

        def work(tx: Tx) -> tuple[Experiment, int]:
            experiments.ensure_default(tx, project, actor.id)
            experiment = experiments.get(tx.connection, project, experiment_id)
            if now and experiment.lifecycle is Lifecycle.DELETED:
                return experiment, 0
            experiment_rules.check_may_delete(experiment)
            store.check_none_active(tx.connection, project, experiment_id)
            tx.emit("experiment.deleted", project, experiment_id, actor.id, name=experiment.name)
            changed = experiments.change(tx, experiment, lifecycle=Lifecycle.DELETED.value, deleted_us=tx.now_us)
            return changed, store.flip_runs(tx, project, experiment_id, Lifecycle.DELETED)

        experiment, flipped = await self._database.write(work)
        runs = flipped + await self._put_runs_away(project, experiment_id)
        if now:
            runs, freed = await self._erase_experiment(project, experiment_id, actor.id)
            return ExperimentDeleted(id=experiment_id, runs=runs, bytes_freed=freed)
        until_us = experiment.deleted_us + await self._kept_us(project)
        return ExperimentDeleted(id=experiment_id, runs=runs, restorable_until_us=until_us)

    async def restore_experiment(self, actor: Actor, project: str, experiment_id: str) -> Experiment:
        """Bring a deleted experiment back, with all its runs.

        Raises:
            NotFound: there is none, or it was not deleted.
        """
        require(actor, "runs:write", project)

        def work(tx: Tx) -> Experiment | None:
            experiment = experiments.get(tx.connection, project, experiment_id)
            experiment_rules.check_may_restore(experiment)
            if store.flip_runs(tx, project, experiment_id, Lifecycle.ACTIVE):
                return None  # the experiment comes last, so that a cut-off restoration can be repeated
            tx.emit("experiment.restored", project, experiment_id, actor.id, name=experiment.name)
            return experiments.change(tx, experiment, lifecycle=Lifecycle.ACTIVE.value, deleted_us=0)

        restored = None
        while restored is None:
            restored = await self._database.write(work)
        return restored

    async def erase_due(self) -> Erased:
        """Erase what was deleted longer ago than its project keeps it, and finish what a crash cut off. For the worker."""
        total = Erased(bytes_freed=await self._sweeper.finish())
        for project in await self._database.read(store.projects_with_deleted):
            for experiment_id in await self._database.read(lambda c: store.half_deleted(c, project)):  # noqa: B023
                await self._put_runs_away(project, experiment_id)
            total = _sum(total, await self._erase_due_of(project))
        return total

    async def _erase_due_of(self, project: str) -> Erased:
        before_us = self._clock.now_us() - await self._kept_us(project)
        read = self._database.read
        runs = await read(lambda c: store.runs_deleted_before(c, project, before_us, ERASED_PER_PASS))
        freed = await self._erase_runs(runs, PLATFORM.id)
        over = [number for number in await read(lambda c: experiments.deleted_before(c, project, before_us)) if number]
        for number in over:
            freed += (await self._erase_experiment(project, str(number), PLATFORM.id))[1]
        gone = (await read(lambda c: models.deleted_before(c, project, before_us)))[:ERASED_PER_PASS]
        freed += await self._erase_models(project, gone)
        return Erased(runs=len(runs), experiments=len(over), logged_models=len(gone), bytes_freed=freed)

    async def _put_runs_away(self, project: str, experiment_id: str) -> int:
        """Delete the runs of a deleted experiment, some in a transaction; how many."""

        def work(tx: Tx) -> int:
            experiment = experiments.find(tx.connection, project, int(experiment_id))
            if experiment is None or experiment.lifecycle is not Lifecycle.DELETED:
                return 0  # somebody restores it
            return store.flip_runs(tx, project, experiment_id, Lifecycle.DELETED)

        count = 0
        while flipped := await self._database.write(work):
            count += flipped
        return count

    async def _erase_experiment(self, project: str, experiment_id: str, actor_id: str) -> tuple[int, int]:
        """Erase a deleted experiment and its runs; how many runs, bytes freed."""
        count = freed = 0
        while runs := await self._database.read(lambda c: store.runs_of(c, project, experiment_id, ERASED_AT_ONCE)):
            freed += await self._erase_runs(runs, actor_id)
            count += len(runs)

        def work(tx: Tx) -> tuple[str, ...]:
            experiment = experiments.find(tx.connection, project, int(experiment_id))
            if experiment is None or experiment.lifecycle is not Lifecycle.DELETED:
                raise NotFound(f"no deleted experiment with id {experiment_id}.", fix="Somebody restored it meanwhile.")
            forgetters = self._experiment_forgetters
            return let_go(tx, store.erase_experiment(tx, project, experiment_id, forgetters, actor_id))

        return count, freed + await self._sweeper.sweep(await self._database.write(work))

    async def _erase_runs(self, runs: list[Run], actor_id: str) -> int:
        """Erase runs: folders first, so that a repeat finds what a crash left; bytes freed."""
        freed = 0
        for some in _groups(runs):
            freed += await asyncio.to_thread(self._remove_folders, some)

            def work(tx: Tx) -> tuple[str, ...]:
                held = [store.erase_run(tx, run, self._run_forgetters, actor_id) for run in some]  # noqa: B023
                return let_go(tx, {digest for digests in held for digest in digests})

            freed += await self._sweeper.sweep(await self._database.write(work))
        return freed

    async def _erase_models(self, project: str, model_ids: list[str]) -> int:
        freed = 0
        for at in range(0, len(model_ids), ERASED_AT_ONCE):

            def work(tx: Tx) -> tuple[str, ...]:
                some = model_ids[at : at + ERASED_AT_ONCE]  # noqa: B023
                held = [store.erase_model(tx, project, model_id, PLATFORM.id) for model_id in some]
                return let_go(tx, {digest for digests in held for digest in digests})

            freed += await self._sweeper.sweep(await self._database.write(work))
        return freed

    def _remove_folders(self, runs: Iterable[Run]) -> int:
        return sum(
            self._engine.remove(self._engine.handle(run.id, attempt))
            for run in runs
            if run.handle not in (INLINE, EXTERNAL)
            for attempt in range(1, run.attempt + 1)
        )

    async def _kept_us(self, project: str) -> int:
        found = await self._database.read(lambda connection: store.policy(connection, project))
        return round(found.days * DAY_US)


def _groups(runs: list[Run]) -> Iterable[list[Run]]:
    return (runs[at : at + ERASED_AT_ONCE] for at in range(0, len(runs), ERASED_AT_ONCE))


def _sum(first: Erased, second: Erased) -> Erased:
    return Erased(
        runs=first.runs + second.runs,
        experiments=first.experiments + second.experiments,
        logged_models=first.logged_models + second.logged_models,
        bytes_freed=first.bytes_freed + second.bytes_freed,
    )
