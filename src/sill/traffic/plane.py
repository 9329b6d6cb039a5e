"""The inference plane's heart: who may ask, which revision answers, what is remembered of it. No network, no disk."""

import asyncio
import time
from collections.abc import AsyncGenerator

from sill.core.clock import Clock, Ids
from sill.core.errors import Forbidden, NotFound, SillError, Unauthenticated, Unavailable
from sill.core.values import Value
from sill.endpoints.types import PlanEndpoint, PlanRevision, PlanToken, ServingPlan
from sill.safety.tokens import digest
from sill.traffic.by_hand import ByHand, Place
from sill.traffic.cache import ModelCache
from sill.traffic.pool import Model, Route
from sill.traffic.recording import Asked, Recorder, Seen
from sill.traffic.routing import choose
from sill.traffic.shadowing import Shadows
from sill.traffic.streaming import follow
from sill.traffic.tensors import Question, to_question, zero_question
from sill.traffic.waiting import Part, deadline_passed

TIMEOUT_MS_MAX = 600_000.0
READY, LOADING, UNAVAILABLE = "READY", "LOADING", "UNAVAILABLE"


class Told(Value, frozen=True, kw_only=True):
    """The answer, and the model that gave it."""

    part: Part
    model: Model

    @property
    def revision(self) -> int:
        """The revision's number."""
        return self.model.revision.number

    @property
    def model_version(self) -> int:
        """The registered version behind the revision."""
        return self.model.revision.model_version


class Way(Value, frozen=True, kw_only=True):
    """How one request is answered: the model that was chosen, what it is asked, and until when."""

    asked: Asked
    route: Route
    model: Model
    question: Question
    deadline_s: float
    started_s: float


class ModelState(Value, frozen=True, kw_only=True):
    """One version of an endpoint, as the protocol's repository index tells it."""

    project: str
    name: str
    version: str
    state: str
    reason: str = ""


