"""Takes what the engine's gauges said of running runs into their metrics, under the names MLflow gives system metrics."""

import asyncio
from collections.abc import Sequence

from sqlalchemy import Connection

from sill.core.errors import InvalidValue
from sill.engines.types import Engine, Sample
from sill.runs.tracking import store as tracking
from sill.runs.tracking.rules import check_batch
from sill.runs.types import Batch, Metric, Run
from sill.stores.database import Database, Tx

PREFIX = "system/"
EVERY_S = 5.0
"""How often running runs are looked at."""
SAMPLES_MAX = 50
"""Most samples of one run that are taken at a time; the rest comes with the next look."""


class SystemMetrics:
    """How far the samples of each attempt were taken. That is known in memory only: after a restart, what the run's metrics
    hold already is left out by its time."""

    def __init__(self, database: Database, engine: Engine) -> None:
        self._database = database
        self._engine = engine
        self._places: dict[str, int] = {}

    async def collect(self, running: Sequence[Run]) -> None:
        """Keep what is new, of all runs in one commit."""
        taken = await asyncio.to_thread(lambda: [(run, *self._read(run)) for run in running])
        new = [(run, samples, place) for run, samples, place in taken if samples]
        if new:
            await self._database.write(lambda tx: self._keep(tx, new))
            self._places |= {run.handle: place for run, _, place in new}
        self._places = {run.handle: self._places[run.handle] for run in running if run.handle in self._places}

    async def finish(self, run: Run) -> None:
        """Keep what is left of an attempt that is over."""
        before = -1
        while self._places.get(run.handle, 0) != before:
            before = self._places.get(run.handle, 0)
            samples, place = await asyncio.to_thread(self._read, run)
            if samples:
                await self._database.write(lambda tx, new=[(run, samples, place)]: self._keep(tx, new))  # type: ignore[misc]
                self._places[run.handle] = place
        self._places.pop(run.handle, None)

    def _read(self, run: Run) -> tuple[list[Sample], int]:
        return self._engine.read_samples(run.handle, self._places.get(run.handle, 0), SAMPLES_MAX)

    def _keep(self, tx: Tx, new: Sequence[tuple[Run, list[Sample], int]]) -> None:
        for run, samples, _ in new:
            kept_ms = 0 if run.handle in self._places else _last_ms(tx.connection, run)
            for sample in samples:
                batch = Batch(metrics=_points(run, sample))
                if sample.at_ms > kept_ms and _is_allowed(batch):
                    tracking.log(tx, run.project, run.id, batch)


def _is_allowed(batch: Batch) -> bool:
    """False for what no gauge of ours says: the run's own process can write to the file they lie in."""
    try:
        check_batch(batch)
    except InvalidValue:
        return False
    return True


def _points(run: Run, sample: Sample) -> tuple[Metric, ...]:
    """The sample's gauges; steps are seconds since the run was made, so that those of a retry come behind."""
    step = max(0, sample.at_ms - run.created_us // 1_000) // 1_000
    return tuple(
        Metric(key=name, value=value, step=step, timestamp_ms=sample.at_ms) for name, value in sample.gauges.items()
    )


def _last_ms(connection: Connection, run: Run) -> int:
    points = tracking.last_points(connection, run.project, [run.id]).get(run.id, [])
    return max((point.timestamp_ms for point in points if point.key.startswith(PREFIX)), default=0)
