"""Use cases of issues: note one, look, search, change."""

import msgspec
from sqlalchemy import Connection, select

from sill.core.actors import Actor
from sill.core.clock import Ids
from sill.core.errors import InvalidValue
from sill.core.names import shorten
from sill.governance.rules import require
from sill.runs.experiments import store as experiments
from sill.runs.tracing.pages import read_place, write_place
from sill.runs.tracing.types import Issue, IssueChange, IssueSpec
from sill.runs.tracking.compare import compare
from sill.runs.tracking.filters import Entity, Fields, Key, parse_filter
from sill.stores.database import Database, Documents, Page, Tx

NAME_LENGTH_MAX = 1_000
TEXT_LENGTH_MAX = 100_000
LISTED_MAX = 100
LIMIT_MAX = 1_000
ISSUES: Documents[Issue] = Documents(
    "trace_issues", Issue, key="id", columns=("experiment_id", "status", "source_run_id"), noun="issue"
)
_KEYS = {name: Key(name, is_ordered=False) for name in ("status", "source_run_id")}
FIELDS = Fields((Entity("attribute", frozenset({"attribute"}), _KEYS, operators=frozenset({"=", "!="})),))


class Issues:
    """Issues of all projects."""

    def __init__(self, database: Database, ids: Ids) -> None:
        self._database = database
        self._ids = ids

    async def create(self, actor: Actor, project: str, spec: IssueSpec) -> Issue:
        """Note an issue.

        Raises:
            NotFound: there is no such experiment.
        """
        require(actor, "runs:write", project)
        check(spec)
        issue_id = self._ids.new("iss")

        def work(tx: Tx) -> Issue:
            experiments.ensure_default(tx, project, actor.id)
            experiments.get(tx.connection, project, spec.experiment_id)
            made = _issue(issue_id, project, spec, tx.now_us, tx.now_us)
            tx.emit("issue.created", project, issue_id, actor.id, name=spec.name, experiment_id=spec.experiment_id)
            return ISSUES.create(tx, made)

        return await self._database.write(work)

    async def get(self, actor: Actor, project: str, issue_id: str) -> Issue:
        """One issue."""
        require(actor, "runs:read", project)
        return await self._database.read(lambda connection: ISSUES.get(connection, project, issue_id))

    async def change(self, actor: Actor, project: str, issue_id: str, change: IssueChange) -> Issue:
        """Change an issue."""
        require(actor, "runs:write", project)
        given = {name: value for name, value in msgspec.structs.asdict(change).items() if value is not None}

        def work(tx: Tx) -> Issue:
            known = ISSUES.get(tx.connection, project, issue_id)
            spec = check(msgspec.structs.replace(known.spec, **given))
            fresh = _issue(issue_id, project, spec, known.created_us, tx.now_us)
            tx.emit("issue.changed", project, issue_id, actor.id, status=spec.status.value)
            return ISSUES.replace(tx, msgspec.structs.replace(fresh, revision=known.revision))

        return await self._database.write(work)

    async def search(
        self,
        actor: Actor,
        project: str,
        *,
        experiment_id: str = "",
        filter: str = "",
        limit: int = 100,
        after: str = "",
    ) -> Page[Issue]:
        """Issues that a filter on `status` and `source_run_id` matches, the newest first; of all experiments if none is named."""
        require(actor, "runs:read", project)
        if not 1 <= limit <= LIMIT_MAX:
            raise InvalidValue(f"limit {limit} is not within 1 to {LIMIT_MAX}.", field="max_results")
        offset = read_place(after)
        t = ISSUES.table
        conditions = [compare(t.c[clause.key], clause) for clause in parse_filter(filter, FIELDS)]
        if experiment_id:
            conditions.append(t.c.experiment_id == experiment_id)
        query = select(t.c.doc).where(t.c.project == project, *conditions).order_by(t.c.key.desc())

        def work(connection: Connection) -> Page[Issue]:
            rows = connection.execute(query.limit(limit + 1).offset(offset)).scalars().all()
            found = tuple(msgspec.json.decode(doc, type=Issue) for doc in rows[:limit])
            return Page(items=found, next=write_place(offset + limit) if len(rows) > limit else "")

        return await self._database.read(work)


def check(spec: IssueSpec) -> IssueSpec:
    """The issue itself, if it is allowed.

    Raises:
        InvalidValue: a text is empty or too long, or there are too many.
    """
    if not 0 < len(spec.name) <= NAME_LENGTH_MAX or not spec.name.isprintable():
        raise InvalidValue(
            f"issue name {shorten(spec.name)!r} is not allowed: 1 to {NAME_LENGTH_MAX} printable characters are.",
            field="name",
        )
    if len(spec.root_causes) + len(spec.categories) > LISTED_MAX:
        raise InvalidValue(f"an issue has at most {LISTED_MAX} causes and categories.", field="root_causes")
    for text in (spec.description, spec.source_run_id, spec.created_by, *spec.root_causes, *spec.categories):
        if len(text) > TEXT_LENGTH_MAX or "\0" in text:
            raise InvalidValue(
                f"a text of an issue has at most {TEXT_LENGTH_MAX} characters and no NUL.", field="description"
            )
    return spec


def forget_experiment(tx: Tx, project: str, experiment_id: str) -> set[str]:
    """Remove the issues of an experiment that is gone. No blobs were held."""
    for issue in ISSUES.every(tx.connection, project, experiment_id=experiment_id):
        ISSUES.delete(tx, project, issue.id)
    return set()


def _issue(issue_id: str, project: str, spec: IssueSpec, created_us: int, updated_us: int) -> Issue:
    return Issue(
        id=issue_id,
        project=project,
        spec=spec,
        experiment_id=spec.experiment_id,
        status=spec.status,
        source_run_id=spec.source_run_id,
        created_us=created_us,
        updated_us=updated_us,
    )