class Plane:
    """Answers requests by the routes it was given. Use it from one event loop.

    Args:
        recorder: remembers what was answered.
        by_hand: what an admin has taken out of service; nothing, and known to this plane alone, if it is not given.
    """

    def __init__(self, clock: Clock, recorder: Recorder, by_hand: ByHand | None = None) -> None:
        self.recorder = recorder
        self._clock = clock
        self._ids = Ids(clock)
        self._tokens: dict[str, PlanToken] = {}
        self.shadows = Shadows(clock, recorder)
        self.routes: dict[tuple[str, str], Route] = {}
        self.planned: dict[tuple[str, str], PlanEndpoint] = {}
        self.unready: dict[tuple[str, str], str] = {}
        """Why a revision of an endpoint could not be made ready."""
        self.by_hand = by_hand or ByHand()
        self.by_hand.changed = self._taken_out
        self.cache: ModelCache | None = None
        self.has_plan = False
        self.is_current = True
        """False for one that goes on by the plan of the last time and has not asked yet whether there is a newer one."""
        self.generation = 0
        """Rises with each plan; what was decided by an older one holds no longer."""

    def follow(self, plan: ServingPlan, routes: dict[tuple[str, str], Route]) -> None:
        """From now on answer by this plan. Requests that are being answered keep the models they have."""
        self._tokens = {token.digest: token for token in plan.tokens}
        before = self.planned.keys()
        self.planned = {(one.project, one.name): one for one in plan.endpoints}
        self.routes = routes
        self.has_plan = True
        self.generation += 1
        for place in self.by_hand.places & (before - self.planned.keys()):
            self.by_hand.bring_back(place)  # should it come again, it is another one

    def new_id(self) -> str:
        """An id for a request that brought none."""
        return self._ids.new("req")

    def now_s(self) -> float:
        """Seconds on the clock that deadlines are on."""
        return asyncio.get_running_loop().time()

    def authenticate(self, secret: str) -> PlanToken:
        """The token behind a bearer secret.

        Raises:
            Unauthenticated: none was given, or it is not known, or its time is over.
            Unavailable: there is no plan yet, so nobody is known.
        """
        if not self.has_plan:
            raise Unavailable("there is no serving plan yet.", fix="Try again in a moment.")
        token = self._tokens.get(digest(secret)) if secret else None
        if token is None or (token.expires_us and token.expires_us <= self._clock.now_us()):
            raise Unauthenticated(
                "the request has no token that may infer.",
                fix="Send Authorization: Bearer TOKEN with scope serving:infer.",
            )
        return token

    def route(self, token: PlanToken, project: str, endpoint: str, version: int = 0) -> Route:
        """How an endpoint is answered.

        Raises:
            NotFound: absent, or another tenant's: the answer is the same.
            Unavailable: it is there, and no revision of it is ready yet.
        """
        if not token.may_ask(project):
            raise _no_endpoint(project, endpoint)
        route = self.routes.get((project, endpoint))
        if (project, endpoint) in self.by_hand.places and (project, endpoint) in self.planned:
            raise Unavailable(f"endpoint {endpoint!r} was unloaded by hand.", fix="Load it again.")
        if route is None and (project, endpoint) in self.planned:
            why = self.unready.get((project, endpoint), "it is being loaded.")
            raise Unavailable(
                f"endpoint {endpoint!r} has no revision that is ready: {why}", fix="Try again in a moment."
            )
        if route is None:
            raise _no_endpoint(project, endpoint)
        if version and route.version(version) is None:
            raise NotFound(f"endpoint {endpoint!r} does not serve version {version}.", fix="Leave the version out.")
        return route

    def find_way(self, token: PlanToken, asked: Asked) -> Way:
        """Which model answers a request.

        Raises:
            SillError: there is no such endpoint or version, none is ready, or the tensors are not the model's.
        """
        started_s = time.perf_counter()
        route = self.route(token, asked.project, asked.endpoint, asked.version)
        model = self.choose(route, asked.version, asked.sticky_key or asked.id)
        question = to_question(model.signature, asked.tensors)
        deadline_s = self.now_s() + timeout_s(route.endpoint, asked.timeout_ms)
        return Way(asked=asked, route=route, model=model, question=question, deadline_s=deadline_s, started_s=started_s)

    def choose(self, route: Route, version: int, key: str) -> Model:
        """The model of a version, or the one a key goes to by weight.

        Raises:
            Unavailable: no revision has a part of the traffic.
        """
        model: Model | None = route.version(version) if version else choose(route.answering, key, route.endpoint.name)
        if model is None:
            raise Unavailable(
                f"endpoint {route.endpoint.name!r} gives no revision any traffic.", fix="Look at its revisions."
            )
        return model

    async def answer(self, token: PlanToken, asked: Asked) -> Told:
        """The answer; it is remembered, and copied to the shadows.

        Raises:
            SillError: the model's, or the way's to it. A failure of the model is remembered too.
        """
        return await self._answer(token, self.find_way(token, asked))

    async def _answer(self, token: PlanToken, way: Way) -> Told:
        try:
            part = await way.model.batcher.infer(way.question, way.deadline_s, token.digest, way.asked.priority)
        except SillError as failed:
            if "retry_after_s" not in failed.details:  # else it was not let in: that says nothing about the model
                self.remember(way, failed)
            raise
        self.remember(way, part)
        return Told(part=part, model=way.model)

    async def stream(self, token: PlanToken, asked: Asked) -> AsyncGenerator[Told, None]:
        """The answer in parts as the model gives them; one part from a model that does not stream.

        Who stops reading (`aclose`) stops the model. It is remembered once, by its last part.

        Raises:
            SillError: as `answer`; also between parts.
        """
        way = self.find_way(token, asked)
        if way.model.signature.streams and not way.model.is_warm:
            await self.warm(token, asked.project, asked.endpoint, way.model.revision.model_version)
        parts = way.model.stream(way.question)
        if parts is None:
            yield await self._answer(token, way)
            return
        last: Part | SillError = Unavailable("the model gave no part of an answer.", fix="Look at the inference log.")
        following = follow(parts, way.deadline_s)
        try:
            async for part in following:
                last = part
                yield Told(part=part, model=way.model)
        except TimeoutError as late:
            last = deadline_passed()
            raise last from late
        except SillError as failed:
            last = failed
            raise
        except Exception as broken:  # whatever a model raises concerns this input, never the server
            last = Unavailable(f"the model failed: {type(broken).__name__}.", fix="Look at the inference log.")
            raise last from broken
        finally:
            await following.aclose()
            self.remember(way, last)

    async def load(self, token: PlanToken, project: str, endpoint: str) -> None:
        """Bring an endpoint back that was unloaded by hand, in every process of the home; nothing to do for others.

        Raises:
            Forbidden: the token may not.
            NotFound, Unavailable: see `route`.
        """
        self._check_admin(token, project, endpoint)
        self.by_hand.bring_back((project, endpoint))
        self.route(token, project, endpoint)

    async def unload(self, token: PlanToken, project: str, endpoint: str) -> None:
        """Answer for an endpoint no more (503) until `load`, in every process of the home; what is being answered is.

        Raises:
            Forbidden: the token may not.
            NotFound: absent, or another tenant's.
        """
        self._check_admin(token, project, endpoint)
        self.by_hand.take_out((project, endpoint))

    def _taken_out(self, places: frozenset[Place]) -> None:
        """Free the memory of what is out of service now. Those that are asked just now leave when memory is needed."""
        for place in places & self.routes.keys():
            route = self.routes[place]
            for model in (*route.answering, *route.shadows):
                if self.cache is not None:
                    self.cache.leave(model)
        self.generation += 1  # the short way asks again

    async def warm(self, token: PlanToken, project: str, endpoint: str, version: int = 0) -> None:
        """Return once an endpoint's model is in memory.

        Raises:
            NotFound, Unavailable: see `route`.
        """
        route = self.route(token, project, endpoint, version)
        model = self.choose(route, version, endpoint)
        if not model.is_warm:
            deadline_s = self.now_s() + timeout_s(route.endpoint, 0)
            await model.batcher.infer(zero_question(model.signature), deadline_s)

    def without(self, endpoint: PlanEndpoint, model: Model) -> None:
        """From now on answer without a model that turned out to be broken."""
        place = (endpoint.project, endpoint.name)
        route = self.routes.get(place)
        if route is None:
            return
        answering = tuple(one for one in route.answering if one is not model)
        shadows = tuple(one for one in route.shadows if one is not model)
        if answering:
            self.routes[place] = Route(endpoint=route.endpoint, answering=answering, shadows=shadows)
        else:
            del self.routes[place]
        self.generation += 1

    def index(self, token: PlanToken) -> list[ModelState]:
        """Every version of every endpoint the token may ask, in the order of their names, and whether it answers."""
        return [
            self._state(planned, revision)
            for (project, _), planned in sorted(self.planned.items())
            if token.may_ask(project)
            for revision in planned.revisions
        ]

    def _state(self, planned: PlanEndpoint, revision: PlanRevision) -> ModelState:
        place = (planned.project, planned.name)
        route = self.routes.get(place)
        loaded = () if route is None else (*route.answering, *route.shadows)
        if place in self.by_hand.places:
            state, reason = UNAVAILABLE, "unloaded by hand"
        elif any(model.revision.number == revision.number for model in loaded):
            state, reason = READY, ""
        elif place in self.unready:
            state, reason = UNAVAILABLE, self.unready[place]
        else:
            state, reason = LOADING, ""
        return ModelState(
            project=planned.project, name=planned.name, version=str(revision.model_version), state=state, reason=reason
        )

    def _check_admin(self, token: PlanToken, project: str, endpoint: str) -> None:
        if not token.may_ask(project) or (project, endpoint) not in self.planned:
            raise _no_endpoint(project, endpoint)
        if not token.may_admin:
            raise Forbidden("the token may not load or unload models.", fix="Use one with scope endpoints:admin.")

    def remember(self, way: Way, told: Part | SillError) -> None:
        """Note an answer or a failure, and copy what was answered to the shadows."""
        seen = self._seen(way, told)
        is_answer = isinstance(told, Part)
        status = 200 if isinstance(told, Part) else told.status
        way.model.batcher.statistics.told(
            way.question.rows, seen.latency_ms, seen.at_us // 1_000, is_answer=is_answer, status=status
        )
        self.recorder.note(seen)
        if isinstance(told, Part):
            for shadow in way.route.shadows:
                self.shadows.copy(seen, shadow)

    def _seen(self, way: Way, told: Part | SillError) -> Seen:
        return Seen(
            asked=way.asked,
            endpoint=way.route.endpoint,
            model=way.model,
            question=way.question,
            at_us=self._clock.now_us(),
            latency_ms=(time.perf_counter() - way.started_s) * 1e3,
            part=told if isinstance(told, Part) else None,
            failed=told if isinstance(told, SillError) else None,
        )


def timeout_s(endpoint: PlanEndpoint, asked_ms: float) -> float:
    """How long a request may take: what it asks for, up to what the endpoint allows."""
    allowed_ms = min(endpoint.deadline_ms, TIMEOUT_MS_MAX)
    return (min(asked_ms, allowed_ms) if asked_ms else allowed_ms) / 1e3


def _no_endpoint(project: str, endpoint: str) -> NotFound:
    return NotFound(
        f"no endpoint {endpoint!r} in project {project!r}.",
        fix="Name the project: header X-Sill-Project, or /v2/models/PROJECT/ENDPOINT.",
    )
