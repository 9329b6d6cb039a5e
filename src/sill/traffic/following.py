"""Keeps the inference plane in step with the serving plan: fetches, checks, loads, warms up, then switches over.

The plan and all bundles are kept on disk, so that serving goes on, and even starts, while the control plane is away.
"""

import asyncio
import contextlib
import hashlib
import logging
import os
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from pathlib import Path

import msgspec

from sill.core.errors import Damaged, Refused, SillError, Unavailable
from sill.endpoints.types import PlanEndpoint, PlanRevision, ServingPlan
from sill.runtimes.port import Runtime
from sill.traffic.bundles import MANIFEST_FILE, Bundles
from sill.traffic.cache import ModelCache
from sill.traffic.control import Control
from sill.traffic.lanes import CORES
from sill.traffic.plane import Plane
from sill.traffic.pool import Loaded, Model, Route, make_route, measure
from sill.traffic.types import ServingReport

WAIT_S = 20.0
RETRY_S, RETRY_S_MAX = 0.2, 2.0
NEWEST_S = 2.0
"""A process that started by the plan of the last time is ready after that, though the control plane has said nothing yet."""
PLAN_FILE, BUNDLES = "plan.json", "bundles"
"""In the folder of a serving process."""
NO_PLAN = -1
EAGER_MAX = 32
"""Endpoints whose models are loaded when the plan is taken up; those of more are when they are asked."""

_log = logging.getLogger("sill.inference")

ModelKey = tuple[str, str, int, str]
"""Project, endpoint, revision and the digest of the manifest: a revision made again under its old number is another."""


