"""Tables of experiments and their tags. Ids count up within a project and are never given twice."""

from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Index,
    Row,
    Table,
    Text,
    bindparam,
    delete,
    func,
    insert,
    select,
    update,
)

from sill.core.errors import Conflict, NotFound, Refused
from sill.core.names import shorten
from sill.runs.experiments import rules
from sill.runs.experiments.types import DEFAULT_ID, DEFAULT_NAME, Experiment
from sill.runs.types import Lifecycle
from sill.stores.database import Tx, metadata
from sill.stores.database.schema import key_type

BEFORE_US = 1_000
"""The default experiment is older than the one whose making made it, so that lists by age have it last."""

experiments = Table(
    "experiments",
    metadata,
    Column("project", key_type(100), primary_key=True),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("name", key_type(rules.NAME_LENGTH_MAX), nullable=False),
    Column("artifact_location", Text, nullable=False),
    Column("lifecycle", key_type(20), nullable=False),
    Column("created_us", BigInteger, nullable=False),
    Column("updated_us", BigInteger, nullable=False),
    Column("deleted_us", BigInteger, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Index("experiments_name", "project", "name", unique=True),
)
experiment_tags = Table(
    "experiment_tags",
    metadata,
    Column("project", key_type(100), primary_key=True),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("key", key_type(250), primary_key=True),
    Column("value", Text, nullable=False),
)
counters = Table(
    "experiment_counters",
    metadata,
    Column("project", key_type(100), primary_key=True),
    Column("last", BigInteger, nullable=False),
)
"""The highest id each project has given so far, so that one that is gone does not come back as another experiment."""
_PLACE = select(experiments.c.number, experiments.c.artifact_location, experiments.c.lifecycle).where(
    experiments.c.project == bindparam("of"), experiments.c.name == bindparam("named")
)
"""Made once: to put a statement together takes longer than to run it."""


def find(connection: Connection, project: str, number: int) -> Experiment | None:
    """The experiment of that id, deleted or not, or None."""
    t = experiments
    row = connection.execute(select(t).where(t.c.project == project, t.c.number == number)).first()
    return None if row is None else read(connection, project, [row])[0]


def get(connection: Connection, project: str, experiment_id: str) -> Experiment:
    """The experiment of that id, deleted or not.

    Raises:
        InvalidValue: the id is no number.
        NotFound: there is none.
    """
    found = find(connection, project, rules.check_experiment_id(experiment_id))
    if found is None:
        raise NotFound(
            f"No Experiment with id={experiment_id} exists in project {project!r}.",
            fix="List the experiments of the project.",
            field="experiment_id",
        )
    return found


def find_by_name(connection: Connection, project: str, name: str) -> Experiment | None:
    """The experiment of that name, deleted or not, or None."""
    t = experiments
    query = select(t).where(t.c.project == project, t.c.name == rules.canonical(name))
    row = connection.execute(query).first()
    return None if row is None else read(connection, project, [row])[0]


def read(connection: Connection, project: str, rows: list[Row[Any]]) -> list[Experiment]:
    """The experiments that the rows stand for, with their tags."""
    t = experiment_tags
    tags: dict[int, dict[str, str]] = {row.number: {} for row in rows}
    query = select(t.c.number, t.c.key, t.c.value).where(t.c.project == project, t.c.number.in_(tags))
    for tag in connection.execute(query.order_by(t.c.key)):
        tags[tag.number][tag.key] = tag.value
    return [
        Experiment(
            id=str(row.number),
            project=project,
            name=row.name,
            artifact_location=row.artifact_location,
            tags=tags[row.number],
            lifecycle=Lifecycle(row.lifecycle),
            created_us=row.created_us,
            updated_us=row.updated_us,
            deleted_us=row.deleted_us,
            revision=row.revision,
        )
        for row in rows
    ]


def has_default(connection: Connection, project: str) -> bool:
    """True once the project's first experiment was made."""
    t = counters
    return connection.execute(select(t.c.last).where(t.c.project == project)).first() is not None


def ensure_default(tx: Tx, project: str, actor_id: str) -> None:
    """Make the experiment "0", if the project never had one."""
    if not has_default(tx.connection, project):
        tx.execute(insert(counters).values(project=project, last=0))
        _insert(tx, project, 0, DEFAULT_NAME, rules.default_location(DEFAULT_ID), {}, actor_id, tx.now_us - BEFORE_US)


def create(tx: Tx, project: str, name: str, location: str, tags: dict[str, str], actor_id: str) -> Experiment:
    """Keep a new experiment.

    Raises:
        Conflict: the name is taken, by one that was deleted perhaps.
        Refused: the project has too many.
    """
    ensure_default(tx, project, actor_id)
    _check_free(tx.connection, project, name)
    t = experiments
    count = tx.execute(select(func.count()).select_from(t).where(t.c.project == project)).scalar_one()
    if count >= rules.EXPERIMENTS_MAX:
        raise Refused(
            f"project {project!r} has {count} experiments; at most {rules.EXPERIMENTS_MAX} are kept.",
            fix="Delete some for good.",
        )
    number = tx.execute(select(counters.c.last).where(counters.c.project == project)).scalar_one() + 1
    tx.execute(update(counters).where(counters.c.project == project).values(last=number))
    place = location or rules.default_location(str(number))
    return _insert(tx, project, number, name, place, tags, actor_id, tx.now_us)


def ensure(tx: Tx, project: str, name: str, actor_id: str) -> Experiment:
    """The experiment that runs of ours name; it is made if there is none.

    Raises:
        InvalidValue: it was deleted.
    """
    ensure_default(tx, project, actor_id)
    found = find_by_name(tx.connection, project, name)
    return rules.check_active(found) if found else create(tx, project, name, "", {}, actor_id)


def place(tx: Tx, project: str, name: str, actor_id: str) -> tuple[str, str]:
    """Id and artifact location of the experiment that runs of ours name: `ensure`, in one look where it is there.

    Raises:
        InvalidValue: it was deleted.
    """
    row = tx.execute(_PLACE, {"of": project, "named": rules.canonical(name)}).first()
    if row is not None and row.lifecycle == Lifecycle.ACTIVE.value:
        return str(row.number), row.artifact_location
    found = ensure(tx, project, name, actor_id)
    return found.id, found.artifact_location


def change(tx: Tx, experiment: Experiment, **fields: Any) -> Experiment:
    """Keep changed fields, one revision further."""
    t = experiments
    here = (t.c.project == experiment.project) & (t.c.number == int(experiment.id))
    tx.execute(update(t).where(here).values(**fields, updated_us=tx.now_us, revision=experiment.revision + 1))
    return get(tx.connection, experiment.project, experiment.id)


def rename(tx: Tx, experiment: Experiment, name: str) -> Experiment:
    """Keep another name.

    Raises:
        Conflict: it is taken.
    """
    if name != experiment.name:
        _check_free(tx.connection, experiment.project, name)
    return change(tx, experiment, name=name)


def set_tags(tx: Tx, experiment: Experiment, tags: dict[str, str]) -> None:
    """Keep tags, new or changed."""
    t = experiment_tags
    here = (t.c.project == experiment.project) & (t.c.number == int(experiment.id))
    tx.execute(delete(t).where(here, t.c.key.in_(tags)))
    rows = [
        {"project": experiment.project, "number": int(experiment.id), "key": key, "value": value}
        for key, value in tags.items()
    ]
    if rows:
        tx.execute(insert(t), rows)


def delete_tag(tx: Tx, experiment: Experiment, key: str) -> None:
    """Remove a tag.

    Raises:
        NotFound: there is none of that key.
    """
    t = experiment_tags
    here = (t.c.project == experiment.project) & (t.c.number == int(experiment.id))
    if tx.execute(delete(t).where(here, t.c.key == key)).rowcount == 0:
        raise NotFound(
            f"No tag with name: {shorten(key)} in experiment with id {experiment.id}.",
            fix="Look at the experiment's tags.",
        )


def forget(tx: Tx, project: str, number: int) -> None:
    """Remove the experiment itself."""
    for table in (experiments, experiment_tags):
        tx.execute(delete(table).where(table.c.project == project, table.c.number == number))


def deleted_before(connection: Connection, project: str, before_us: int) -> list[int]:
    """Experiments of a project that were deleted before a time."""
    t = experiments
    query = select(t.c.number).where(
        t.c.project == project, t.c.lifecycle == Lifecycle.DELETED.value, t.c.deleted_us < before_us
    )
    return [row.number for row in connection.execute(query.order_by(t.c.number))]


def _insert(
    tx: Tx, project: str, number: int, name: str, location: str, tags: dict[str, str], actor_id: str, at_us: int
) -> Experiment:
    row = {"artifact_location": location, "lifecycle": Lifecycle.ACTIVE.value, "deleted_us": 0, "revision": 1}
    times = {"created_us": at_us, "updated_us": at_us}
    tx.execute(insert(experiments).values(project=project, number=number, name=name, **row, **times))
    made = get(tx.connection, project, str(number))
    set_tags(tx, made, tags)
    tx.emit("experiment.created", project, str(number), actor_id, name=name)
    return get(tx.connection, project, str(number))


def _check_free(connection: Connection, project: str, name: str) -> None:
    taken = find_by_name(connection, project, name)
    if taken is None:
        return
    is_deleted = taken.lifecycle is Lifecycle.DELETED
    state = f" in deleted state: id {taken.id}" if is_deleted else ""
    raise Conflict(
        f"Experiment(name={shorten(name)}) already exists{state}.",
        fix=f"Restore it, or delete it for good: sill experiments delete {taken.id} --now."
        if is_deleted
        else "Use it.",
        field="name",
        experiment_id=taken.id,
    )
