"""What people are shown of the scheduler: how all stands, and what a shadow policy would have done."""

import msgspec

from sill.core.actors import ANY, Actor
from sill.core.errors import NotFound
from sill.governance.rules import require
from sill.queues.service import visible
from sill.runs.board import Board
from sill.runs.store import RUNS
from sill.runs.types import Waiting
from sill.scheduler.simulation.types import ShadowReport
from sill.scheduler.types import Standing
from sill.stores.database import Database

WAITING_SHOWN = 20


class Overview:
    """Looks at the board, and changes nothing."""

    def __init__(self, board: Board, database: Database) -> None:
        self._board = board
        self._database = database

    async def standing(self, actor: Actor) -> Standing:
        """How the cluster and its queues stand; of other tenants' queues nothing is shown."""
        require(actor, "queues:read")
        await self._board.refresh()
        found = self._board.standing()
        if ANY in actor.projects:
            return found
        seen = {queue.name for queue in visible(actor, self._board.declared)}
        seen |= {self._board.queue_of(project) for project in actor.projects}
        return msgspec.structs.replace(found, queues=tuple(queue for queue in found.queues if queue.name in seen))

    async def waiting(self, actor: Actor) -> tuple[Waiting, ...]:
        """The runs of the actor's projects that have waited longest, and why each waits."""
        require(actor, "queues:read")
        require(actor, "runs:read")
        await self._board.refresh()
        board = self._board
        jobs = board.scheduler.longest_waiting(WAITING_SHOWN, lambda name: actor.may_touch(board.project_of(name)))
        reasons = {(board.project_of(job.id), job.id): (job.queue, board.reason(job.id)) for job in jobs}
        runs = await self._database.read(lambda connection: RUNS.find_many(connection, list(reasons)))
        return tuple(
            Waiting(
                project=run.project,
                run_id=run.id,
                name=run.name,
                queue=queue,
                created_us=run.created_us,
                resources=run.spec.resources,
                reason=reason,
            )
            for key, (queue, reason) in reasons.items()
            if (run := runs.get(key)) is not None
        )

    async def shadow(self, actor: Actor) -> ShadowReport:
        """What the shadow policy would have done.

        Raises:
            NotFound: there is none.
        """
        require(actor, "queues:read")
        if ANY not in actor.projects or self._board.shadow is None:
            raise NotFound(
                "no policy runs in shadow.", fix="Set SILL_SHADOW_POLICY to one, and start the platform again."
            )
        return self._board.shadow.report()
