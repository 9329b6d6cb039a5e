"""The inference plane's heart: who may ask, which revision answers, what is remembered of it. No network, no disk."""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from sill.core.clock import Clock, Ids
from sill.core.errors import NotFound, SillError, Unauthenticated, Unavailable
from sill.core.values import Value
from sill.endpoints.types import PlanEndpoint, PlanToken, ServingPlan
from sill.safety.tokens import digest
from sill.traffic.pool import Model, Route
from sill.traffic.routing import choose, is_sampled
from sill.traffic.tensors import Answer, Question, agree, feature_rows, to_question
from sill.traffic.types import RequestRow

SHADOWS_WAITING_MAX = 256
SHADOW_DEADLINE_S = 30.0
TIMEOUT_MS_MAX = 600_000.0
ERROR_LENGTH_MAX = 300


class Asked(Value, frozen=True, kw_only=True):
    """A request as the plane takes it. `id` is never empty; `version` 0 leaves the choice to the endpoint."""

    id: str
    project: str
    endpoint: str
    tensors: dict[str, Any]
    version: int = 0
    entity: dict[str, str] = {}
    sticky_key: str = ""
    """Requests with the same key go to the same revision; the id decides when it is empty."""
    timeout_ms: float = 0.0


class Told(Value, frozen=True, kw_only=True):
    """The answer, and which revision gave it."""

    answer: Answer
    revision: int
    model_version: int


class _Shadow(Value, frozen=True, kw_only=True):
    """A copy of a request for a revision nobody waits for."""

    asked: Asked
    route: Route
    model: Any
    question: Question
    live: Answer


