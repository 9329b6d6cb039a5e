"""Tokens, projects, secrets, denials, the watch and lineage, on both databases."""

import asyncio

import pytest

from sill.core.actors import PLATFORM, Actor
from sill.core.clock import ManualClock
from sill.core.errors import Conflict, Damaged, Forbidden, InvalidValue, NotFound, Unauthenticated
from sill.endpoints import store as _store  # noqa: F401  # declares the table of endpoints
from sill.governance import store
from sill.governance.identity import DENIALS_PER_MINUTE_MAX
from sill.governance.lineage import EDGES_MAX, add_edge
from sill.governance.service import Governance
from sill.governance.types import Project, TokenSpec
from sill.stores.database import Tx, metadata

pytestmark = pytest.mark.anyio

ENDPOINTS = metadata.tables["endpoints"]

ROOT = Actor(id="root", scopes=frozenset({"*"}))
ALICE = Actor(id="tok-alice", scopes=frozenset({"*"}), projects=frozenset({"churn"}))
READER = Actor(id="tok-reader", scopes=frozenset({"runs:read"}))


class TestTokens:
    async def test_root_is_known_by_its_token(self, governance: Governance, root_token: str) -> None:
        assert await governance.authenticate(root_token) == ROOT

    async def test_a_token_is_its_scopes_and_projects(self, governance: Governance) -> None:
        spec = TokenSpec(name="ci", scopes=("runs:read", "data:*"), projects=("churn",))
        made = await governance.create_token(ROOT, spec)
        actor = await governance.authenticate(made.secret)

        assert actor == Actor(
            id=made.token.id, scopes=frozenset({"runs:read", "data:*"}), projects=frozenset({"churn"})
        )

    async def test_the_secret_and_its_digest_stay_out_of_sight(self, governance: Governance) -> None:
        made = await governance.create_token(ROOT, TokenSpec(name="ci", role="reader"))
        listed = await governance.tokens(ROOT)
        kept = await governance.database.read(lambda connection: store.TOKENS.get(connection, "", made.token.id))

        assert [token.digest for token in (made.token, *listed)] == ["", ""]
        assert made.secret not in str((kept, listed, await governance.events(ROOT)))
        assert made.secret.startswith(made.token.prefix)

    @pytest.mark.parametrize("secret", ["", "x", "sill_" + "a" * 43, "' OR '1'='1", "sill_" + "é" * 43, "\udc00"])
    async def test_an_unknown_token_is_nobody(self, governance: Governance, secret: str) -> None:
        with pytest.raises(Unauthenticated):
            await governance.authenticate(secret)

    async def test_an_expired_token_is_nobody_although_it_was_just_known(
        self, governance: Governance, clock: ManualClock
    ) -> None:
        made = await governance.create_token(ROOT, TokenSpec(name="ci", role="reader", seconds=2))
        await governance.authenticate(made.secret)
        clock.advance(2)
        with pytest.raises(Unauthenticated):
            await governance.authenticate(made.secret)

    async def test_a_revoked_token_is_nobody_at_once(self, governance: Governance) -> None:
        made = await governance.create_token(ROOT, TokenSpec(name="ci", role="reader"))
        await governance.authenticate(made.secret)
        assert (await governance.revoke_token(ROOT, made.token.id)).revoked_us
        with pytest.raises(Unauthenticated):
            await governance.authenticate(made.secret)

    async def test_a_token_revoked_by_another_process_is_nobody_within_five_seconds(
        self, governance: Governance, clock: ManualClock
    ) -> None:
        made = await governance.create_token(ROOT, TokenSpec(name="ci", role="reader"))
        await governance.authenticate(made.secret)
        elsewhere = governance._identities
        governance._identities = type(elsewhere)(governance.database, clock, "")
        await governance.revoke_token(ROOT, made.token.id)
        clock.advance(5)
        with pytest.raises(Unauthenticated):
            await elsewhere.actor(made.secret)

    async def test_nobody_makes_a_token_beyond_his_own(self, governance: Governance) -> None:
        for spec in (
            TokenSpec(name="a", role="admin"),
            TokenSpec(name="a", scopes=("runs:read",), projects=("theirs",)),
        ):
            with pytest.raises(Forbidden):
                await governance.create_token(
                    Actor(id="t", scopes=frozenset({"tokens:*", "runs:read"}), projects=frozenset({"churn"})), spec
                )
        with pytest.raises(Forbidden):
            await governance.create_token(READER, TokenSpec(name="a", scopes=("runs:read",)))

    @pytest.mark.parametrize(
        "spec",
        [
            TokenSpec(name="job:run-1", role="reader"),
            TokenSpec(name="ci", role="reader", seconds=-1),
            TokenSpec(name="ci", role="reader", seconds=10**12),
            TokenSpec(name="ci", role="reader", projects=()),
            TokenSpec(name="ci", role="reader", projects=("No Such",)),
        ],
    )
    async def test_a_token_that_makes_no_sense_is_refused(self, governance: Governance, spec: TokenSpec) -> None:
        with pytest.raises(InvalidValue):
            await governance.create_token(ROOT, spec)

    async def test_a_tenant_sees_and_ends_the_tokens_of_his_projects_only(self, governance: Governance) -> None:
        mine = await governance.create_token(ROOT, TokenSpec(name="mine", role="reader", projects=("churn",)))
        theirs = await governance.create_token(ROOT, TokenSpec(name="theirs", role="reader", projects=("*",)))

        assert [token.name for token in await governance.tokens(ALICE)] == ["mine"]
        with pytest.raises(NotFound):
            await governance.revoke_token(ALICE, theirs.token.id)
        assert (await governance.revoke_token(ALICE, mine.token.id)).revoked_us

    async def test_a_job_token_is_bound_to_run_project_and_time(
        self, governance: Governance, clock: ManualClock
    ) -> None:
        secret = await governance.job_token("run-1", "churn", 60.0)
        actor = await governance.authenticate(secret)

        assert (actor.id, actor.projects) == ("job:run-1", frozenset({"churn"}))
        assert not any(actor.has(scope) for scope in ("tokens:write", "secrets:read", "projects:write", "audit:read"))
        with pytest.raises(Forbidden):
            await governance.create_session(actor, TokenSpec(name="s", scopes=("runs:read",), seconds=10_000))
        clock.advance(60)
        with pytest.raises(Unauthenticated):
            await governance.authenticate(secret)

    async def test_a_job_token_ends_with_its_run(self, governance: Governance) -> None:
        ended = await governance.job_token("run-1", "churn", 3600)
        other = await governance.job_token("run-2", "churn", 3600)
        await governance.end_job("run-1")

        with pytest.raises(Unauthenticated):
            await governance.authenticate(ended)
        assert (await governance.authenticate(other)).id == "job:run-2"

    async def test_a_session_lasts_no_longer_than_its_owner_and_ends_by_itself(
        self, governance: Governance, clock: ManualClock
    ) -> None:
        owner = await governance.create_token(ROOT, TokenSpec(name="ci", role="reader", seconds=100))
        actor = await governance.authenticate(owner.secret)
        spec = TokenSpec(name="console session", scopes=tuple(actor.scopes), seconds=43_200)
        session = await governance.create_session(actor, spec)

        assert session.token.expires_us <= owner.token.expires_us
        await governance.end_session(await governance.authenticate(session.secret))
        with pytest.raises(Unauthenticated):
            await governance.authenticate(session.secret)

    async def test_the_inference_plane_is_known_after_a_restart(self, governance: Governance) -> None:
        actor = await governance.authenticate(governance.inference_token())

        assert actor.id == "inference"
        assert not actor.has("tokens:read")

    async def test_the_plan_gets_the_tokens_that_may_infer(self, governance: Governance, clock: ManualClock) -> None:
        for spec in (
            TokenSpec(name="app", scopes=("serving:infer",)),
            TokenSpec(name="dev", role="developer"),
            TokenSpec(name="looker", role="reader"),
            TokenSpec(name="gone", role="developer", seconds=1),
        ):
            await governance.create_token(ROOT, spec)
        ended = await governance.create_token(ROOT, TokenSpec(name="ended", role="developer"))
        await governance.revoke_token(ROOT, ended.token.id)
        clock.advance(2)
        tokens = await governance.infer_tokens()

        assert sorted(token.name for token in tokens) == ["app", "dev", "root"]
        assert all(len(token.digest) == 64 for token in tokens)


