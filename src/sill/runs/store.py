"""Queries on runs: those that wait or run, a run with all under it, and what deletion and tags change."""

from collections.abc import Sequence

import msgspec
from sqlalchemy import Connection, Index, select

from sill.core.errors import InvalidValue, NotFound
from sill.runs import described, rules
from sill.runs.experiments import store as experiments
from sill.runs.experiments.rules import artifact_uri
from sill.runs.experiments.rules import check_active as check_experiment_active
from sill.runs.tracking import store as tracking
from sill.runs.types import Batch, Lifecycle, Provenance, Run, RunSpec, RunState
from sill.stores.database import Documents, Tx

RUNS: Documents[Run] = Documents(
    "runs",
    Run,
    key="id",
    columns=("state", "experiment", "kind", "parent_id"),
    plain=("experiment_id", "lifecycle", "name", "user", "started_us", "ended_us", "deleted_us"),
)
TREE_MAX = 10_000
_SCHEDULED = Index("runs_scheduled", RUNS.table.c.state, RUNS.table.c.kind)
_LISTED = Index(
    "runs_listed",
    *(RUNS.table.c[name] for name in ("project", "experiment_id", "lifecycle", "started_us", "key")),
)
_DELETED = Index("runs_deleted", RUNS.table.c.lifecycle, RUNS.table.c.project, RUNS.table.c.deleted_us)


def active(connection: Connection) -> list[Run]:
    """All runs that wait or run on an engine of ours, of all projects. For workers."""
    return RUNS.every(connection, state=(RunState.QUEUED, RunState.RUNNING), kind=rules.KINDS)


def running(connection: Connection) -> list[Run]:
    """All runs that run on an engine of ours, of all projects. For workers."""
    return RUNS.every(connection, state=RunState.RUNNING, kind=rules.KINDS)


def ended_well(connection: Connection, limit: int) -> list[Run]:
    """The last runs on an engine of ours that finished, of all projects, the oldest first. For workers."""
    t = RUNS.table
    query = select(t.c.project, t.c.key).where(t.c.state == RunState.FINISHED.value, t.c.kind.in_(rules.KINDS))
    rows = connection.execute(query.order_by(t.c.ended_us.desc()).limit(limit)).all()
    found = (RUNS.find(connection, row.project, row.key) for row in reversed(rows))
    return [run for run in found if run is not None]


def ended_since(connection: Connection, since_us: int, limit: int) -> list[Run]:
    """Runs on an engine of ours that were over since then, of all projects, the newest `limit` of them. For workers."""
    t = RUNS.table
    states = [RunState.FINISHED.value, RunState.FAILED.value, RunState.CANCELLED.value]
    query = select(t.c.project, t.c.key).where(
        t.c.state.in_(states), t.c.kind.in_(rules.KINDS), t.c.ended_us >= since_us
    )
    rows = connection.execute(query.order_by(t.c.ended_us.desc()).limit(limit)).all()
    return list(RUNS.find_many(connection, [(row.project, row.key) for row in rows]).values())


def submit(tx: Tx, actor_id: str, project: str, run_id: str, spec: RunSpec) -> Run:
    """Keep a new run that waits.

    Raises:
        NotFound: its parent is not in the project.
    """
    return submit_many(tx, actor_id, project, [(run_id, spec)])[0]


def submit_many(tx: Tx, actor_id: str, project: str, wanted: Sequence[tuple[str, RunSpec]]) -> list[Run]:
    """Keep new runs that wait, by id.

    Raises:
        NotFound: a parent is not in the project.
    """
    known: dict[str, tuple[str, str]] = {}
    runs = RUNS.create_many(tx, [new_run(tx, actor_id, project, run_id, spec, known) for run_id, spec in wanted])
    for run in runs:
        if run.spec.params or run.spec.tags:
            tracking.log(tx, project, run.id, Batch(params=run.spec.params, tags=run.spec.tags))
        tx.emit("run.submitted", project, run.id, actor_id, **facts(run))
    return runs


def new_run(
    tx: Tx, actor_id: str, project: str, run_id: str, spec: RunSpec, known: dict[str, tuple[str, str]] | None = None
) -> Run:
    """A run as it is before anything happened to it.

    Args:
        known: ids and artifact locations of experiments, by name, that were looked up in this transaction.
    """
    if spec.parent_id:
        RUNS.get(tx.connection, project, spec.parent_id)
    places = {} if known is None else known
    if spec.experiment not in places:
        places[spec.experiment] = experiments.place(tx, project, spec.experiment, actor_id)
    experiment_id, location = places[spec.experiment]
    return Run(
        id=run_id,
        project=project,
        spec=spec,
        state=RunState.QUEUED,
        kind=spec.kind,
        experiment=spec.experiment,
        parent_id=spec.parent_id,
        name=spec.name or rules.script_name(spec.command) or run_id,
        created_us=tx.now_us,
        start_by_us=tx.now_us + round(spec.start_by_s * 1e6) if spec.start_by_s else 0,
        deadline_us=tx.now_us + round(spec.deadline_s * 1e6) if spec.deadline_s else 0,
        actor=actor_id,
        provenance=Provenance(code=spec.code, seed=spec.seed),
        experiment_id=experiment_id,
        artifact_uri=artifact_uri(location, run_id),
    )


def facts(run: Run) -> dict[str, str]:
    """What events tell of a run."""
    return {"kind": run.kind, "training": rules.training_of(run.spec), "name": run.name}


