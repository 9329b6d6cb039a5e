"""From declared sources into a table: read, unify, append. Exactly once for a key."""

import asyncio

from sill.core.actors import Actor
from sill.core.errors import InvalidValue
from sill.governance.rules import require
from sill.lake.service import Lake
from sill.lake.types import WriteReport
from sill.sources.service import Sources


class Ingestion:
    """Executes declared ingestions whose data comes from sources; those of a function run in the agent."""

    def __init__(self, sources: Sources, lake: Lake) -> None:
        self._sources = sources
        self._lake = lake

    async def execute(self, actor: Actor, project: str, name: str, key: str = "") -> WriteReport:
        """Read all sources of an ingestion and append them to its table.

        Raises:
            InvalidValue: the ingestion has a function instead of sources, or a source cannot be read.
            Refused: the table's quality gate refused the batch.
        """
        require(actor, "data:write", project)
        spec = await self._sources.ingestion(actor, project, name)
        if not spec.sources:
            raise InvalidValue(
                f"ingestion {name!r} has no sources; it runs function {spec.function!r}.", fix="Start it as a run."
            )
        data = await asyncio.to_thread(self._sources.gather, actor, project, spec)
        return await self._lake.append(actor, project, spec.table, data, key=key, source=name)
