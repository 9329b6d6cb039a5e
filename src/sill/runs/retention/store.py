"""Queries of deletion: what an experiment has, what is over its time, and the removal of all rows of a thing."""

from collections.abc import Callable, Iterable
from typing import Any

import msgspec
from sqlalchemy import Connection, bindparam, select, update

from sill.core.errors import Conflict
from sill.runs.experiments import store as experiments
from sill.runs.logged_models import links
from sill.runs.logged_models import store as models
from sill.runs.retention.types import RetentionPolicy
from sill.runs.rules import KINDS
from sill.runs.store import RUNS
from sill.runs.tracking import store as tracking
from sill.runs.types import Lifecycle, Run, RunState
from sill.stores.database import Documents, Tx

POLICIES: Documents[RetentionPolicy] = Documents(
    "retention_policies", RetentionPolicy, key="project", noun="retention policy"
)
FLIPS_AT_ONCE = 2_000
"""Runs of a deleted or restored experiment that change in one transaction."""
Forgetter = Callable[[Tx, str, str], set[str]]
"""Removes what another part keeps of a thing: (tx, project, id) → digests of the blobs it held."""


def policy(connection: Connection, project: str) -> RetentionPolicy:
    """The project's policy; the default one if it set none."""
    return POLICIES.find(connection, project, project) or RetentionPolicy(project=project)


def check_none_active(connection: Connection, project: str, experiment_id: str) -> None:
    """Refuse to delete an experiment whose runs an engine of ours still has in hand.

    Raises:
        Conflict: some are.
    """
    t = RUNS.table
    states = [state.value for state in RunState if not state.is_final]
    here = (t.c.project == project, t.c.state.in_(states), t.c.kind.in_(KINDS), t.c.experiment_id == experiment_id)
    found = connection.execute(select(t.c.key).where(*here).limit(1)).first()
    if found is not None:
        raise Conflict(
            f"run {found.key} of experiment {experiment_id} is not over; only then can the experiment be deleted.",
            fix="Cancel its runs first.",
        )


def flip_runs(tx: Tx, project: str, experiment_id: str, to: Lifecycle) -> int:
    """Delete or restore the next runs of an experiment; how many. The experiment's event tells of them all."""
    t = RUNS.table
    other = Lifecycle.ACTIVE if to is Lifecycle.DELETED else Lifecycle.DELETED
    here = (t.c.project == project, t.c.experiment_id == experiment_id, t.c.lifecycle == other.value)
    at_us = tx.now_us if to is Lifecycle.DELETED else 0
    found = tx.execute(select(t.c.key, t.c.doc).where(*here).limit(FLIPS_AT_ONCE)).all()
    rows = [_flipped(row.key, msgspec.json.decode(row.doc, type=Run), to, at_us) for row in found]
    if rows:
        fixed = {"lifecycle": to.value, "deleted_us": at_us, "updated_us": tx.now_us}
        changing: dict[str, Any] = {"doc": bindparam("changed"), "revision": bindparam("next")}
        which = (t.c.project == project, t.c.key == bindparam("of"))
        tx.execute(update(t).where(*which).values(**fixed, **changing), rows)
    return len(rows)


def _flipped(key: str, run: Run, to: Lifecycle, at_us: int) -> dict[str, Any]:
    after = msgspec.structs.replace(run, lifecycle=to, deleted_us=at_us, revision=run.revision + 1)
    return {"of": key, "changed": msgspec.json.encode(after).decode(), "next": after.revision}


def erase_run(tx: Tx, run: Run, forgetters: Iterable[Forgetter], actor_id: str) -> set[str]:
    """Remove a run and all it logged; digests of the blobs it held. One that is gone already holds none.

    Raises:
        Conflict: it runs or waits on an engine of ours.
    """
    if RUNS.find(tx.connection, run.project, run.id) is None:
        return set()
    digests = tracking.forget(tx, run.project, run.id)
    digests |= {digest for forget in forgetters for digest in forget(tx, run.project, run.id)}
    links.forget_run(tx, run.project, run.id)
    models.forget_run(tx, run.project, run.id)
    RUNS.delete(tx, run.project, run.id)
    tx.emit("run.erased", run.project, run.id, actor_id)
    return digests | ({run.spec.code} - {""})


def erase_model(tx: Tx, project: str, model_id: str, actor_id: str) -> set[str]:
    """Remove a logged model, with the files that are kept under its id; digests of the blobs it held."""
    digests = tracking.forget(tx, project, model_id)
    links.forget_model(tx, project, model_id)
    models.forget(tx, project, model_id)
    tx.emit("logged_model.erased", project, model_id, actor_id)
    return digests


def erase_experiment(
    tx: Tx, project: str, experiment_id: str, forgetters: Iterable[Forgetter], actor_id: str
) -> set[str]:
    """Remove an experiment that has no runs any more, with its logged models; digests of the blobs they held."""
    digests = {digest for forget in forgetters for digest in forget(tx, project, experiment_id)}
    for model_id in models.ids_of(tx.connection, project, experiment_id):
        digests |= erase_model(tx, project, model_id, actor_id)
    experiments.forget(tx, project, int(experiment_id))
    tx.emit("experiment.erased", project, experiment_id, actor_id)
    return digests


def runs_of(connection: Connection, project: str, experiment_id: str, limit: int) -> list[Run]:
    """The first runs of an experiment, deleted or not."""
    t = RUNS.table
    query = select(t.c.doc).where(t.c.project == project, t.c.experiment_id == experiment_id).limit(limit)
    return [msgspec.json.decode(row.doc, type=Run) for row in connection.execute(query)]


def projects_with_deleted(connection: Connection) -> list[str]:
    """Projects that have anything that was deleted and not erased yet."""
    found: set[str] = set()
    for table in (RUNS.table, experiments.experiments, models.models):
        deleted = table.c.lifecycle == Lifecycle.DELETED.value
        found.update(connection.execute(select(table.c.project).where(deleted).distinct()).scalars())
    return sorted(found)


def runs_deleted_before(connection: Connection, project: str, before_us: int, limit: int) -> list[Run]:
    """Runs of a project that were deleted before a time."""
    t = RUNS.table
    deleted = (t.c.lifecycle == Lifecycle.DELETED.value, t.c.project == project, t.c.deleted_us < before_us)
    query = select(t.c.doc).where(*deleted).order_by(t.c.deleted_us).limit(limit)
    return [msgspec.json.decode(row.doc, type=Run) for row in connection.execute(query)]


def half_deleted(connection: Connection, project: str) -> list[str]:
    """Deleted experiments that still have active runs: their deletion was cut off."""
    t, e = RUNS.table, experiments.experiments
    deleted = select(e.c.number).where(e.c.project == project, e.c.lifecycle == Lifecycle.DELETED.value)
    found = []
    for number in connection.execute(deleted).scalars().all():
        here = (t.c.project == project, t.c.experiment_id == str(number), t.c.lifecycle == Lifecycle.ACTIVE.value)
        if connection.execute(select(t.c.key).where(*here).limit(1)).first() is not None:
            found.append(str(number))
    return found
