"""Projects, tokens, audit reports and lineage."""

from sill.core.events import Event
from sill.core.values import Value


class Project(Value, frozen=True, kw_only=True):
    """A tenant: everything has one."""

    project: str
    note: str = ""
    budget_usd_per_day: float = 0.0
    created_us: int = 0
    revision: int = 0


class TokenSpec(Value, frozen=True, kw_only=True):
    """A token to make."""

    name: str
    scopes: tuple[str, ...] = ()
    projects: tuple[str, ...] = ("*",)
    role: str = ""
    """`reader`, `developer`, `operator` or `admin`: a bundle of scopes instead of `scopes`."""
    seconds: int = 0
    """How long it is good for; 0 means until revoked."""


class Token(Value, frozen=True, kw_only=True):
    """A token as it is kept: its digest, never itself."""

    id: str
    name: str
    digest: str
    prefix: str
    scopes: tuple[str, ...]
    projects: tuple[str, ...]
    created_us: int
    expires_us: int = 0
    revoked_us: int = 0
    project: str = ""
    revision: int = 0


class NewToken(Value, frozen=True, kw_only=True):
    """A token as it is shown, once."""

    token: Token
    secret: str


class AuditReport(Value, frozen=True, kw_only=True):
    """What `sill audit verify` found."""

    checked: int
    head_seq: int
    head_hash: str
    broken_at: int = 0
    problem: str = ""
    heads_checked: int = 0


class LineageEdge(Value, frozen=True, kw_only=True):
    """`target` was made from `source`; both are addresses."""

    project: str
    source: str
    target: str
    kind: str
    at_us: int = 0


class LineageGraph(Value, frozen=True, kw_only=True):
    """What a thing was made from (upstream) or what was made from it (downstream)."""

    root: str
    edges: tuple[LineageEdge, ...]


class EventPage(Value, frozen=True, kw_only=True):
    """Events in the order of the log. Asking again with `after=next` misses none and repeats none."""

    items: tuple[Event, ...]
    next: int


class SecretValue(Value, frozen=True, kw_only=True):
    """A secret on its way in. It never comes out again."""

    value: str
