"""Endpoints that follow their model, and the plan that follows them."""

import asyncio

import pytest
from msgspec.structs import replace

from sill.core.actors import PLATFORM, Actor
from sill.core.errors import Conflict, Forbidden, InvalidValue, NotFound, Refused
from sill.endpoints.service import Endpoints
from sill.endpoints.types import DeployRequest, Endpoint, EndpointSpec, RevisionState, Rollout
from sill.endpoints.workers import KINDS, FollowWorker
from sill.governance.types import TokenSpec
from sill.models.types import ModelVersion
from sill.runs.training.types import Evaluation, GateSpec
from sill.safety.tokens import digest
from sill.testing.platform import Platform, against

PROJECT = "default"
SPEC = EndpointSpec(project=PROJECT, name="churn", model="churn")


@pytest.fixture
def endpoints(platform: Platform) -> Endpoints:
    return Endpoints(platform.database, platform.log, platform.models, platform.governance, platform.clock)


async def settle(platform: Platform, endpoints: Endpoints, repeats: int = 1) -> Endpoint:
    """Let the worker handle all events, `repeats` times each."""
    worker, seq = FollowWorker(platform.log, endpoints), 0
    while events := await platform.log.after(seq, kinds=KINDS):
        for event in events:
            for _ in range(repeats):
                await worker.handle(event)
        seq = events[-1].seq
    return await endpoints.endpoint(PLATFORM, PROJECT, "churn")


async def register(platform: Platform, **fields: object) -> ModelVersion:
    return await platform.models.register(PLATFORM, PROJECT, platform.spec(**fields))  # type: ignore[arg-type]


async def champion(platform: Platform) -> int:
    return (await platform.models.model(PLATFORM, PROJECT, "churn")).aliases.get("champion", 0)


def summary(endpoint: Endpoint) -> list[tuple[int, str, int]]:
    return [(one.model_version, one.state.value, one.weight) for one in endpoint.revisions]


@pytest.mark.anyio
@pytest.mark.parametrize("model_first", [True, False])
async def test_the_first_accepted_version_serves_whichever_came_first(
    platform: Platform, endpoints: Endpoints, model_first: bool
) -> None:
    if model_first:
        await register(platform)
    await endpoints.apply(PLATFORM, SPEC)
    if not model_first:
        await register(platform)

    assert summary(await settle(platform, endpoints)) == [(1, "live", 100)]
    assert await champion(platform) == 1


@pytest.mark.anyio
async def test_a_second_version_shadows_and_events_that_come_twice_change_nothing(
    platform: Platform, endpoints: Endpoints
) -> None:
    await endpoints.apply(PLATFORM, SPEC)
    await register(platform)
    await settle(platform, endpoints)
    await register(platform, evaluation=against(1, 0.02))

    assert summary(await settle(platform, endpoints, repeats=3)) == [(1, "live", 100), (2, "shadow", 0)]
    assert await champion(platform) == 1


@pytest.mark.anyio
async def test_a_rejected_version_is_not_rolled_out(platform: Platform, endpoints: Endpoints) -> None:
    await endpoints.apply(PLATFORM, SPEC)
    await register(platform)
    await settle(platform, endpoints)
    await register(platform, evaluation=against(1, -0.1))

    assert summary(await settle(platform, endpoints)) == [(1, "live", 100)]


@pytest.mark.anyio
async def test_promotion_moves_the_champion_with_it_and_rollback_moves_it_back(
    platform: Platform, endpoints: Endpoints
) -> None:
    await endpoints.apply(PLATFORM, SPEC)
    await register(platform)
    await settle(platform, endpoints)
    await register(platform, evaluation=against(1, 0.02))
    await settle(platform, endpoints)

    await endpoints.move(PLATFORM, PROJECT, "churn", 2, RevisionState.LIVE, 100, "passed")
    assert await champion(platform) == 2
    await endpoints.rollback(PLATFORM, PROJECT, "churn", "worse")
    assert await champion(platform) == 1


@pytest.mark.anyio
async def test_a_version_its_gate_refused_is_deployed_by_force_only(platform: Platform, endpoints: Endpoints) -> None:
    await endpoints.apply(PLATFORM, SPEC)
    await register(platform)
    await settle(platform, endpoints)
    await register(platform, gate=GateSpec(minimum=0.99))

    with pytest.raises(Refused, match="rejected"):
        await endpoints.deploy(PLATFORM, PROJECT, "churn", DeployRequest(version=2))
    forced = await endpoints.deploy(PLATFORM, PROJECT, "churn", DeployRequest(version=2, force=True))

    assert forced.revisions[-1].is_forced
    assert summary(await settle(platform, endpoints)) == [(1, "live", 100), (2, "shadow", 0)]


@pytest.mark.anyio
async def test_a_version_an_endpoint_may_return_to_is_not_deleted(platform: Platform, endpoints: Endpoints) -> None:
    await endpoints.apply(PLATFORM, SPEC)
    await register(platform)
    await settle(platform, endpoints)
    await register(platform, evaluation=against(1, 0.02))
    await endpoints.deploy(PLATFORM, PROJECT, "churn", DeployRequest(version=2))
    await endpoints.move(PLATFORM, PROJECT, "churn", 2, RevisionState.LIVE, 100, "passed")

    with pytest.raises(Conflict, match="endpoint 'churn'"):
        await platform.models.delete_version(PLATFORM, PROJECT, "churn", 1)


