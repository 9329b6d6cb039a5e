"""Projects, tokens, secrets, the audit and the watch of events: who may do what, and who did it."""

import asyncio
import base64

import msgspec

from sill.core.actors import ANY, JOB, PLATFORM, Actor
from sill.core.addresses import parse_address
from sill.core.clock import Clock, Ids
from sill.core.errors import Conflict, Forbidden, InvalidValue, NotFound
from sill.core.events import Event
from sill.core.names import check_name, shorten
from sill.governance import store
from sill.governance.audit import AuditHeads, verify_log
from sill.governance.identity import Denials, Identities
from sill.governance.lineage import walk
from sill.governance.rules import (
    JOB_SCOPES,
    JOB_SECONDS_MAX,
    PROJECTS_PER_TOKEN_MAX,
    REPLICA_SCOPES,
    TOKEN_SECONDS_MAX,
    check_grant,
    check_secret_name,
    may_infer,
    require,
    scopes_of,
)
from sill.governance.types import AuditReport, EventPage, LineageGraph, NewToken, Project, Token, TokenSpec
from sill.safety.secrets import SecretBox
from sill.safety.tokens import digest, new_token
from sill.stores.database import Connection, Database, Tx
from sill.stores.database.chain import read_head
from sill.stores.log import EVENTS_PER_READ_MAX, Log, events_after

DEFAULT_PROJECT = "default"
WAIT_S_MAX = 60.0
PREFIX_LENGTH = 12
NOTE_LENGTH_MAX = 10_000
PROJECTS_REMEMBERED_MAX = 10_000


