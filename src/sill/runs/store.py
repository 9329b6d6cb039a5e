"""Queries on runs: those that wait or run, a run with all under it, and what still refers to a blob."""

from collections.abc import Iterable

import msgspec
from sqlalchemy import Connection, Index, func, or_, select

from sill.core.errors import Conflict, Limited, NotFound
from sill.runs import rules
from sill.runs.tracking import store as tracking
from sill.runs.types import Batch, Provenance, Run, RunSpec, RunState
from sill.stores.database import Documents, Tx, metadata

RUNS: Documents[Run] = Documents("runs", Run, key="id", columns=("state", "experiment", "kind", "parent_id"))
WAITING_MAX = 10_000
TREE_MAX = 10_000
REFERENCES_AT_ONCE = 50
_ACTIVE = Index("runs_active", RUNS.table.c.state)


def active(connection: Connection) -> list[Run]:
    """All runs that wait or run, of all projects. For workers."""
    return RUNS.every(connection, state=(RunState.QUEUED, RunState.RUNNING))


def running(connection: Connection) -> list[Run]:
    """All runs that run, of all projects. For workers."""
    return RUNS.every(connection, state=RunState.RUNNING)


def submit(tx: Tx, actor_id: str, project: str, run_id: str, spec: RunSpec) -> Run:
    """Keep a new run that waits.

    Raises:
        Limited: too many wait already.
        NotFound: its parent is not in the project.
    """
    t = RUNS.table
    waiting = tx.execute(select(func.count()).select_from(t).where(t.c.state == RunState.QUEUED.value)).scalar_one()
    if waiting >= WAITING_MAX:
        raise Limited(f"{waiting} runs wait already; at most {WAITING_MAX} may.", fix="Submit more when some are done.")
    run = new_run(tx, actor_id, project, run_id, spec)
    kept = RUNS.create(tx, run)
    tracking.log(tx, project, run_id, Batch(params=spec.params, tags=spec.tags))
    tx.emit("run.submitted", project, run_id, actor_id, **facts(kept))
    return kept


def new_run(tx: Tx, actor_id: str, project: str, run_id: str, spec: RunSpec) -> Run:
    """A run as it is before anything happened to it."""
    if spec.parent_id:
        RUNS.get(tx.connection, project, spec.parent_id)
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
        actor=actor_id,
        provenance=Provenance(code=spec.code, seed=spec.seed),
    )


def facts(run: Run) -> dict[str, str]:
    """What events tell of a run."""
    return {"kind": run.kind, "training": rules.training_of(run.spec), "name": run.name}


def keep_ended(tx: Tx, run: Run, actor_id: str) -> Run:
    """Keep what a run became after an attempt or a cancellation, with its event; runs under a lost parent end with it."""
    kept = RUNS.replace(tx, run)
    kind = "run.retried" if run.state is RunState.QUEUED else f"run.{run.state}"
    more = {"reason": run.reason, "attempt": run.attempt, "exit_code": run.exit_code}
    tx.emit(kind, run.project, run.id, actor_id, **facts(run), **more)
    if run.state in (RunState.FAILED, RunState.CANCELLED):
        for child in RUNS.every(tx.connection, run.project, parent_id=run.id):
            if not child.state.is_final and not child.is_stopping:
                cancel(tx, child, f"its parent {run.id}", actor_id)
    return kept


def cancel(tx: Tx, run: Run, who: str, actor_id: str) -> Run:
    """Keep that a run was cancelled; one that runs is stopped by the watcher."""
    after = rules.cancelled(run, who, tx.now_us)
    if after.state is RunState.CANCELLED:
        return keep_ended(tx, after, actor_id)
    tx.emit("run.stopping", run.project, run.id, actor_id, **facts(run))
    return RUNS.replace(tx, after)


def tree(connection: Connection, project: str, run_id: str) -> list[Run]:
    """The run and all runs under it.

    Raises:
        NotFound: there is no such run.
    """
    found = [RUNS.get(connection, project, run_id)]
    wave: tuple[str, ...] = (run_id,)
    while wave and len(found) < TREE_MAX:
        children = RUNS.every(connection, project, parent_id=wave)
        found += children
        wave = tuple(child.id for child in children)
    return found


def delete(tx: Tx, runs: Iterable[Run], actor_id: str) -> set[str]:
    """Remove runs and all they logged; digests of their artifacts.

    Raises:
        Conflict: one is not over yet.
    """
    digests: set[str] = set()
    for run in runs:
        current = RUNS.find(tx.connection, run.project, run.id)
        if current is None:
            continue
        if not current.state.is_final:
            raise Conflict(
                f"run {run.id} is {current.state}; only runs that are over can be deleted.", fix="Cancel it."
            )
        digests |= tracking.forget(tx, run.project, run.id)
        RUNS.delete(tx, run.project, run.id)
        tx.emit("run.deleted", run.project, run.id, actor_id)
    return digests


def unused(connection: Connection, digests: set[str]) -> set[str]:
    """Those of the digests that nothing in the database refers to: no artifact, no value of any stage.

    Values are kept as JSON in a column `doc`, so that one search finds the references of all stages, also of those
    this one does not know.
    """
    left = digests - tracking.used_digests(connection, digests)
    for table in metadata.tables.values():
        if "doc" not in table.c or not left or table.info.get("refers_to_blobs") is False:
            continue
        for some in _groups(sorted(left)):
            matches = or_(*(table.c.doc.contains(digest) for digest in some))
            for row in connection.execute(select(table.c.doc).where(matches)):
                left -= {digest for digest in some if digest in row.doc}
    return left


def note_reasons(tx: Tx, reasons: dict[tuple[str, str], str]) -> None:
    """Keep why runs wait; no event, it is no change of the run."""
    for (project, run_id), reason in reasons.items():
        run = RUNS.find(tx.connection, project, run_id)
        if run is not None and run.state is RunState.QUEUED and run.reason != reason:
            RUNS.replace(tx, msgspec.structs.replace(run, reason=reason))


def check_exists(connection: Connection, project: str, run_id: str) -> Run:
    """The run.

    Raises:
        NotFound: absent, or another tenant's.
    """
    run = RUNS.find(connection, project, run_id)
    if run is None:
        raise NotFound(f"no run {run_id!r} in project {project!r}.", fix="List the runs of the project: `sill ps`.")
    return run


def _groups(items: list[str]) -> Iterable[list[str]]:
    return (items[at : at + REFERENCES_AT_ONCE] for at in range(0, len(items), REFERENCES_AT_ONCE))
