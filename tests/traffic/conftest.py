"""Traffic over everything it stands on, in a folder of its own."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sill.core.actors import PLATFORM
from sill.core.clock import ManualClock
from sill.core.settings import Settings
from sill.costs.service import Costs
from sill.endpoints.service import Endpoints
from sill.endpoints.types import Endpoint, EndpointSpec, Rollout
from sill.endpoints.workers import KINDS, FollowWorker
from sill.engines.local.engine import LocalEngine
from sill.features.service import Features
from sill.lake.service import Lake
from sill.models.types import ModelVersion
from sill.runs.service import Runs
from sill.runs.training.types import GateSpec
from sill.stores.kv import open_online
from sill.testing.platform import Platform, open_platform
from sill.traffic.service import Traffic
from sill.traffic.types import LogBatch, RequestRow

PROJECT = "default"
ROLLOUT = Rollout(shadow_requests=10, steps=(10, 100), step_requests=10)


@dataclass(frozen=True)
class House:
    """The services, and short ways to what the tests need."""

    platform: Platform
    clock: ManualClock
    lake: Lake
    features: Features
    runs: Runs
    costs: Costs
    endpoints: Endpoints
    traffic: Traffic

    async def serve(self, rollout: Rollout = ROLLOUT, **fields: Any) -> Endpoint:
        """Endpoint `churn`, with one version live."""
        await self.endpoints.apply(
            PLATFORM, EndpointSpec(project=PROJECT, name="churn", model="churn", rollout=rollout)
        )
        await self.register(**fields)
        return await self.settle()

    async def register(self, **fields: Any) -> ModelVersion:
        spec = self.platform.spec(gate=GateSpec(margin=1.0), **fields)
        return await self.platform.models.register(PLATFORM, PROJECT, spec)

    async def settle(self) -> Endpoint:
        """Let the endpoints' worker do what it does."""
        worker, seq = FollowWorker(self.platform.log, self.endpoints), 0
        while events := await self.platform.log.after(seq, kinds=KINDS):
            for event in events:
                await worker.handle(event)
            seq = events[-1].seq
        return await self.endpoints.endpoint(PLATFORM, PROJECT, "churn")

    def row(self, number: int, revision: int = 1, **changes: Any) -> RequestRow:
        given: dict[str, Any] = {
            "request_id": f"req-{number}",
            "at_us": self.clock.now_us(),
            "project": PROJECT,
            "endpoint": "churn",
            "revision": revision,
            "model_version": revision,
            "is_shadow": False,
            "status": 200,
            "latency_ms": 1.0,
            "features": {"age": 40.0 + number, "income": 1_000.0},
            "prediction": "yes",
            "score": 0.9,
            "cpu_ms": 0.5,
        }
        return RequestRow(**(given | changes))

    async def record(self, batch_id: str, *rows: RequestRow) -> int:
        return await self.traffic.record(PLATFORM, LogBatch(id=batch_id, rows=rows))


@pytest.fixture
async def house(tmp_path: Path, anyio_backend: str) -> AsyncIterator[House]:
    clock, settings = ManualClock(), Settings(home=tmp_path)
    with open_platform(tmp_path, clock) as platform:
        database, blobs, ids = platform.database, platform.blobs, platform.ids
        costs = Costs(database, clock, ids, settings)
        lake = Lake(database, blobs, clock, ids, settings)
        features = Features(database, lake, open_online(""), clock)
        engine = LocalEngine(settings)
        runs = Runs(database, platform.log, blobs, clock, ids, engine, costs, platform.governance, settings)
        endpoints = Endpoints(database, platform.log, platform.models, platform.governance, clock)
        traffic = Traffic(database, lake, features, platform.models, runs, endpoints, costs, platform.governance, clock)
        yield House(platform, clock, lake, features, runs, costs, endpoints, traffic)