class TestProjects:
    async def test_default_is_there_when_it_is_asked_for(self, governance: Governance) -> None:
        assert [project.project for project in await governance.projects(ROOT)] == ["default"]
        assert (await governance.project(ROOT, "default")).project == "default"

    async def test_a_taken_name_is_a_conflict_and_a_bad_one_invalid(self, governance: Governance) -> None:
        await governance.create_project(ROOT, Project(project="churn"))
        with pytest.raises(Conflict):
            await governance.create_project(ROOT, Project(project="churn"))
        with pytest.raises(InvalidValue):
            await governance.create_project(ROOT, Project(project="Not A Name"))

    async def test_a_tenant_sees_his_own_only(self, governance: Governance) -> None:
        for name in ("churn", "theirs"):
            await governance.create_project(ROOT, Project(project=name))

        assert [project.project for project in await governance.projects(ALICE)] == ["churn"]
        for name in ("theirs", "nobodys"):
            with pytest.raises(NotFound):
                await governance.project(ALICE, name)

    async def test_a_project_with_things_is_not_deleted_and_says_what_is_there(self, governance: Governance) -> None:
        await governance.create_project(ROOT, Project(project="churn"))
        await governance.database.write(fill_endpoints)
        with pytest.raises(Conflict, match="1 endpoints"):
            await governance.delete_project(ROOT, "churn")
        await governance.database.write(lambda tx: tx.execute(ENDPOINTS.delete()))
        await governance.delete_project(ROOT, "churn")
        with pytest.raises(NotFound):
            await governance.project(ROOT, "churn")

    async def test_lineage_and_secrets_go_with_the_project(self, governance: Governance) -> None:
        await governance.create_project(ROOT, Project(project="churn"))
        await governance.put_secret(ROOT, "churn", "KEY", "v")
        await governance.database.write(lambda tx: add_edge(tx, "churn", "a", "b", "read"))
        await governance.delete_project(ROOT, "churn")

        assert await governance.secret_names(ROOT, "churn") == ()