class Governance:
    """Decides who an actor is, keeps projects, tokens and secrets, and proves what happened.

    Args:
        root_digest: digest of the root token, which is kept in the home and not in the database.
    """

    def __init__(
        self, database: Database, log: Log, clock: Clock, ids: Ids, box: SecretBox, *, root_digest: str
    ) -> None:
        self.database = database
        self.clock = clock
        self._log = log
        self._ids = ids
        self._box = box
        self._identities = Identities(database, clock, root_digest)
        self._denials = Denials()
        self._projects: set[str] = set()
        self.heads: AuditHeads | None = None
        """Signed heads to compare the log with; the worker that writes them sets it."""

    # Identity

    async def authenticate(self, secret: str) -> Actor:
        """The actor a token stands for.

        Raises:
            Unauthenticated: it is not known, has expired or was revoked.
        """
        return await self._identities.actor(secret)

    async def create_token(self, actor: Actor, spec: TokenSpec) -> NewToken:
        """Make a token. Its secret is in the answer, and nowhere else.

        Raises:
            InvalidValue: name, scopes, role, projects or seconds are not allowed.
            Forbidden: the actor would give more than it has.
        """
        require(actor, "tokens:write")
        check_name(spec.name)
        return await self._create(actor, spec)

    async def create_session(self, actor: Actor, spec: TokenSpec) -> NewToken:
        """Make a token for the actor's own browser: no more than the actor has, and no longer.

        Raises:
            Forbidden: a run asks.
            InvalidValue: the session would have no end.
        """
        if actor.run_id:
            raise Forbidden(f"{actor.id} is a run; only people open sessions.", fix="Use a token of your own.")
        if not spec.seconds:
            raise InvalidValue("a session needs an end.", fix="Give seconds.", field="seconds")
        own = await self.database.read(lambda connection: store.TOKENS.find(connection, "", actor.id))
        if own is not None and own.expires_us:
            left_s = max(1, (own.expires_us - self.clock.now_us()) // 1_000_000)
            spec = msgspec.structs.replace(spec, seconds=min(spec.seconds, left_s))
        return await self._create(actor, spec)

    async def end_session(self, actor: Actor) -> None:
        """Revoke the token that the actor came with; the root token and the platform's own stay."""
        token = await self.database.read(lambda connection: store.TOKENS.find(connection, "", actor.id))
        if token is not None:
            await self._revoke(actor, token)

    async def tokens(self, actor: Actor) -> tuple[Token, ...]:
        """All tokens that the actor could have made, without their digests; those of runs and browsers included."""
        require(actor, "tokens:read")
        found = await self.database.read(store.TOKENS.every)
        return tuple(_shown(token) for token in found if _may_manage(actor, token))

    async def revoke_token(self, actor: Actor, token_id: str) -> Token:
        """End a token now; everywhere within five seconds. Doing it again changes nothing.

        Raises:
            NotFound: there is none, or it reaches beyond the actor's projects.
        """
        require(actor, "tokens:write")
        token = await self.database.read(lambda connection: store.TOKENS.find(connection, "", token_id))
        if token is None or not _may_manage(actor, token):
            raise NotFound(f"no token {shorten(token_id)!r}.", fix="List the tokens.")
        return await self._revoke(actor, token)

    async def job_token(self, run_id: str, project: str, seconds: float) -> str:
        """A token for one run: good in its project only, and no longer than `seconds`."""
        return await self._run_token(run_id, JOB_SCOPES, project, seconds)

    async def replica_token(self, run_id: str, seconds: float) -> str:
        """A token for a run that is a replica of the inference plane: what that may do, for no longer than `seconds`."""
        return await self._run_token(run_id, REPLICA_SCOPES, ANY, seconds)

    async def _run_token(self, run_id: str, scopes: frozenset[str], project: str, seconds: float) -> str:
        bounded = max(1, min(round(seconds), JOB_SECONDS_MAX))
        spec = TokenSpec(name=f"{JOB}{run_id}", scopes=tuple(sorted(scopes)), projects=(project,), seconds=bounded)
        return (await self._create(PLATFORM, spec)).secret

    async def end_job(self, run_id: str) -> None:
        """Revoke the tokens of a run that is over."""
        find = lambda connection: store.TOKENS.every(connection, "", name=f"{JOB}{run_id}")  # noqa: E731
        for token in await self.database.read(find):
            await self._revoke(PLATFORM, token)

    def inference_token(self) -> str:
        """The inference plane's token: made from the root token's digest, so that it outlives a restart of this process."""
        return self._identities.inference_token

    async def infer_tokens(self) -> tuple[Token, ...]:
        """The tokens that may ask models now, with their digests: for the platform's serving plan, never for a person."""
        found = await self.database.read(lambda connection: store.live_tokens(connection, self.clock.now_us()))
        return (self._identities.root_as_token, *(token for token in found if may_infer(token)))

    async def denied(self, actor: Actor, what: str, project: str = "") -> None:
        """Write down that a change was refused. At most 60 a minute; the rest is counted."""
        left_out = self._denials.admit(self.clock.now_us())
        if left_out is None:
            return

        def work(tx: Tx) -> None:
            known = store.PROJECTS.find(tx.connection, project, project) is not None
            tx.emit("access.denied", project if known else "", shorten(what, 200), actor.id, left_out=left_out)

        await self.database.write(work)

    # Projects

    async def create_project(self, actor: Actor, project: Project, key: str = "") -> Project:
        """Make a project.

        Raises:
            Conflict: there is one of that name.
        """
        require(actor, "projects:write", check_name(project.project, "project"))
        if project.budget_usd_per_day < 0:
            raise InvalidValue("a budget is not below zero.", field="budget_usd_per_day")
        if len(project.note) > NOTE_LENGTH_MAX:
            raise InvalidValue(f"the note is longer than {NOTE_LENGTH_MAX:,} characters.", field="note")
        return await self.database.write_once(key, project, Project, lambda tx: _create_project(tx, actor, project))

    async def project(self, actor: Actor, name: str) -> Project:
        """The project; `default` is made when it is first asked for.

        Raises:
            NotFound: there is none, or it is another tenant's.
        """
        require(actor, "projects:read", name)
        found = await self.database.read(lambda connection: store.PROJECTS.find(connection, name, name))
        if found is None and name == DEFAULT_PROJECT:
            return await self.database.write(_default_project)
        if found is None:
            raise NotFound(f"no project {shorten(name)!r}.", fix="List the projects, or make it.")
        return found

    async def check_project(self, name: str) -> None:
        """Returns if there is such a project; `default` is made when it is first asked for. Remembers what it found.

        Raises:
            NotFound: there is none.
        """
        if name not in self._projects:
            await self.project(PLATFORM, name)
            if len(self._projects) >= PROJECTS_REMEMBERED_MAX:
                self._projects.clear()
            self._projects.add(name)

    async def projects(self, actor: Actor) -> tuple[Project, ...]:
        """The projects the actor may see."""
        require(actor, "projects:read")
        if actor.may_touch(DEFAULT_PROJECT):
            await self.project(actor, DEFAULT_PROJECT)
        found = await self.database.read(store.PROJECTS.every)
        return tuple(project for project in found if actor.may_touch(project.project))

    async def delete_project(self, actor: Actor, name: str) -> None:
        """Remove an empty project, with its declarations, lineage, secrets and meter records. Its events stay.

        Raises:
            Conflict: it still has things; `details` counts them by kind.
        """
        require(actor, "projects:admin", name)

        def work(tx: Tx) -> None:
            store.PROJECTS.get(tx.connection, name, name)
            things = store.things_of(tx.connection, name)
            if things:
                listed = ", ".join(f"{number} {kind}" for kind, number in things.items())
                raise Conflict(f"project {name!r} is not empty: {listed}.", fix="Delete those first.", things=things)
            store.remove_leftovers(tx, name)
            store.PROJECTS.delete(tx, name, name)
            tx.emit("project.deleted", name, name, actor.id)

        await self.database.write(work)
        self._projects.discard(name)

    # Secrets

    async def put_secret(self, actor: Actor, project: str, name: str, value: str) -> None:
        """Seal and keep a secret, whether there was one of that name or not."""
        require(actor, "secrets:write", project)
        sealed = self._box.seal(value.encode(), f"{project}/{check_secret_name(name)}")

        def work(tx: Tx) -> None:
            store.put_secret(tx, project, name, base64.b64encode(sealed).decode())
            tx.emit("secret.set", project, name, actor.id)

        await self.database.write(work)

    async def secret_names(self, actor: Actor, project: str) -> tuple[str, ...]:
        """Names of the project's secrets; values are never shown."""
        require(actor, "secrets:read", project)
        return await self.database.read(lambda connection: store.secret_names(connection, project))

    async def delete_secret(self, actor: Actor, project: str, name: str) -> None:
        """Remove a secret.

        Raises:
            NotFound: there is none of that name.
        """
        require(actor, "secrets:write", project)

        def work(tx: Tx) -> None:
            if not store.delete_secret(tx, project, name):
                raise NotFound(f"no secret {shorten(name)!r} in project {project!r}.", fix="List their names.")
            tx.emit("secret.deleted", project, name, actor.id)

        await self.database.write(work)

    async def secret(self, actor: Actor, project: str, name: str) -> str:
        """A secret itself, for the platform to hand to a run.

        Raises:
            Forbidden: anybody else asks.
            NotFound: there is none of that name.
            Damaged: the row was changed, or belongs to another project or name.
        """
        if actor.id != PLATFORM.id:
            raise Forbidden("only the platform reads secrets.", fix="Name the secret in a run's spec.")
        sealed = await self.database.read(lambda connection: store.find_secret(connection, project, name))
        if sealed is None:
            raise NotFound(f"no secret {shorten(name)!r} in project {project!r}.", fix="Set it first.")
        return self._box.unseal(base64.b64decode(sealed), f"{project}/{name}").decode()

    # Audit, watch, lineage

    async def verify_audit(self, actor: Actor) -> AuditReport:
        """Walk the whole log and say whether anybody changed it."""
        require(actor, "audit:read")
        return await asyncio.to_thread(verify_log, self.database, self.heads)

    async def events(
        self,
        actor: Actor,
        *,
        project: str = "",
        after: int = 0,
        kinds: tuple[str, ...] = (),
        limit: int = 100,
        wait_s: float = 0.0,
    ) -> list[Event]:
        """Events behind `after`, in order, without gaps; see `watch`."""
        page = await self.watch(actor, project=project, after=after, kinds=kinds, limit=limit, wait_s=wait_s)
        return list(page.items)

    async def watch(
        self,
        actor: Actor,
        *,
        project: str = "",
        after: int = 0,
        kinds: tuple[str, ...] = (),
        limit: int = 100,
        wait_s: float = 0.0,
    ) -> EventPage:
        """The next events of a project (or of all the actor's), and where to go on; waits for one up to `wait_s`.

        Raises:
            InvalidValue: limit or wait_s out of range.
        """
        require(actor, "audit:read", project)
        if not 1 <= limit <= EVENTS_PER_READ_MAX:
            raise InvalidValue(f"limit {limit} is not within 1 to {EVENTS_PER_READ_MAX}.", field="limit")
        if not 0 <= wait_s <= WAIT_S_MAX:
            raise InvalidValue(f"wait_s {wait_s} is not within 0 to {WAIT_S_MAX:.0f}.", field="wait_s")
        of = (project,) if project else () if ANY in actor.projects else tuple(sorted(actor.projects)) or ("",)
        until_s = self.clock.monotonic_s() + wait_s
        while True:
            commits = self._log.commits
            page = await self.database.read(lambda connection: _page(connection, after, of, kinds, limit))
            left_s = until_s - self.clock.monotonic_s()
            if page.items or left_s <= 0 or self._log.is_closing:
                return page
            await self._log.wait(min(left_s, 1.0), since=commits)

    async def lineage(self, actor: Actor, address: str, direction: str = "up", depth: int = 5) -> LineageGraph:
        """What a thing was made from (`up`), or what was made from it (`down`), within `depth` steps."""
        project = parse_address(address).project
        require(actor, "projects:read", project)
        return await self.database.read(lambda connection: walk(connection, project, address, direction, depth))

    # Below: not for other stages

    async def _create(self, actor: Actor, spec: TokenSpec) -> NewToken:
        scopes, projects = scopes_of(spec.scopes, spec.role), frozenset(spec.projects)
        check_grant(actor, scopes, projects)
        if not 1 <= len(projects) <= PROJECTS_PER_TOKEN_MAX:
            raise InvalidValue(f"a token is for 1 to {PROJECTS_PER_TOKEN_MAX} projects.", field="projects")
        for project in projects - {ANY}:
            check_name(project, "projects")
        if not 0 <= spec.seconds <= TOKEN_SECONDS_MAX:
            raise InvalidValue(f"seconds {spec.seconds} is not within 0 to {TOKEN_SECONDS_MAX}.", field="seconds")
        secret, now_us = new_token(), self.clock.now_us()
        token = Token(
            id=self._ids.new("tok"),
            name=spec.name,
            digest=digest(secret),
            prefix=secret[:PREFIX_LENGTH],
            scopes=tuple(sorted(scopes)),
            projects=tuple(sorted(projects)),
            created_us=now_us,
            expires_us=now_us + spec.seconds * 1_000_000 if spec.seconds else 0,
        )

        def work(tx: Tx) -> Token:
            kept = store.TOKENS.create(tx, token)
            project = token.projects[0] if len(projects) == 1 and ANY not in projects else ""
            tx.emit("token.created", project, token.id, actor.id, name=token.name, expires_us=token.expires_us)
            return kept

        return NewToken(token=_shown(await self.database.write(work)), secret=secret)

    async def _revoke(self, actor: Actor, token: Token) -> Token:
        def work(tx: Tx) -> Token:
            current = store.TOKENS.get(tx.connection, "", token.id)
            if current.revoked_us:
                return current
            tx.emit("token.revoked", "", token.id, actor.id, name=token.name)
            return store.TOKENS.replace(tx, msgspec.structs.replace(current, revoked_us=tx.now_us))

        revoked = await self.database.write(work)
        self._identities.forget(token.digest)
        return _shown(revoked)


def _create_project(tx: Tx, actor: Actor, project: Project) -> Project:
    kept = store.PROJECTS.create(tx, msgspec.structs.replace(project, created_us=tx.now_us))
    tx.emit("project.created", project.project, project.project, actor.id)
    return kept


def _default_project(tx: Tx) -> Project:
    found = store.PROJECTS.find(tx.connection, DEFAULT_PROJECT, DEFAULT_PROJECT)
    return found or _create_project(tx, PLATFORM, Project(project=DEFAULT_PROJECT, note="made by itself"))


def _page(
    connection: Connection, after: int, projects: tuple[str, ...], kinds: tuple[str, ...], limit: int
) -> EventPage:
    head = read_head(connection)[0]
    found = events_after(connection, after, projects, kinds, limit, up_to=head)
    seen = found[-1].seq if len(found) == limit else max(head, after)
    return EventPage(items=tuple(found), next=seen)


def _may_manage(actor: Actor, token: Token) -> bool:
    return all(actor.may_touch(project) for project in token.projects)


def _shown(token: Token) -> Token:
    """The token without its digest: nobody but the store has a use for it."""
    return msgspec.structs.replace(token, digest="")
