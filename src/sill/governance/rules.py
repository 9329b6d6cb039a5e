"""Who may do what: scopes, roles, and the one check every service makes first. Pure."""

import re

from sill.core.actors import ANY, Actor
from sill.core.errors import Forbidden, InvalidValue, NotFound
from sill.core.names import shorten
from sill.governance.types import Token

RESOURCES = (
    *("projects", "tokens", "audit", "secrets", "costs", "data", "features", "runs", "models", "endpoints", "serving"),
    *("traffic", "monitors", "triggers", "webhooks", "queues"),
)
VERBS = ("read", "write", "admin", "infer")
TOKEN_SECONDS_MAX = 10 * 366 * 24 * 3600
JOB_SECONDS_MAX = 31 * 24 * 3600
PROJECTS_PER_TOKEN_MAX = 100

_SECRET_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,98}[A-Za-z0-9])?")
_WORK = ("data", "features", "runs", "models", "endpoints", "traffic", "monitors", "triggers", "webhooks")

_READ = frozenset(f"{resource}:read" for resource in (*_WORK, "projects", "costs", "serving", "audit", "queues"))
_DEVELOP = _READ | frozenset(f"{resource}:write" for resource in _WORK) | {"projects:write", "serving:infer"}
_OPERATE = (
    _DEVELOP
    | frozenset(f"{resource}:admin" for resource in _WORK)
    | {"secrets:read", "secrets:write"}
    | {"queues:write"}
)
ROLES: dict[str, frozenset[str]] = {
    "reader": _READ,
    "developer": _DEVELOP,
    "operator": _OPERATE,
    "admin": frozenset({ANY}),
}
"""A role is a bundle of scopes: look; also change and ask models; also approve, delete and set secrets; everything."""

JOB_SCOPES = frozenset(
    {
        *("data:read", "data:write", "features:read", "features:write", "runs:read", "runs:write", "models:read"),
        *("models:write", "endpoints:read", "traffic:read", "traffic:write", "monitors:read", "serving:infer"),
        "projects:read",
    }
)
"""What a run may do in its own project, as long as it lasts."""

INFERENCE_SCOPES = frozenset({"serving:*", "models:read", "endpoints:read", "traffic:read", "traffic:write"})
"""What the inference plane may do: read the plan and the bundles, send what it logged."""
REPLICA_SCOPES = INFERENCE_SCOPES - {"serving:*"} | {"serving:read", "serving:write"}
"""The same for one of its processes that is a run."""


def require(actor: Actor, scope: str, project: str = "") -> None:
    """Returns if the actor may do this here.

    Raises:
        NotFound: the project is another tenant's; the answer is the same as for one that does not exist.
        Forbidden: the actor lacks the scope.
    """
    if project and not actor.may_touch(project):
        raise NotFound(f"no project {shorten(project)!r}.", fix="List the projects you may see.")
    if not actor.has(scope):
        raise Forbidden(
            f"{actor.id} may not do this: it needs the scope {scope!r}.",
            fix="Ask an admin for a token with that scope.",
            scope=scope,
        )


def scopes_of(scopes: tuple[str, ...], role: str) -> frozenset[str]:
    """The scopes a token is asked for, by role or one by one.

    Raises:
        InvalidValue: both or neither are given, or one of them is not known.
    """
    if bool(scopes) == bool(role):
        raise InvalidValue("give either scopes or a role.", fix=f"Roles: {', '.join(ROLES)}.", field="scopes")
    if role:
        if role not in ROLES:
            raise InvalidValue(
                f"role {shorten(role)!r} is not known; {', '.join(ROLES)} are.", fix="Choose one.", field="role"
            )
        return ROLES[role]
    for scope in scopes:
        check_scope(scope)
    return frozenset(scopes)


def check_scope(scope: str) -> str:
    """The scope itself, if there is one of that name: `*`, `resource:*` or `resource:verb`.

    Raises:
        InvalidValue: there is none.
    """
    resource, _, verb = scope.partition(":")
    if scope != ANY and not (resource in RESOURCES and verb in (*VERBS, ANY)):
        raise InvalidValue(
            f"scope {shorten(scope)!r} is not known: resource:verb is, with a resource of {', '.join(RESOURCES)} and "
            f"a verb of {', '.join(VERBS)} or *.",
            field="scopes",
        )
    return scope


def check_grant(actor: Actor, scopes: frozenset[str], projects: frozenset[str]) -> None:
    """Returns if the actor has everything it wants to give away.

    Raises:
        Forbidden: a scope or project beyond its own.
    """
    beyond = sorted(scope for scope in scopes if not _covers(actor, scope))
    if beyond:
        raise Forbidden(f"{actor.id} cannot grant {beyond[0]!r}: it does not have it.", fix="Leave it out.")
    foreign = sorted(project for project in projects if not actor.may_touch(project))
    if foreign:
        raise Forbidden(
            f"{actor.id} cannot grant project {shorten(foreign[0])!r}: it is not its own.", fix="Leave it out."
        )


def may_infer(token: Token) -> bool:
    """True if the token may ask models for answers."""
    return Actor(id=token.id, scopes=frozenset(token.scopes)).has("serving:infer")


def check_secret_name(name: str) -> str:
    """The name itself, if a secret may have it: letters, digits and `_ . -`.

    Raises:
        InvalidValue: anything else.
    """
    if not _SECRET_NAME.fullmatch(name):
        raise InvalidValue(
            f"secret name {shorten(name)!r} is not allowed: letters, digits and _ . - are, first and last a letter or "
            "digit, at most 100 characters.",
            field="name",
        )
    return name


def _covers(actor: Actor, scope: str) -> bool:
    """True if the actor holds all that the scope, which may be a pattern, stands for."""
    if scope == ANY:
        return ANY in actor.scopes
    return actor.has(scope)