def keep_ended(tx: Tx, run: Run, actor_id: str) -> Run:
    """Keep what a run became after an attempt or a cancellation, with its event; runs under a lost parent end with it."""
    kept = RUNS.replace(tx, run)
    _tell_ended(tx, run, actor_id)
    return kept


def keep_all_ended(tx: Tx, changes: Sequence[tuple[Run, Run]], actor_id: str) -> None:
    """`keep_ended` for many runs, each as it was read in this transaction and as it is to be kept."""
    RUNS.replace_many(tx, changes)
    for _, run in changes:
        _tell_ended(tx, run, actor_id)


def _tell_ended(tx: Tx, run: Run, actor_id: str) -> None:
    kind = "run.retried" if run.state is RunState.QUEUED else f"run.{run.state}"
    more = {"reason": run.reason, "attempt": run.attempt, "exit_code": run.exit_code}
    tx.emit(kind, run.project, run.id, actor_id, **facts(run), **more)
    if run.state in (RunState.FAILED, RunState.CANCELLED):
        for child in RUNS.every(tx.connection, run.project, parent_id=run.id):
            if not child.state.is_final and not child.is_stopping:
                cancel(tx, child, f"its parent {run.id}", actor_id)


def cancel(tx: Tx, run: Run, who: str, actor_id: str) -> Run:
    """Keep that a run was cancelled; one that runs is stopped by the watcher."""
    after = rules.cancelled(run, who, tx.now_us)
    if after.state is RunState.CANCELLED:
        return keep_ended(tx, after, actor_id)
    tx.emit("run.stopping", run.project, run.id, actor_id, **facts(run))
    return RUNS.replace(tx, after)


def retag(tx: Tx, run: Run, tags: dict[str, str]) -> Run:
    """Keep what new tags say of the run itself: name, user, parent. The tags themselves are the caller's to keep."""
    parent = tags.get(described.PARENT_TAG, "")
    has_parent = bool(parent) and RUNS.find(tx.connection, run.project, parent) is not None
    after = described.tagged(run, tags, has_parent)
    return run if after == run else RUNS.replace(tx, after)


def untag(tx: Tx, run: Run, key: str) -> Run:
    """Keep what the removal of a tag says of the run itself: it is under no other run any more."""
    return retag(tx, run, {key: ""}) if key == described.PARENT_TAG else run


def check_active(run: Run) -> Run:
    """The run itself, if it was not deleted; writes to one that was are refused.

    Raises:
        InvalidValue: it was.
    """
    if run.lifecycle is not Lifecycle.ACTIVE:
        raise InvalidValue(
            f"The run {run.id} must be in the 'active' state. Current state is {run.lifecycle}.",
            fix=f"Restore it: sill runs restore {run.id}.",
            field="run_id",
        )
    return run


def put_away(tx: Tx, run: Run, actor_id: str) -> Run:
    """Delete the run, so that it can be restored. What was deleted already stays so, from when it was.

    Raises:
        Conflict: it runs or waits on an engine of ours.
    """
    if run.lifecycle is Lifecycle.DELETED:
        return run
    rules.check_may_delete(run)
    tx.emit("run.deleted", run.project, run.id, actor_id, **facts(run))
    return RUNS.replace(tx, msgspec.structs.replace(run, lifecycle=Lifecycle.DELETED, deleted_us=tx.now_us))


def bring_back(tx: Tx, run: Run, actor_id: str) -> Run:
    """Restore the run, if it was deleted.

    Raises:
        InvalidValue: its experiment was deleted; that is to be restored first.
    """
    if run.lifecycle is Lifecycle.ACTIVE:
        return run
    check_experiment_active(experiments.get(tx.connection, run.project, run.experiment_id))
    tx.emit("run.restored", run.project, run.id, actor_id, **facts(run))
    return RUNS.replace(tx, msgspec.structs.replace(run, lifecycle=Lifecycle.ACTIVE, deleted_us=0))


def tree(connection: Connection, project: str, run_id: str) -> list[Run]:
    """The run and all runs under it.

    Raises:
        NotFound: there is no such run.
    """
    found = {run_id: RUNS.get(connection, project, run_id)}
    wave: tuple[str, ...] = (run_id,)
    while wave and len(found) < TREE_MAX:  # tags may say that runs are under each other in a circle
        children = {child.id: child for child in RUNS.every(connection, project, parent_id=wave)}
        wave = tuple(children.keys() - found.keys())
        found |= {child_id: children[child_id] for child_id in wave}
    return list(found.values())


def note_reasons(tx: Tx, reasons: dict[tuple[str, str], str]) -> None:
    """Keep why runs wait; no event, it is no change of the run."""
    found = RUNS.find_many(tx.connection, list(reasons))
    changes = [
        (run, msgspec.structs.replace(run, reason=reasons[key]))
        for key, run in found.items()
        if run.state is RunState.QUEUED and run.reason != reasons[key]
    ]
    RUNS.replace_many(tx, changes)


def check_exists(connection: Connection, project: str, run_id: str) -> Run:
    """The run.

    Raises:
        NotFound: absent, or another tenant's.
    """
    run = RUNS.find(connection, project, run_id)
    if run is None:
        raise NotFound(f"no run {run_id!r} in project {project!r}.", fix="List the runs of the project: `sill ps`.")
    return run