class Plane:
    """Answers requests by the routes it was given. Use it from one event loop.

    Args:
        keep: takes each row of the request log; must not wait.
    """

    def __init__(self, clock: Clock, keep: Callable[[RequestRow], None]) -> None:
        self._clock = clock
        self._ids = Ids(clock)
        self._keep = keep
        self._tokens: dict[str, PlanToken] = {}
        self._shadows: deque[_Shadow] = deque()
        self._some_shadow = asyncio.Event()
        self.routes: dict[tuple[str, str], Route] = {}
        self.planned: dict[tuple[str, str], PlanEndpoint] = {}
        self.unready: dict[tuple[str, str], str] = {}
        """Why a revision of an endpoint could not be made ready."""
        self.has_plan = False
        self.shadows_dropped = 0

    def follow(self, plan: ServingPlan, routes: dict[tuple[str, str], Route]) -> None:
        """From now on answer by this plan. Requests that are being answered keep the models they have."""
        self._tokens = {token.digest: token for token in plan.tokens}
        self.planned = {(one.project, one.name): one for one in plan.endpoints}
        self.routes = routes
        self.has_plan = True

    def new_id(self) -> str:
        """An id for a request that brought none."""
        return self._ids.new("req")

    def authenticate(self, secret: str) -> PlanToken:
        """The token behind a bearer secret.

        Raises:
            Unauthenticated: none was given, or it is not known, or its time is over.
        """
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
        if not {"*", project} & set(token.projects):
            raise _no_endpoint(project, endpoint)
        route = self.routes.get((project, endpoint))
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

    async def answer(self, token: PlanToken, asked: Asked) -> tuple[Told, Callable[[], None]]:
        """The answer, and what is to be called once it was sent: it keeps the row and makes the shadow's copy.

        Raises:
            SillError: the model's, or the way's to it. A failure of the model is kept as a row too.
        """
        started_s = time.perf_counter()
        route = self.route(token, asked.project, asked.endpoint, asked.version)
        model = (
            route.version(asked.version)
            if asked.version
            else choose(route.answering, asked.sticky_key or asked.id, asked.endpoint)
        )
        if model is None:
            raise Unavailable(
                f"endpoint {asked.endpoint!r} gives no revision any traffic.", fix="Look at its revisions."
            )
        question = to_question(model.signature, asked.tensors)
        deadline_s = asyncio.get_running_loop().time() + _timeout_s(asked, route.endpoint)
        try:
            answer, cpu_ms = await model.infer(question, deadline_s)
        except SillError as failed:
            self._keep_failure(asked, route, model, question, failed, started_s)
            raise
        latency_ms = (time.perf_counter() - started_s) * 1e3

        def remember() -> None:
            self._keep_rows(asked, route, model, question, answer, latency_ms, cpu_ms)
            for shadow in route.shadows:
                self._copy(_Shadow(asked=asked, route=route, model=shadow, question=question, live=answer))

        told = Told(answer=answer, revision=model.revision.number, model_version=model.revision.model_version)
        return told, remember

    async def shadow_for_ever(self) -> None:
        """Answer the shadows' copies, one after another, while nobody waits."""
        while True:
            await self._some_shadow.wait()
            self._some_shadow.clear()
            while self._shadows:
                await self._answer_shadow(self._shadows.popleft())
                await asyncio.sleep(0)  # requests that came in meanwhile go first

    def _copy(self, shadow: _Shadow) -> None:
        if len(self._shadows) >= SHADOWS_WAITING_MAX:
            self.shadows_dropped += 1
            return
        self._shadows.append(shadow)
        self._some_shadow.set()

    async def _answer_shadow(self, shadow: _Shadow) -> None:
        asked, model, started_s = shadow.asked, shadow.model, time.perf_counter()
        question = shadow.question
        try:
            question = to_question(model.signature, asked.tensors)
            answer, cpu_ms = await model.infer(question, asyncio.get_running_loop().time() + SHADOW_DEADLINE_S)
        except SillError as failed:
            self._keep_failure(asked, shadow.route, model, question, failed, started_s, is_shadow=True)
            return
        latency_ms = (time.perf_counter() - started_s) * 1e3
        self._keep_rows(asked, shadow.route, model, question, answer, latency_ms, cpu_ms, shadow.live)

    def _keep_rows(
        self,
        asked: Asked,
        route: Route,
        model: Model,
        question: Question,
        answer: Answer,
        latency_ms: float,
        cpu_ms: float,
        live: Answer | None = None,
    ) -> None:
        """One row for each answered row; those of a shadow say whether the live revision answered the same."""
        is_kept = is_sampled(asked.id, route.endpoint.log_sample)
        has_payload = is_kept and route.endpoint.log_payload
        features: list[dict[str, float | str | None]] = [{}] * question.rows
        if has_payload:
            features = feature_rows(model.signature, question)
        at_us = self._clock.now_us()
        for row in range(question.rows):
            prediction = answer.predictions[row]
            self._keep(
                RequestRow(
                    request_id=asked.id if question.rows == 1 else f"{asked.id}/{row}",
                    at_us=at_us,
                    project=asked.project,
                    endpoint=asked.endpoint,
                    revision=model.revision.number,
                    model_version=model.revision.model_version,
                    is_shadow=live is not None,
                    status=200,
                    latency_ms=latency_ms,
                    features=features[row],
                    prediction=prediction if has_payload else "",
                    score=answer.scores[row] if has_payload else None,
                    entity=asked.entity if has_payload else {},
                    cpu_ms=cpu_ms / question.rows,
                    agrees=None if live is None else agree(model.signature.task, prediction, live.predictions[row]),
                    is_kept=is_kept,
                )
            )

    def _keep_failure(
        self,
        asked: Asked,
        route: Route,
        model: Model,
        question: Question,
        failed: SillError,
        started_s: float,
        is_shadow: bool = False,
    ) -> None:
        is_kept = is_sampled(asked.id, route.endpoint.log_sample)
        has_payload = is_kept and route.endpoint.log_payload and question.rows == 1
        self._keep(
            RequestRow(
                request_id=asked.id,
                at_us=self._clock.now_us(),
                project=asked.project,
                endpoint=asked.endpoint,
                revision=model.revision.number,
                model_version=model.revision.model_version,
                is_shadow=is_shadow,
                status=failed.status,
                latency_ms=(time.perf_counter() - started_s) * 1e3,
                features=feature_rows(model.signature, question)[0] if has_payload and not is_shadow else {},
                entity=asked.entity if has_payload else {},
                error=f"{failed.code}: {failed.message}"[:ERROR_LENGTH_MAX],
                agrees=False if is_shadow else None,
                is_kept=is_kept,
            )
        )


def _timeout_s(asked: Asked, endpoint: PlanEndpoint) -> float:
    allowed_ms = min(endpoint.deadline_ms, TIMEOUT_MS_MAX)
    return (min(asked.timeout_ms, allowed_ms) if asked.timeout_ms else allowed_ms) / 1e3


def _no_endpoint(project: str, endpoint: str) -> NotFound:
    return NotFound(
        f"no endpoint {endpoint!r} in project {project!r}.",
        fix="Name the project: header X-Sill-Project, or /v2/models/PROJECT/ENDPOINT.",
    )