@pytest.mark.anyio
async def test_the_plan_holds_what_serves_and_the_tokens_that_may_ask(platform: Platform, endpoints: Endpoints) -> None:
    version = await register(platform)
    await endpoints.apply(PLATFORM, SPEC)
    await settle(platform, endpoints)
    made = await platform.governance.create_token(PLATFORM, TokenSpec(name="app", scopes=("serving:infer",)))
    await platform.governance.create_token(PLATFORM, TokenSpec(name="reader", scopes=("runs:read",)))

    plan = await endpoints.plan(PLATFORM)

    revision = plan.endpoints[0].revisions[0]
    assert (plan.endpoints[0].name, revision.number, revision.weight) == ("churn", 1, 100)
    assert revision.files == version.spec.files | {"manifest.json": version.manifest}
    assert digest(made.secret) in {token.digest for token in plan.tokens}
    assert len(plan.tokens) == 2  # the root token's is the other


@pytest.mark.anyio
async def test_the_plans_number_rises_with_every_change_that_matters_and_no_other(
    platform: Platform, endpoints: Endpoints
) -> None:
    await register(platform)
    await endpoints.apply(PLATFORM, SPEC)
    await settle(platform, endpoints)
    first = await endpoints.plan(PLATFORM)
    await register(platform, gate=GateSpec(minimum=0.99))
    same = await endpoints.plan(PLATFORM)
    token = await platform.governance.create_token(PLATFORM, TokenSpec(name="app", scopes=("serving:infer",)))
    second = await endpoints.plan(PLATFORM)
    await platform.governance.revoke_token(PLATFORM, token.token.id)
    third = await endpoints.plan(PLATFORM)
    await endpoints.pause(PLATFORM, PROJECT, "churn", True)
    fourth = await endpoints.plan(PLATFORM)

    assert first == same
    assert first.revision < second.revision < third.revision < fourth.revision
    assert fourth.endpoints == ()


@pytest.mark.anyio
async def test_another_process_makes_the_same_plan(platform: Platform, endpoints: Endpoints) -> None:
    await register(platform)
    await endpoints.apply(PLATFORM, SPEC)
    await settle(platform, endpoints)
    other = Endpoints(platform.database, platform.log, platform.models, platform.governance, platform.clock)

    assert await other.plan(PLATFORM) == await endpoints.plan(PLATFORM)


@pytest.mark.anyio
async def test_a_poll_returns_as_soon_as_the_plan_changes(platform: Platform, endpoints: Endpoints) -> None:
    known = await endpoints.plan(PLATFORM)
    poll = asyncio.create_task(endpoints.plan(PLATFORM, known.revision, 30.0))
    await asyncio.sleep(0)

    await endpoints.apply(PLATFORM, SPEC)

    assert (await asyncio.wait_for(poll, 10)).revision > known.revision


@pytest.mark.anyio
async def test_only_who_may_see_all_projects_reads_the_plan(endpoints: Endpoints) -> None:
    tenant = Actor(id="tok", scopes=frozenset({"*"}), projects=frozenset({PROJECT}))

    with pytest.raises(Forbidden):
        await endpoints.plan(tenant)
    with pytest.raises(InvalidValue):
        await endpoints.plan(PLATFORM, wait_s=float("nan"))


@pytest.mark.anyio
async def test_an_endpoint_of_a_project_that_does_not_exist_is_refused(endpoints: Endpoints) -> None:
    with pytest.raises(NotFound):
        await endpoints.apply(PLATFORM, EndpointSpec(project="nowhere", name="churn", model="churn"))


@pytest.mark.anyio
async def test_applying_the_same_twice_leaves_no_second_event(platform: Platform, endpoints: Endpoints) -> None:
    first = await endpoints.apply(PLATFORM, SPEC)
    again = await endpoints.apply(PLATFORM, SPEC)
    changed = await endpoints.apply(PLATFORM, EndpointSpec(**_fields(rollout=Rollout(steps=(100,)))))

    assert first == again
    assert changed.revision == first.revision + 1
    assert len(await platform.log.after(0, kinds=("endpoint.applied",))) == 2


def _fields(**changed: object) -> dict[str, object]:
    return {"project": PROJECT, "name": "churn", "model": "churn"} | changed


@pytest.mark.anyio
async def test_the_version_that_a_person_makes_champion_is_taken_up_once(
    platform: Platform, endpoints: Endpoints
) -> None:
    await register(platform)
    await endpoints.apply(PLATFORM, SPEC)
    await settle(platform, endpoints)
    gate = GateSpec(metric="auc", minimum=2.0)
    rejected = await register(platform, gate=gate)
    by_hand = EndpointSpec(project=PROJECT, name="by-hand", model="churn", auto_rollout=False)
    await endpoints.apply(PLATFORM, by_hand)

    assert await endpoints.take_up(PLATFORM, PROJECT, "churn", rejected.version) == ()
    assert await endpoints.take_up(PLATFORM, PROJECT, "churn", 1) == ()  # it is live

    second = await platform.models.register(
        PLATFORM, PROJECT, platform.spec(evaluation=better(platform.spec().evaluation))
    )
    assert await endpoints.take_up(PLATFORM, PROJECT, "churn", second.version) == ("churn",)
    assert await endpoints.take_up(PLATFORM, PROJECT, "churn", second.version) == ()


def better(evaluation: Evaluation) -> Evaluation:
    """The same, compared with version 1."""
    return replace(evaluation, incumbent_version=1, delta=0.1, delta_low=0.05, delta_high=0.15)
