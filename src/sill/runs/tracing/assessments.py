"""Use cases of assessments: say something of a trace, look, change, delete."""

from sqlalchemy import Connection

from sill.core.actors import Actor
from sill.core.clock import Clock, Ids
from sill.core.errors import InvalidValue
from sill.governance.rules import require
from sill.runs.tracing import assessing, store
from sill.runs.tracing.types import Assessment, AssessmentChange
from sill.stores.database import Database, Tx


class Assessments:
    """Assessments of traces, of all projects."""

    def __init__(self, database: Database, clock: Clock, ids: Ids) -> None:
        self._database = database
        self._clock = clock
        self._ids = ids

    async def log(self, actor: Actor, project: str, assessment: Assessment) -> Assessment:
        """Keep what somebody says of a trace.

        Raises:
            NotFound: the trace, or the assessment it overrides, is not there.
        """
        require(actor, "runs:write", project)
        said = assessing.named(
            self._ids, assessing.check(assessment), assessment.trace_id, self._clock.now_us() // 1_000
        )

        def work(tx: Tx) -> Assessment:
            trace = store.get(tx.connection, project, said.trace_id).trace
            if len(trace.assessments) >= assessing.PER_TRACE_MAX:
                raise InvalidValue(f"a trace has at most {assessing.PER_TRACE_MAX} assessments.", fix="Delete some.")
            kept = assessing.put(tx, trace, said)
            tx.emit("assessment.logged", project, trace.id, actor.id, id=said.id, name=said.name, kind=str(said.kind))
            return kept

        return await self._database.write(work)

    async def get(self, actor: Actor, project: str, trace_id: str, assessment_id: str) -> Assessment:
        """One assessment."""
        require(actor, "runs:read", project)

        def work(connection: Connection) -> Assessment:
            store.get(connection, project, trace_id)
            return assessing.get(connection, project, trace_id, assessment_id)

        return await self._database.read(work)

    async def change(
        self, actor: Actor, project: str, trace_id: str, assessment_id: str, change: AssessmentChange
    ) -> Assessment:
        """Change an assessment; its source and its span stay."""
        require(actor, "runs:write", project)

        def work(tx: Tx) -> Assessment:
            trace = store.get(tx.connection, project, trace_id).trace
            known = assessing.get(tx.connection, project, trace_id, assessment_id)
            kept = assessing.put(tx, trace, assessing.changed(known, change, tx.now_us // 1_000))
            tx.emit("assessment.changed", project, trace_id, actor.id, id=kept.id, name=kept.name)
            return kept

        return await self._database.write(work)

    async def delete(self, actor: Actor, project: str, trace_id: str, assessment_id: str) -> None:
        """Delete an assessment; one that is gone already is no error."""
        require(actor, "runs:write", project)

        def work(tx: Tx) -> None:
            store.get(tx.connection, project, trace_id)
            known = assessing.find(tx.connection, project, trace_id, assessment_id)
            if known is not None:
                assessing.remove(tx, project, known)
                tx.emit("assessment.deleted", project, trace_id, actor.id, id=known.id, name=known.name)

        await self._database.write(work)
