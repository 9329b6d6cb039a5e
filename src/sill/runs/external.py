"""Use cases of runs that execute elsewhere and report here, as those of MLflow's clients: begin, change, delete, restore."""

from sill.core.actors import Actor
from sill.core.clock import Ids
from sill.core.names import check_id
from sill.governance.rules import require
from sill.runs import described, rules, store
from sill.runs.adopting import adopt
from sill.runs.experiments import store as experiments
from sill.runs.experiments.rules import artifact_uri, check_active, sill_name
from sill.runs.experiments.types import DEFAULT_ID
from sill.runs.store import RUNS
from sill.runs.tracking import store as tracking
from sill.runs.tracking.rules import TAG_LENGTH_MAX, check_texts
from sill.runs.types import EXTERNAL, Batch, ExternalStart, ExternalUpdate, Run, RunSpec, RunState
from sill.stores.database import Database, Tx


class ExternalRuns:
    """Runs of clients. They may be opened again after their end, and may be written to until they are deleted."""

    def __init__(self, database: Database, ids: Ids) -> None:
        self._database = database
        self._ids = ids

    async def start(self, actor: Actor, project: str, start: ExternalStart, key: str = "") -> Run:
        """Keep a run that has begun. The first one that a script of ours begins is the run it executes in.

        Raises:
            InvalidValue: a name, tag or time is outside what is allowed, or the experiment was deleted.
            NotFound: there is no such experiment.
        """
        require(actor, "runs:write", project)
        begun = described.check_start(start)
        check_texts(begun.tags, "tags", TAG_LENGTH_MAX)
        run_id = self._ids.new("run")

        def work(tx: Tx) -> Run:
            if begun.experiment_id == DEFAULT_ID:
                experiments.ensure_default(tx, project, actor.id)
            experiment = check_active(experiments.get(tx.connection, project, begun.experiment_id))
            if (own := adopt(tx, actor, project, begun, experiment)) is not None:
                return own
            name = begun.name or described.made_up_name(run_id)
            run = Run(
                id=run_id,
                project=project,
                spec=RunSpec(kind=EXTERNAL, name=name, experiment=sill_name(experiment.name)),
                state=RunState.RUNNING,
                kind=EXTERNAL,
                experiment=sill_name(experiment.name),
                experiment_id=experiment.id,
                name=name,
                user=begun.user,
                created_us=tx.now_us,
                started_us=tx.now_us if begun.start_us is None else begun.start_us,
                actor=actor.id,
                handle=EXTERNAL,
                artifact_uri=artifact_uri(experiment.artifact_location, run_id),
            )
            tags = {described.NAME_TAG: name} | begun.tags
            kept = store.retag(tx, RUNS.create(tx, run), tags)
            tracking.log(tx, project, run_id, Batch(tags=tags))
            tx.emit("run.started", project, run_id, actor.id, **store.facts(kept), experiment_id=experiment.id)
            return kept

        return await self._database.write_once(key, [project, start], Run, work)

    async def update(self, actor: Actor, project: str, run_id: str, change: ExternalUpdate) -> Run:
        """Keep how a run fares, or its new name. How a run of ours fares is seen by its engine: of that only the name is taken.

        Raises:
            InvalidValue: a name or time is outside what is allowed, or the run was deleted.
        """
        require(actor, "runs:write", project)
        described.check_change(change)

        def work(tx: Tx) -> Run:
            run = self._writable(tx, actor, project, run_id)
            after = described.changed(run, change)
            if change.name:
                tracking.log(tx, project, run_id, Batch(tags={described.NAME_TAG: change.name}))
            if after == run:
                return run
            tx.emit(described.event_kind(run, after), project, run_id, actor.id, **store.facts(after))
            return RUNS.replace(tx, after)

        return await self._database.write(work)

    async def delete(self, actor: Actor, project: str, run_id: str) -> Run:
        """Delete one run, so that it can be restored for a while. The runs under it stay.

        Raises:
            Conflict: it is a run of ours that is not over yet.
        """
        require(actor, "runs:write", project)

        def work(tx: Tx) -> Run:
            run = store.check_exists(tx.connection, project, check_id(run_id))
            rules.check_own(actor, run)
            return store.put_away(tx, run, actor.id)

        return await self._database.write(work)

    async def restore(self, actor: Actor, project: str, run_id: str) -> Run:
        """Bring a deleted run back; one that was not deleted stays as it is."""
        require(actor, "runs:write", project)

        def work(tx: Tx) -> Run:
            run = store.check_exists(tx.connection, project, check_id(run_id))
            rules.check_own(actor, run)
            return store.bring_back(tx, run, actor.id)

        return await self._database.write(work)

    def _writable(self, tx: Tx, actor: Actor, project: str, run_id: str) -> Run:
        run = store.check_exists(tx.connection, project, check_id(run_id))
        rules.check_own(actor, run)
        return store.check_active(run)
