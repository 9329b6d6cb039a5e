"""Runs with a local engine on a home, as the control plane has them; run as a program, it is killed by a test."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from sill.core.clock import Clock, Ids, SystemClock
from sill.core.settings import Settings
from sill.costs.service import Costs
from sill.engines.local.engine import LocalEngine
from sill.engines.types import Engine
from sill.governance.service import Governance
from sill.runs.experiments.service import Experiments
from sill.runs.external import ExternalRuns
from sill.runs.logged_models.service import LoggedModels
from sill.runs.retention.service import Retention
from sill.runs.service import Runs
from sill.runs.tracking.artifacts import Artifacts
from sill.runs.tracking.service import Tracking
from sill.runs.workers import RunWorker
from sill.safety.secrets import SecretBox
from sill.stores.blobs import Blobs, open_blobs
from sill.stores.blobs.sweeping import Sweeper
from sill.stores.database import Database, metadata, open_database
from sill.stores.log import Log


@dataclass
class Host:
    settings: Settings
    database: Database
    blobs: Blobs
    engine: Engine
    runs: Runs
    tracking: Tracking
    artifacts: Artifacts
    experiments: Experiments
    external: ExternalRuns
    models: LoggedModels
    retention: Retention
    worker: RunWorker


def build(
    home: Path,
    clock: Clock | None = None,
    database_url: str = "",
    artifact_roots: str = "",
    accelerators: str = "",
    scheduler_policy: str = "local",
    engine: Engine | None = None,
) -> Host:
    """All parts, on SQLite in the home and with processes of this machine unless told otherwise. Call inside the event
    loop."""
    clock = clock or SystemClock()
    settings = Settings(
        home=home,
        cpus=4,
        memory_bytes=4 * 1024**3,
        database_url=database_url,
        artifact_roots=artifact_roots,
        accelerators=accelerators,
        scheduler_policy=scheduler_policy,
    )
    database = open_database(settings.database, clock)
    metadata.create_all(database.engine)
    log, ids, blobs, engine = Log(database), Ids(clock), open_blobs(settings), engine or LocalEngine(settings)
    governance = Governance(database, log, clock, ids, SecretBox(home / "master.key"), root_digest="0" * 64)
    costs = Costs(database, clock, ids, settings, accelerators=engine.capacity().types)
    runs = Runs(database, log, blobs, clock, ids, engine, costs, governance, settings)
    sweeper = Sweeper(database, blobs)
    return Host(
        settings=settings,
        database=database,
        blobs=blobs,
        engine=engine,
        runs=runs,
        tracking=Tracking(database),
        artifacts=Artifacts(database, blobs, sweeper),
        experiments=Experiments(database, settings),
        external=ExternalRuns(database, ids),
        models=LoggedModels(database, ids),
        retention=Retention(database, sweeper, engine, clock),
        worker=RunWorker(log, runs),
    )


@contextlib.asynccontextmanager
async def working(host: Host) -> AsyncIterator[None]:
    """The worker runs meanwhile."""
    task = asyncio.create_task(host.worker.run())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def main() -> None:
    host = build(Path(sys.argv[1]))
    print("up", flush=True)
    await host.worker.run()


if __name__ == "__main__":
    asyncio.run(main())
