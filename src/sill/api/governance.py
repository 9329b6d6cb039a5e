"""Routes of governance: projects, tokens, secrets, the audit, events and lineage."""

from typing import Literal

from sill.api.routing import Call, Routes
from sill.core.values import Value
from sill.governance.types import (
    AuditReport,
    EventPage,
    LineageGraph,
    NewToken,
    Project,
    SecretValue,
    Token,
    TokenSpec,
)

ROUTES = Routes(tag="governance")


class EventQuery(Value, frozen=True, kw_only=True):
    """Events behind `after`; `kinds` joined by commas (`run.` for all of runs); waits up to `wait_s` for the first."""

    after: int = 0
    project: str = ""
    kinds: str = ""
    limit: int = 100
    wait_s: float = 0.0


class LineageQuery(Value, frozen=True, kw_only=True):
    """The thing, which way (`up`: what it was made from), and how many steps."""

    address: str
    direction: Literal["up", "down"] = "up"
    depth: int = 5


@ROUTES.get("/projects", scope="projects:read", returns=tuple[Project, ...])
async def get_projects(call: Call) -> tuple[Project, ...]:
    """The projects the caller may see."""
    return await call.services.governance.projects(call.actor)


@ROUTES.post("/projects", scope="projects:write", body=Project, returns=Project, status=201)
async def create_project(call: Call) -> Project:
    """Make a project."""
    return await call.services.governance.create_project(call.actor, call.body, call.key)


@ROUTES.get("/projects/{project}", scope="projects:read", returns=Project)
async def get_project(call: Call) -> Project:
    """A project."""
    return await call.services.governance.project(call.actor, call.project)


@ROUTES.delete("/projects/{project}", scope="projects:admin", returns=None)
async def delete_project(call: Call) -> None:
    """Remove an empty project; one with things in it is refused with a list of them."""
    await call.services.governance.delete_project(call.actor, call.project)


@ROUTES.get("/tokens", scope="tokens:read", returns=tuple[Token, ...])
async def get_tokens(call: Call) -> tuple[Token, ...]:
    """The tokens the caller could have made."""
    return await call.services.governance.tokens(call.actor)


@ROUTES.post("/tokens", scope="tokens:write", body=TokenSpec, returns=NewToken, status=201)
async def create_token(call: Call) -> NewToken:
    """Make a token; its secret is shown this once."""
    return await call.services.governance.create_token(call.actor, call.body)


@ROUTES.delete("/tokens/{token}", scope="tokens:write", returns=Token)
async def revoke_token(call: Call) -> Token:
    """End a token, everywhere within five seconds."""
    return await call.services.governance.revoke_token(call.actor, call.path["token"])


@ROUTES.get("/projects/{project}/secrets", scope="secrets:read", returns=tuple[str, ...])
async def get_secret_names(call: Call) -> tuple[str, ...]:
    """Names of a project's secrets; values are never shown."""
    return await call.services.governance.secret_names(call.actor, call.project)


@ROUTES.put("/projects/{project}/secrets/{name}", scope="secrets:write", body=SecretValue, returns=None)
async def put_secret(call: Call) -> None:
    """Set a secret."""
    await call.services.governance.put_secret(call.actor, call.project, call.path["name"], call.body.value)


@ROUTES.delete("/projects/{project}/secrets/{name}", scope="secrets:write", returns=None)
async def delete_secret(call: Call) -> None:
    """Remove a secret."""
    await call.services.governance.delete_secret(call.actor, call.project, call.path["name"])


@ROUTES.get("/audit", scope="audit:read", returns=AuditReport)
async def verify_audit(call: Call) -> AuditReport:
    """Walk the whole log and say whether anybody changed it."""
    return await call.services.governance.verify_audit(call.actor)


@ROUTES.get("/events", scope="audit:read", query=EventQuery, returns=EventPage)
async def get_events(call: Call) -> EventPage:
    """The next events, in order and without gaps; ask again with `after` set to `next`."""
    asked = call.query
    kinds = tuple(kind for kind in asked.kinds.split(",") if kind)
    return await call.services.governance.watch(
        call.actor, project=asked.project, after=asked.after, kinds=kinds, limit=asked.limit, wait_s=asked.wait_s
    )


@ROUTES.get("/lineage", scope="projects:read", query=LineageQuery, returns=LineageGraph)
async def get_lineage(call: Call) -> LineageGraph:
    """What a thing was made from, or what was made from it."""
    asked = call.query
    return await call.services.governance.lineage(call.actor, asked.address, asked.direction, asked.depth)
