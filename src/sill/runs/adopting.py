"""The run that a script of ours begins with MLflow's client is the run it executes in, not a second one beside it."""

import msgspec

from sill.core.actors import Actor
from sill.runs import store
from sill.runs.described import NAME_TAG, PARENT_TAG
from sill.runs.experiments.rules import artifact_uri, sill_name
from sill.runs.experiments.types import Experiment
from sill.runs.store import RUNS
from sill.runs.tracking import store as tracking
from sill.runs.tracking.tables import tags as tags_table
from sill.runs.types import EXTERNAL, Batch, ExternalStart, Lifecycle, Run
from sill.stores.database import Tx

ATTEMPT_TAG = "sill.mlflow.attempt"
"""The attempt of a run in which its script has begun it by MLflow's client."""


def adopt(tx: Tx, actor: Actor, project: str, begun: ExternalStart, experiment: Experiment) -> Run | None:
    """The actor's own run, moved to the experiment its script named; None if this is to be a run of its own.

    Each attempt of a run does so once, with the first run its script begins that is not nested in another.
    """
    if not actor.run_id or begun.tags.get(PARENT_TAG):
        return None
    own = RUNS.find(tx.connection, project, actor.run_id)
    if own is None or own.kind == EXTERNAL or own.state.is_final or own.lifecycle is not Lifecycle.ACTIVE:
        return None
    said = tracking.read_texts(tx.connection, tags_table, project, [own.id]).get(own.id, {})
    if said.get(ATTEMPT_TAG) == str(own.attempt):
        return None
    moved = msgspec.structs.replace(
        own,
        experiment=sill_name(experiment.name),
        experiment_id=experiment.id,
        artifact_uri=artifact_uri(experiment.artifact_location, own.id),
        user=begun.user or own.user,
    )
    name = begun.name or own.name or own.id
    tags = begun.tags | {NAME_TAG: name, ATTEMPT_TAG: str(own.attempt)}
    kept = store.retag(tx, RUNS.replace(tx, moved), tags)
    tracking.log(tx, project, own.id, Batch(tags=tags))
    tx.emit("run.updated", project, own.id, actor.id, **store.facts(kept), experiment_id=experiment.id)
    return kept