class TestSecrets:
    async def test_only_the_platform_reads_them(self, governance: Governance) -> None:
        await governance.put_secret(ALICE, "churn", "S3_KEY", "hunter2")

        assert await governance.secret_names(ALICE, "churn") == ("S3_KEY",)
        assert await governance.secret(PLATFORM, "churn", "S3_KEY") == "hunter2"
        for actor in (ROOT, ALICE):
            with pytest.raises(Forbidden):
                await governance.secret(actor, "churn", "S3_KEY")

    async def test_neither_rows_nor_events_hold_the_value(self, governance: Governance) -> None:
        await governance.put_secret(ROOT, "churn", "S3_KEY", "hunter2")
        rows = await governance.database.read(lambda connection: connection.execute(store.secrets.select()).all())

        assert "hunter2" not in str((rows, await governance.events(ROOT)))

    async def test_a_secret_does_not_open_in_another_project(self, governance: Governance) -> None:
        await governance.put_secret(ROOT, "churn", "S3_KEY", "hunter2")
        await governance.database.write(lambda tx: tx.execute(store.secrets.update().values(project="theirs")))
        with pytest.raises(Damaged):
            await governance.secret(PLATFORM, "theirs", "S3_KEY")

    async def test_setting_again_replaces_and_deleting_removes(self, governance: Governance) -> None:
        for value in ("one", "two"):
            await governance.put_secret(ROOT, "churn", "K", value)
        assert await governance.secret(PLATFORM, "churn", "K") == "two"
        await governance.delete_secret(ROOT, "churn", "K")
        with pytest.raises(NotFound):
            await governance.delete_secret(ROOT, "churn", "K")


class TestDenials:
    async def test_a_refused_change_is_written_down(self, governance: Governance) -> None:
        await governance.denied(READER, "POST /api/v1/tokens", "nobodys-project")
        [event] = await governance.events(ROOT)

        assert (event.kind, event.actor, event.project, event.subject) == (
            *("access.denied", "tok-reader", "", "POST /api/v1/tokens"),
        )

    async def test_many_are_counted_not_written(self, governance: Governance, clock: ManualClock) -> None:
        for _ in range(DENIALS_PER_MINUTE_MAX + 5):
            await governance.denied(READER, "POST /x")
        assert len(await governance.events(ROOT, limit=1000)) == DENIALS_PER_MINUTE_MAX
        clock.advance(61)
        await governance.denied(READER, "POST /x")
        assert (await governance.events(ROOT, limit=1000))[-1].data == {"left_out": 5}


