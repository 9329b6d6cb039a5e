"""Keeps the inference plane in step with the serving plan: fetches, checks, loads, warms up, then switches over.

The plan and all bundles are kept on disk, so that serving goes on, and even starts, while the control plane is away.
"""

import asyncio
import hashlib
import logging
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import msgspec

from sill.core.errors import Damaged, Refused, SillError, Unavailable
from sill.endpoints.types import PlanEndpoint, PlanRevision, ServingPlan
from sill.runtimes.port import Runtime
from sill.traffic.bundles import Bundles
from sill.traffic.control import Control
from sill.traffic.plane import Plane
from sill.traffic.pool import Model, Route, make_route
from sill.traffic.types import ServingReport

WAIT_S = 20.0
RETRY_S, RETRY_S_MAX = 0.2, 2.0
NO_PLAN = -1

_log = logging.getLogger("sill.inference")

ModelKey = tuple[str, str, int, str]
"""Project, endpoint, revision and the digest of the manifest: a revision made again under its old number is another."""


class Follower:
    """Follows the plan for ever.

    Args:
        control: used by this follower alone, in a thread.
        open_runtime: a runtime with the model of these bytes loaded.
        home: folder for the plan and the bundles.
    """

    def __init__(self, plane: Plane, control: Control, open_runtime: Callable[[bytes], Runtime], home: Path) -> None:
        self._plane = plane
        self._control = control
        self._open_runtime = open_runtime
        self._plan_file = home / "plan.json"
        self._bundles = Bundles(home / "bundles")
        self._models: dict[ModelKey, Model] = {}
        self._broken: dict[ModelKey, str] = {}
        self._unreported: dict[ModelKey, ServingReport] = {}
        self._is_complete = False
        self.revision = NO_PLAN

    async def start_from_cache(self) -> bool:
        """Serve by the plan of the last time, if there is one. True if there was."""
        plan = await asyncio.to_thread(read_plan, self._plan_file)
        if plan is not None:
            await self.apply(plan)
        return plan is not None

    async def run(self) -> None:
        """Ask for the next plan, take it up, for ever. Whatever goes wrong, what is served now goes on."""
        known, retry_s = NO_PLAN, RETRY_S  # a control plane restored from a backup may be behind what we had
        while True:
            try:
                # With files still missing, ask again soon instead of waiting for a newer plan.
                wait_s = WAIT_S if self._is_complete and known != NO_PLAN else 0.0
                plan = await asyncio.to_thread(self._control.plan, known, wait_s)
                if plan.revision != self.revision or not self._is_complete:
                    await self.apply(plan)
                    await asyncio.to_thread(write_plan, self._plan_file, plan)
                await self._report()
                known = plan.revision
                retry_s = RETRY_S
                if not self._is_complete:
                    await asyncio.sleep(RETRY_S_MAX)
            except (SillError, OSError, msgspec.DecodeError) as broken:
                _log.info("the plan of revision %d goes on: %s", self.revision, broken)
                known = NO_PLAN
                await asyncio.sleep(retry_s)
                retry_s = min(2 * retry_s, RETRY_S_MAX)

    async def apply(self, plan: ServingPlan) -> None:
        """Make every revision of the plan ready, then answer by it. Those that cannot be made ready take no traffic."""
        self._is_complete = True
        if not self._plane.has_plan:
            self._plane.follow(plan, {})  # tokens are known, and what is not ready yet answers 503, not 404
        routes: dict[tuple[str, str], Route] = {}
        wanted: set[ModelKey] = set()
        for endpoint in plan.endpoints:
            loaded: dict[int, Model] = {}
            for revision in endpoint.revisions:
                key = _key(endpoint, revision)
                wanted.add(key)
                model = await self._ready(endpoint, revision, plan.public_key)
                if model is not None:
                    loaded[revision.number] = model
            place = (endpoint.project, endpoint.name)
            try:
                routes[place] = make_route(endpoint, loaded, self._plane.routes.get(place))
            except Refused as refused:
                _log.error("%s", refused)
        self._plane.follow(plan, routes)
        self.revision = plan.revision
        await self._forget_others(plan, routes, wanted)

    async def _ready(self, endpoint: PlanEndpoint, revision: PlanRevision, public_key: str) -> Model | None:
        """The revision's model, loaded and warm; None if that fails, which is reported once."""
        key = _key(endpoint, revision)
        if key in self._models:
            self._models[key].revision = revision  # its weight may be another now
            return self._models[key]
        if key in self._broken:
            return None
        try:
            self._models[key] = await asyncio.to_thread(self._load, endpoint, revision, public_key)
        except (Unavailable, OSError) as away:
            self._is_complete = False
            self._plane.unready[endpoint.project, endpoint.name] = str(away)
            _log.warning("revision %d of %s waits for its files: %s", revision.number, endpoint.name, away)
            return None
        except Exception as broken:  # whatever a model raises while it is loaded is a fault of this revision
            self._break(endpoint, revision, broken)
            return None
        return self._models[key]

    def _load(self, endpoint: PlanEndpoint, revision: PlanRevision, public_key: str) -> Model:
        content = self._bundles.model(self._control, endpoint.project, endpoint.model, revision, public_key)
        return Model(revision, self._open_runtime(content))

    def _break(self, endpoint: PlanEndpoint, revision: PlanRevision, broken: Exception) -> None:
        what = str(broken) if isinstance(broken, SillError) else f"{type(broken).__name__}: {broken}"
        kind = "damaged" if isinstance(broken, Damaged) else "broken"
        _log.error("revision %d of %s is %s and takes no traffic: %s", revision.number, endpoint.name, kind, what)
        key = _key(endpoint, revision)
        self._broken[key] = what
        self._plane.unready[endpoint.project, endpoint.name] = f"revision {revision.number} is {kind}: {what}"
        self._unreported[key] = ServingReport(
            project=endpoint.project, endpoint=endpoint.name, revision=revision.number, error=f"{kind}: {what}"[:500]
        )

    async def _report(self) -> None:
        """Tell the control plane of revisions that are broken, until it has heard it."""
        for key, report in list(self._unreported.items()):
            await asyncio.to_thread(self._control.report, report)
            del self._unreported[key]

    async def _forget_others(
        self, plan: ServingPlan, routes: dict[tuple[str, str], Route], wanted: set[ModelKey]
    ) -> None:
        """Let go of models and files that neither the plan nor a route needs."""
        routed = {id(model) for route in routes.values() for model in (*route.answering, *route.shadows)}
        self._models = {key: model for key, model in self._models.items() if key in wanted or id(model) in routed}
        self._broken = {key: why for key, why in self._broken.items() if key in wanted}
        self._unreported = {key: report for key, report in self._unreported.items() if key in wanted}
        files = [revision.files for endpoint in plan.endpoints for revision in endpoint.revisions]
        files += [model.revision.files for model in self._models.values()]
        await asyncio.to_thread(self._bundles.keep_only, {digest for some in files for digest in some.values()})


def read_plan(path: Path) -> ServingPlan | None:
    """The plan that was kept; None if there is none, or it is not what was written."""
    try:
        digest, _, content = path.read_bytes().partition(b"\n")
        if hashlib.sha256(content).hexdigest().encode() != digest:
            raise Damaged(f"{path.name} does not match its digest.")
        return msgspec.json.decode(content, type=ServingPlan)
    except FileNotFoundError:
        return None
    except (OSError, Damaged, msgspec.DecodeError) as wrong:
        _log.warning("the kept plan is left aside: %s", wrong)
        return None


def write_plan(path: Path, plan: ServingPlan) -> None:
    """Keep the plan behind its digest: the old one or the new one, never a half; for its owner only, it names token digests."""
    content = msgspec.json.encode(plan)
    descriptor, beside = tempfile.mkstemp(dir=path.parent, prefix=".plan-")
    with os.fdopen(descriptor, "wb") as file:
        file.write(hashlib.sha256(content).hexdigest().encode() + b"\n" + content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, path)


def _key(endpoint: PlanEndpoint, revision: PlanRevision) -> ModelKey:
    return endpoint.project, endpoint.name, revision.number, revision.files.get("manifest.json", "")