class Follower:
    """Follows the plan for ever.

    Args:
        control: used by this follower alone, in a thread.
        open_runtime: the runtime of this name, with the model of this bundle's folder loaded.
        home: folder for the plan and the bundles.
        cache: which models are in memory.
        lanes: see `Model`.
    """

    def __init__(
        self,
        plane: Plane,
        control: Control,
        open_runtime: Callable[[str, Path], Runtime],
        home: Path,
        cache: ModelCache | None = None,
        lanes: int = CORES,
    ) -> None:
        self._plane = plane
        self._lanes = lanes
        self.cache = plane.cache = cache or ModelCache()
        self._control = control
        self._open_runtime = open_runtime
        self._plan_file = home / PLAN_FILE
        self._bundles = Bundles(home / BUNDLES)
        self._models: dict[ModelKey, Model] = {}
        self._broken: dict[ModelKey, str] = {}
        self._unreported: dict[ModelKey, ServingReport] = {}
        self._is_complete = False
        self._locks: dict[str, threading.Lock] = {}
        self._ahead: deque[tuple[PlanEndpoint, PlanRevision]] = deque()
        self._some_ahead = asyncio.Event()
        self._public_key = ""
        self.revision = NO_PLAN

    async def start_from_cache(self) -> bool:
        """Serve by the plan of the last time, if there is one. True if there was."""
        plan = await asyncio.to_thread(read_plan, self._plan_file)
        if plan is not None:
            self._plane.is_current = False
            await self.apply(plan)
        return plan is not None

    async def run(self) -> None:
        """Ask for the next plan, take it up, for ever. Whatever goes wrong, what is served now goes on."""
        asyncio.get_running_loop().call_later(NEWEST_S, self._has_asked)
        async with asyncio.TaskGroup() as group:
            group.create_task(self.cache.run())
            group.create_task(self._fetch_ahead())
            await self._follow()

    async def _follow(self) -> None:
        known, retry_s = NO_PLAN, RETRY_S  # a control plane restored from a backup may be behind what we had
        while True:
            try:
                # With files still missing, ask again soon instead of waiting for a newer plan.
                wait_s = WAIT_S if self._is_complete and known != NO_PLAN else 0.0
                plan = await asyncio.to_thread(self._control.plan, known, wait_s)
                if plan.revision != self.revision or not self._is_complete:
                    await self.apply(plan)
                    await asyncio.to_thread(write_plan, self._plan_file, plan)
                self._has_asked()
                await self._report()
                known = plan.revision
                retry_s = RETRY_S
                if not self._is_complete:
                    await asyncio.sleep(RETRY_S_MAX)
            except (SillError, OSError, msgspec.DecodeError) as broken:
                self._has_asked()
                _log.info("the plan of revision %d goes on: %s", self.revision, broken)
                known = NO_PLAN
                await asyncio.sleep(retry_s)
                retry_s = min(2 * retry_s, RETRY_S_MAX)

    def _has_asked(self) -> None:
        self._plane.is_current = True

    async def apply(self, plan: ServingPlan) -> None:
        """Make every revision of the plan ready, then answer by it. Those that cannot be made ready take no traffic.

        An endpoint of one revision that was not answered before is ready when it is asked: beyond the first few, such
        are loaded when somebody does. What is to take traffic from another revision is loaded and tried before.
        """
        self._is_complete = True
        self._public_key = plan.public_key
        eager = EAGER_MAX
        if not self._plane.has_plan:
            self._plane.follow(plan, {})  # tokens are known, and what is not ready yet answers 503, not 404
        routes: dict[tuple[str, str], Route] = {}
        wanted: set[ModelKey] = set()
        for endpoint in plan.endpoints:
            loaded: dict[int, Model] = {}
            place = (endpoint.project, endpoint.name)
            is_first = len(endpoint.revisions) == 1 and place not in self._plane.routes
            eager -= is_first
            for revision in endpoint.revisions:
                key = _key(endpoint, revision)
                wanted.add(key)
                model = await self._ready(endpoint, revision, is_later=is_first and eager < 0)
                if model is not None:
                    loaded[revision.number] = model
            try:
                routes[place] = make_route(endpoint, loaded, self._plane.routes.get(place))
            except Refused as refused:
                _log.error("%s", refused)
        self._plane.follow(plan, routes)
        self.revision = plan.revision
        await self._forget_others(plan, routes, wanted)

    async def _ready(self, endpoint: PlanEndpoint, revision: PlanRevision, *, is_later: bool) -> Model | None:
        """The revision's model, loaded, or to be loaded later; None if that fails, which is reported once."""
        key = _key(endpoint, revision)
        if key in self._models:
            self._models[key].revision = revision  # its weight may be another now
            self.cache.idle_after(self._models[key], endpoint.idle_s)
            return self._models[key]
        if key in self._broken:
            return None
        model = Model(revision, lanes=self._lanes)
        load = partial(self._load, endpoint, revision, model)
        try:
            if is_later:
                self._ahead.append((endpoint, revision))
                self._some_ahead.set()
            else:
                model.wake(await asyncio.to_thread(load))
            self._models[key] = model
            self.cache.add(model, load, partial(self._failed, endpoint, model), endpoint.idle_s)
        except (Unavailable, OSError) as away:
            self._is_complete = False
            self._plane.unready[endpoint.project, endpoint.name] = str(away)
            _log.warning("revision %d of %s waits for its files: %s", revision.number, endpoint.name, away)
            return None
        except Exception as broken:  # whatever a model raises while it is loaded is a fault of this revision
            self._break(endpoint, revision, broken)
            return None
        return self._models[key]

    def _load(self, endpoint: PlanEndpoint, revision: PlanRevision, model: Model) -> Loaded:
        """In a thread: the files, checked, and the runtime with them, tried."""
        started_s = time.perf_counter()
        runtime = self._open_runtime(revision.runtime, self._folder(endpoint, revision))
        try:
            measures = measure(model.signature, runtime, model.measures)
        except BaseException:
            runtime.close()
            raise
        return Loaded(runtime=runtime, measures=measures, load_ms=(time.perf_counter() - started_s) * 1e3)

    def _folder(self, endpoint: PlanEndpoint, revision: PlanRevision) -> Path:
        """The bundle's folder; fetched and checked by one thread at a time, as several endpoints may share it."""
        with self._locks.setdefault(revision.files.get(MANIFEST_FILE, ""), threading.Lock()):
            return self._bundles.folder(self._control, endpoint.project, endpoint.model, revision, self._public_key)

    async def _fetch_ahead(self) -> None:
        """Bring the files of models that are loaded later to this disk now, so that they need nobody then."""
        while True:
            await self._some_ahead.wait()
            self._some_ahead.clear()
            while self._ahead:
                endpoint, revision = self._ahead[0]
                try:
                    await asyncio.to_thread(self._folder, endpoint, revision)
                except (Unavailable, OSError):
                    await asyncio.sleep(RETRY_S_MAX)
                    continue
                except SillError as wrong:  # it is reported when somebody asks for the model
                    _log.warning("the files of revision %d of %s: %s", revision.number, endpoint.name, wrong)
                if self._ahead and self._ahead[0][1] is revision:
                    self._ahead.popleft()

    def _failed(self, endpoint: PlanEndpoint, model: Model, broken: Exception) -> None:
        """A model that was to be loaded when it was asked for could not be. A fault of its own takes it out."""
        if isinstance(broken, (Unavailable, OSError)):
            _log.warning("revision %d of %s waits: %s", model.revision.number, endpoint.name, broken)
            return
        self._break(endpoint, model.revision, broken)
        self._models.pop(_key(endpoint, model.revision), None)
        self._plane.without(endpoint, model)
        asyncio.get_running_loop().create_task(self._report_soon())

    async def _report_soon(self) -> None:
        with contextlib.suppress(SillError, OSError):  # the next plan brings another try
            await self._report()

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
            self._unreported.pop(key, None)

    async def _forget_others(
        self, plan: ServingPlan, routes: dict[tuple[str, str], Route], wanted: set[ModelKey]
    ) -> None:
        """Let go of models and files that neither the plan nor a route needs."""
        routed = {id(model) for route in routes.values() for model in (*route.answering, *route.shadows)}
        self._models = {key: model for key, model in self._models.items() if key in wanted or id(model) in routed}
        self._broken = {key: why for key, why in self._broken.items() if key in wanted}
        self._unreported = {key: report for key, report in self._unreported.items() if key in wanted}
        self.cache.keep_only(list(self._models.values()))
        self._ahead = deque(one for one in self._ahead if _key(*one) in wanted)
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
    return endpoint.project, endpoint.name, revision.number, revision.files.get(MANIFEST_FILE, "")
