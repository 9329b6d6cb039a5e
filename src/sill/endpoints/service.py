"""Endpoints: declared, given revisions, moved between them, and told to the inference plane as one plan."""

import asyncio
from collections.abc import Callable

from msgspec.structs import replace

from sill.core.actors import PLATFORM, Actor
from sill.core.addresses import Address
from sill.core.clock import Clock
from sill.core.errors import Forbidden, InvalidValue, Refused
from sill.endpoints import rules
from sill.endpoints.plan import plan_endpoints, plan_tokens
from sill.endpoints.store import ENDPOINTS, plan_revision
from sill.endpoints.types import (
    DeployRequest,
    Endpoint,
    EndpointSpec,
    Revision,
    RevisionState,
    ServingPlan,
)
from sill.governance.lineage import add_edge
from sill.governance.rules import require
from sill.governance.service import Governance
from sill.models.rules import CHAMPION
from sill.models.service import Models
from sill.stores.database import Connection, Database, Page, Tx
from sill.stores.log import POLL_S, Log

WAIT_S_MAX = 60.0
"""Longest that a poll for a new plan is held."""

Change = Callable[[Endpoint, Tx], Endpoint]


class Endpoints:
    """Endpoints of all projects."""

    def __init__(self, database: Database, log: Log, models: Models, governance: Governance, clock: Clock) -> None:
        self._database = database
        self._log = log
        self._models = models
        self._governance = governance
        self._clock = clock
        self._plan = ServingPlan(revision=-1, endpoints=(), tokens=(), public_key="")
        models.on_delete(_holder)

    async def apply(self, actor: Actor, spec: EndpointSpec, key: str = "") -> Endpoint:
        """Declare an endpoint, or change its declaration. Its revisions stay.

        Raises:
            InvalidValue: the declaration cannot be meant.
            Conflict: another model than that of its revisions.
        """
        require(actor, "endpoints:write", spec.project)
        rules.check_spec(spec)
        await self._governance.project(PLATFORM, spec.project)

        def keep(tx: Tx) -> Endpoint:
            found = ENDPOINTS.find(tx.connection, spec.project, spec.name)
            if found is not None and found.spec == spec:
                return found
            if found is None:
                kept = ENDPOINTS.create(tx, rules.create(spec, tx.now_us))
            else:
                kept = ENDPOINTS.replace(tx, rules.apply(found, spec))
            tx.emit("endpoint.applied", spec.project, spec.name, actor.id, endpoint=spec.name, model=spec.model)
            return kept

        return await self._database.write_once(key, spec, Endpoint, keep)

    async def endpoint(self, actor: Actor, project: str, name: str) -> Endpoint:
        """An endpoint as it stands."""
        require(actor, "endpoints:read", project)
        return await self._database.read(lambda connection: ENDPOINTS.get(connection, project, name))

    async def endpoints(self, actor: Actor, project: str, *, after: str = "", limit: int = 100) -> Page[Endpoint]:
        """The endpoints of a project."""
        require(actor, "endpoints:read", project)
        return await self._database.read(
            lambda connection: ENDPOINTS.page(connection, project, after=after, limit=limit)
        )

    async def every(self) -> list[Endpoint]:
        """All endpoints of all projects; for workers."""
        return await self._database.read(lambda connection: ENDPOINTS.every(connection))

    async def delete(self, actor: Actor, project: str, name: str) -> None:
        """Delete an endpoint; it answers no more."""
        require(actor, "endpoints:write", project)

        def remove(tx: Tx) -> None:
            ENDPOINTS.delete(tx, project, name)
            tx.emit("endpoint.deleted", project, name, actor.id, endpoint=name)

        await self._database.write(remove)

    async def pause(self, actor: Actor, project: str, name: str, paused: bool) -> Endpoint:
        """Stop answering, or answer again. A rollout waits meanwhile."""
        require(actor, "endpoints:write", project)

        def change(tx: Tx) -> Endpoint:
            found = ENDPOINTS.get(tx.connection, project, name)
            if found.spec.paused == paused:
                return found
            tx.emit("endpoint.paused" if paused else "endpoint.resumed", project, name, actor.id, endpoint=name)
            return ENDPOINTS.replace(tx, replace(found, spec=replace(found.spec, paused=paused)))

        return await self._database.write(change)

    async def deploy(self, actor: Actor, project: str, name: str, request: DeployRequest, key: str = "") -> Endpoint:
        """Roll a version out by hand: a new revision, pending. One that was on its way in makes room for it.

        Raises:
            Refused: the version was not accepted, and `force` is not set.
            Conflict: it is live or on its way in already.
        """
        require(actor, "endpoints:write", project)

        def change(tx: Tx) -> Endpoint:
            found = ENDPOINTS.get(tx.connection, project, name)
            version = self._models.version_in(tx.connection, project, found.model, request.version)
            is_accepted = version.may_serve
            if version.is_tracked and not is_accepted:
                raise Refused(
                    f"version {request.version} of model {found.model!r} is tracked: it is an address, not a bundle.",
                    fix="Train or export it to ONNX and register that; nothing that needs unpickling is ever loaded.",
                )
            if not is_accepted and not request.force:
                reason = version.gate_report.reason if version.gate_report else "no gate report"
                raise Refused(
                    f"version {request.version} of model {found.model!r} is {version.state}: {reason}.",
                    fix="Deploy an accepted version, or force it: the rollout's judge still watches it.",
                )
            return self._deploy(tx, actor, found, request.version, not is_accepted, f"deployed by {actor.id}")

        return await self._database.write_once(key, [project, name, request], Endpoint, change)

    async def move(
        self, actor: Actor, project: str, name: str, number: int, state: RevisionState, weight: int, reason: str
    ) -> Endpoint:
        """Move a revision to a state, a canary to a weight. LIVE retires the former one and moves `champion`.

        Raises:
            Conflict: the state may not follow the present one.
        """
        require(actor, "endpoints:write", project)

        def change(tx: Tx) -> Endpoint:
            found = ENDPOINTS.get(tx.connection, project, name)
            now = rules.find(found, number)
            if now.state is state and (state is not RevisionState.CANARY or now.weight == weight):
                return found
            return self._keep(tx, actor, found, rules.move(found, number, state, weight, reason, tx.now_us))

        return await self._database.write(change)

    async def rollback(self, actor: Actor, project: str, name: str, reason: str, key: str = "") -> Endpoint:
        """One step back: stop the revision on its way in; without one, make the former live revision live again.

        Raises:
            Conflict: there is nothing to return to.
        """
        require(actor, "endpoints:write", project)

        def change(tx: Tx) -> Endpoint:
            found = ENDPOINTS.get(tx.connection, project, name)
            return self._keep(tx, actor, found, rules.rollback(found, reason, tx.now_us))

        return await self._database.write_once(key, [project, name, reason], Endpoint, change)

    async def reconcile(self, project: str, name: str) -> Endpoint | None:
        """Bring an endpoint where its model and its rollout want it: deploy what it follows, start what is pending.

        Safe to repeat at any time; None if the endpoint is gone. For the worker.
        """

        def change(tx: Tx) -> Endpoint | None:
            found = ENDPOINTS.find(tx.connection, project, name)
            if found is None:
                return None
            accepted, champion = self._models.newest_in(tx.connection, project, found.model)
            wanted = rules.follow(found, accepted, champion)
            if wanted:
                found = self._deploy(tx, PLATFORM, found, wanted, False, f"version {wanted} was accepted")
            rolling, step = found.rolling(), rules.start(found)
            if rolling is None or step is None:
                return found
            state, weight, reason = step
            moved = rules.move(found, rolling.number, state, weight, reason, tx.now_us)
            return self._keep(tx, PLATFORM, found, moved)

        return await self._database.write(change)

    async def take_up(self, actor: Actor, project: str, model: str, version: int) -> tuple[str, ...]:
        """Deploy a version on every endpoint that follows its model, because a person made it the champion.

        Nothing is done where it is live or on its way in, and for a version that may not serve. The endpoints' names.
        """
        require(actor, "models:write", project)

        def change(tx: Tx) -> tuple[str, ...]:
            if not self._models.version_in(tx.connection, project, model, version).may_serve:
                return ()
            taken = []
            for found in ENDPOINTS.every(tx.connection, project, model=model):
                on_its_way = [revision for revision in (found.live(), found.rolling()) if revision is not None]
                if found.spec.auto_rollout and version not in {revision.model_version for revision in on_its_way}:
                    self._deploy(tx, PLATFORM, found, version, False, f"made champion by {actor.id}")
                    taken.append(found.name)
            return tuple(taken)

        return await self._database.write(change)

    async def followers(self, project: str, model: str) -> tuple[str, ...]:
        """Names of the endpoints that serve a model; for the worker."""
        found = await self._database.read(lambda connection: ENDPOINTS.every(connection, project, model=model))
        return tuple(endpoint.name for endpoint in found)

    async def plan(self, actor: Actor, after_revision: int = -1, wait_s: float = 0.0) -> ServingPlan:
        """The serving plan. While it is still the one of `after_revision`, wait up to `wait_s` seconds for another."""
        require(actor, "serving:read")
        if "*" not in actor.projects:
            raise Forbidden("the serving plan is about all projects.", fix="Use a token for all projects.")
        if not 0.0 <= wait_s <= WAIT_S_MAX:
            raise InvalidValue(f"wait_s is {wait_s:g}, 0 to {WAIT_S_MAX:g} is allowed.", field="wait_s")
        until_s = self._clock.monotonic_s() + wait_s
        while True:
            plan = await self._newest_plan()
            left_s = until_s - self._clock.monotonic_s()
            if plan.revision != after_revision or left_s <= 0 or self._log.is_closing:
                return plan
            await self._log.wait(min(left_s, POLL_S))

    async def _newest_plan(self) -> ServingPlan:
        known = self._plan
        revision = await self._database.read(lambda connection: plan_revision(connection, max(known.revision, 0)))
        if revision == known.revision:
            return known
        # The number is read first: what the plan then holds is at least as new, and the next poll finds any later change.
        made, tokens = await asyncio.gather(
            self._database.read(lambda connection: plan_endpoints(connection, self._models)),
            self._governance.infer_tokens(),
        )
        self._plan = ServingPlan(
            revision=revision, endpoints=made, tokens=plan_tokens(tokens), public_key=self._models.public_key_pem()
        )
        return self._plan

    def _deploy(self, tx: Tx, actor: Actor, endpoint: Endpoint, version: int, is_forced: bool, reason: str) -> Endpoint:
        changed = rules.deploy(endpoint, version, tx.now_us, is_forced=is_forced, reason=reason)
        rolling = changed.rolling()
        source = Address(project=endpoint.project, kind="models", name=endpoint.model, version=str(version))
        target = Address(
            project=endpoint.project,
            kind="endpoints",
            name=endpoint.name,
            version=str(rolling.number if rolling else 0),
        )
        add_edge(tx, endpoint.project, str(source), str(target), "deployed")
        return self._keep(tx, actor, endpoint, changed)

    def _keep(self, tx: Tx, actor: Actor, before: Endpoint, after: Endpoint) -> Endpoint:
        """Keep a changed endpoint, tell of each revision that changed, and let `champion` follow the live one."""
        kept = ENDPOINTS.replace(tx, after)
        known = {revision.number: revision for revision in before.revisions}
        for revision in after.revisions:
            if known.get(revision.number) != revision:
                _emit(tx, actor, kept, known.get(revision.number), revision)
        live, was = after.live(), before.live()
        if live is not None and (was is None or was.model_version != live.model_version):
            self._models.set_alias_in(tx, after.project, after.model, CHAMPION, live.model_version, actor.id)
        return kept


def _emit(tx: Tx, actor: Actor, endpoint: Endpoint, before: Revision | None, now: Revision) -> None:
    facts = {
        "endpoint": endpoint.name,
        "number": now.number,
        "version": now.model_version,
        "state": now.state.value,
        "weight": now.weight,
        "reason": now.reason,
    }
    if before is None:
        tx.emit("revision.created", endpoint.project, endpoint.name, actor.id, **facts)
        return
    if before.state is now.state is RevisionState.LIVE:
        return  # only its share changed, which the canary's own event says
    tx.emit("revision.moved", endpoint.project, endpoint.name, actor.id, **facts)
    if now.state is RevisionState.REJECTED:
        tx.emit("revision.rejected", endpoint.project, endpoint.name, actor.id, **facts)


def _holder(connection: Connection, project: str, model: str, version: int) -> str:
    """What of ours uses a model version, for the registry to ask before it deletes one."""
    for endpoint in ENDPOINTS.every(connection, project, model=model):
        if version in rules.versions_in_use(endpoint):
            return f"endpoint {endpoint.name!r}"
    return ""
