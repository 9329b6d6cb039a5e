"""Use cases of scorers: register a version, look, list, delete. What a scorer says it does is kept and never run here."""

from sill.core.actors import Actor
from sill.core.clock import Ids
from sill.core.errors import InvalidValue, NotFound, Refused
from sill.core.names import shorten
from sill.governance.rules import require
from sill.runs.experiments import rules as experiment_rules
from sill.runs.experiments import store as experiments
from sill.runs.tracing.types import Scorer
from sill.safety import strict_json
from sill.stores.database import Connection, Database, Documents, Tx

NAME_LENGTH_MAX = 250
TEXT_LENGTH_MAX = 1_000_000
VERSIONS_MAX = 10_000
"""Of all scorers of one experiment."""
SCORERS: Documents[Scorer] = Documents(
    "trace_scorers", Scorer, key="id", columns=("experiment_id", "name"), noun="scorer"
)


class Scorers:
    """Scorers of all projects."""

    def __init__(self, database: Database, ids: Ids) -> None:
        self._database = database
        self._ids = ids

    async def register(self, actor: Actor, project: str, experiment_id: str, name: str, serialized: str) -> Scorer:
        """Keep another version of the scorer, or its first.

        Raises:
            InvalidValue: the name is none, or the description is no JSON.
            NotFound: there is no such experiment.
        """
        require(actor, "runs:write", project)
        _check(name, serialized)
        version_id, scorer_id = self._ids.new("sv"), self._ids.new("sc")

        def work(tx: Tx) -> Scorer:
            experiments.ensure_default(tx, project, actor.id)
            experiment_rules.check_active(experiments.get(tx.connection, project, experiment_id))
            if SCORERS.count(tx.connection, project, experiment_id=experiment_id) >= VERSIONS_MAX:
                raise Refused(f"experiment {experiment_id} has {VERSIONS_MAX} versions of scorers.", fix="Delete some.")
            known = _versions(tx.connection, project, experiment_id, name)
            made = Scorer(
                id=version_id,
                project=project,
                scorer_id=known[-1].scorer_id if known else scorer_id,
                experiment_id=experiment_id,
                name=name,
                version=known[-1].version + 1 if known else 1,
                serialized=serialized,
                created_us=tx.now_us,
            )
            tx.emit("scorer.registered", project, made.scorer_id, actor.id, name=name, version=made.version)
            return SCORERS.create(tx, made)

        return await self._database.write(work)

    async def newest(self, actor: Actor, project: str, experiment_id: str) -> tuple[Scorer, ...]:
        """The newest version of each scorer of an experiment, by name."""
        require(actor, "runs:read", project)

        def work(connection: Connection) -> tuple[Scorer, ...]:
            experiments.get(connection, project, experiment_id)
            every = SCORERS.every(connection, project, experiment_id=experiment_id)
            newest = {scorer.name: scorer for scorer in sorted(every, key=lambda one: one.version)}
            return tuple(newest[name] for name in sorted(newest))

        return await self._database.read(work)

    async def versions(self, actor: Actor, project: str, experiment_id: str, name: str) -> tuple[Scorer, ...]:
        """All versions of a scorer, the oldest first."""
        require(actor, "runs:read", project)
        return await self._database.read(lambda c: tuple(_known(c, project, experiment_id, name)))

    async def get(self, actor: Actor, project: str, experiment_id: str, name: str, version: int | None) -> Scorer:
        """A version of a scorer; the newest if none is named."""
        require(actor, "runs:read", project)
        return await self._database.read(lambda c: _known(c, project, experiment_id, name, version)[-1])

    async def delete(self, actor: Actor, project: str, experiment_id: str, name: str, version: int | None) -> None:
        """Delete a version of a scorer; all of them if none is named."""
        require(actor, "runs:write", project)

        def work(tx: Tx) -> None:
            known = _known(tx.connection, project, experiment_id, name, version)
            for scorer in known:
                SCORERS.delete(tx, project, scorer.id)
            tx.emit("scorer.deleted", project, known[0].scorer_id, actor.id, name=name, versions=len(known))

        await self._database.write(work)


def forget_experiment(tx: Tx, project: str, experiment_id: str) -> set[str]:
    """Remove the scorers of an experiment that is gone. No blobs were held."""
    for scorer in SCORERS.every(tx.connection, project, experiment_id=experiment_id):
        SCORERS.delete(tx, project, scorer.id)
    return set()


def _check(name: str, serialized: str) -> None:
    if not 0 < len(name) <= NAME_LENGTH_MAX or not name.isprintable():
        raise InvalidValue(
            f"scorer name {shorten(name)!r} is not allowed: 1 to {NAME_LENGTH_MAX} printable characters are.",
            field="name",
        )
    if len(serialized) > TEXT_LENGTH_MAX:
        raise InvalidValue(
            f"a scorer's description has at most {TEXT_LENGTH_MAX} characters.", field="serialized_scorer"
        )
    strict_json.decode_any(serialized.encode())


def _versions(connection: Connection, project: str, experiment_id: str, name: str) -> list[Scorer]:
    found = SCORERS.every(connection, project, experiment_id=experiment_id, name=name)
    return sorted(found, key=lambda scorer: scorer.version)


def _known(
    connection: Connection, project: str, experiment_id: str, name: str, version: int | None = None
) -> list[Scorer]:
    """The versions of a scorer, or the one.

    Raises:
        NotFound: there is none.
    """
    found = _versions(connection, project, experiment_id, name)
    if version is not None:
        found = [scorer for scorer in found if scorer.version == version]
    if not found:
        which = "" if version is None else f" and version {version}"
        raise NotFound(f"Scorer with name {shorten(name)!r}{which} not found for experiment {shorten(experiment_id)}.")
    return found