class TestWatch:
    async def test_a_reader_gets_every_event_once_in_order_however_often_it_resumes(
        self, governance: Governance
    ) -> None:
        async def write(project: str) -> None:
            for number in range(30):
                await governance.database.write(
                    lambda tx, n=number: [tx.emit("thing.noted", project, str(n), "t") for _ in range(1 + n % 3)]
                )

        writers = asyncio.gather(write("churn"), write("theirs"))
        seen: dict[str, list[int]] = {"": [], "churn": []}
        after = {"": 0, "churn": 0}
        while not writers.done() or await more(governance, after):
            for project in seen:
                page = await governance.watch(ROOT, project=project, after=after[project], limit=7)
                seen[project] += [event.seq for event in page.items]
                after[project] = page.next
        everything = [event.seq for event in await governance.events(ROOT, limit=1000)]

        assert seen[""] == everything == list(range(1, 121))
        assert seen["churn"] == [event.seq for event in await governance.events(ROOT, project="churn", limit=1000)]

    async def test_a_tenant_sees_his_projects_only(self, governance: Governance) -> None:
        for project in ("churn", "theirs", ""):
            await governance.database.write(lambda tx, p=project: tx.emit("thing.noted", p, "s", "t"))

        assert [event.project for event in await governance.events(ALICE)] == ["churn"]
        with pytest.raises(NotFound):
            await governance.events(ALICE, project="theirs")

    async def test_a_waiting_reader_is_woken(self, governance: Governance) -> None:
        waiting = asyncio.create_task(governance.events(ROOT, wait_s=60))
        await asyncio.sleep(0.05)
        await governance.database.write(lambda tx: tx.emit("thing.noted", "churn", "s", "t"))

        assert len(await asyncio.wait_for(waiting, 10)) == 1

    async def test_limits_are_kept(self, governance: Governance) -> None:
        for limit, wait_s in ((0, 0.0), (1_001, 0.0), (1, -1.0), (1, 61.0)):
            with pytest.raises(InvalidValue):
                await governance.events(ROOT, limit=limit, wait_s=wait_s)


class TestLineage:
    ROOT_ADDRESS = "sill://churn/models/m/1"

    async def edges(self, governance: Governance, *pairs: tuple[str, str]) -> None:
        def work(tx: object) -> None:
            for source, target in pairs:
                add_edge(tx, "churn", source, target, "made")  # type: ignore[arg-type]

        await governance.database.write(work)

    async def test_up_and_down_and_in_a_circle(self, governance: Governance) -> None:
        a = self.ROOT_ADDRESS
        await self.edges(governance, ("sill://churn/runs/r", a), (a, "x"), ("y", "sill://churn/runs/r"), (a, "y"))

        up = await governance.lineage(ROOT, a, "up", 5)
        down = await governance.lineage(ROOT, a, "down", 1)
        assert [(edge.source, edge.target) for edge in up.edges][:2] == [
            ("sill://churn/runs/r", a),
            ("y", "sill://churn/runs/r"),
        ]
        assert len(up.edges) == 3
        assert {edge.target for edge in down.edges} == {"x", "y"}

    async def test_depth_and_size_are_bounded(self, governance: Governance) -> None:
        a = self.ROOT_ADDRESS
        await self.edges(governance, *((a, f"child-{number}") for number in range(EDGES_MAX + 10)))

        assert len((await governance.lineage(ROOT, a, "down", 3)).edges) == EDGES_MAX
        for direction, depth in (("sideways", 1), ("up", 0), ("up", 21)):
            with pytest.raises(InvalidValue):
                await governance.lineage(ROOT, a, direction, depth)

    async def test_another_tenants_lineage_is_not_found(self, governance: Governance) -> None:
        with pytest.raises(NotFound):
            await governance.lineage(ALICE, "sill://theirs/models/m/1")

    async def test_noting_an_edge_twice_changes_nothing(self, governance: Governance) -> None:
        await self.edges(governance, (self.ROOT_ADDRESS, "x"), (self.ROOT_ADDRESS, "x"))

        assert len((await governance.lineage(ROOT, self.ROOT_ADDRESS, "down")).edges) == 1


async def more(governance: Governance, after: dict[str, int]) -> bool:
    return bool(await governance.events(ROOT, after=after[""], limit=1)) or bool(
        await governance.events(ROOT, project="churn", after=after["churn"], limit=1)
    )


def fill_endpoints(tx: Tx) -> None:
    row = {column.name: 0 if column.type.python_type is int else "x" for column in ENDPOINTS.c}
    tx.execute(ENDPOINTS.insert().values(row | {"project": "churn"}))


async def test_a_project_whose_making_is_sent_again_is_made_once(governance: Governance) -> None:
    made = [await governance.create_project(ROOT, Project(project="churn"), key="k") for _ in range(2)]

    assert made[0] == made[1]
    with pytest.raises(Conflict):
        await governance.create_project(ROOT, Project(project="churn"))
