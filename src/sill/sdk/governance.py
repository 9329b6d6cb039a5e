"""Projects, tokens, secrets, the audit, events and lineage."""

from collections.abc import Iterator

from sill.core.events import Event
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
from sill.sdk.client import Client

WAIT_S = 30.0


class Governance:
    """Who may do what, and who did it."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def projects(self) -> tuple[Project, ...]:
        """The projects you may see."""
        return self._client.call("GET", "/projects", tuple[Project, ...])

    def project(self, name: str) -> Project:
        """A project."""
        return self._client.call("GET", f"/projects/{name}", Project)

    def create_project(self, name: str, *, note: str = "", budget_usd_per_day: float = 0.0) -> Project:
        """Make a project."""
        project = Project(project=name, note=note, budget_usd_per_day=budget_usd_per_day)
        return self._client.call("POST", "/projects", Project, body=project)

    def delete_project(self, name: str) -> None:
        """Remove an empty project."""
        self._client.call("DELETE", f"/projects/{name}", None)

    def tokens(self) -> tuple[Token, ...]:
        """The tokens you could have made."""
        return self._client.call("GET", "/tokens", tuple[Token, ...])

    def create_token(self, spec: TokenSpec) -> NewToken:
        """Make a token; its secret is in the answer, and nowhere else."""
        return self._client.call("POST", "/tokens", NewToken, body=spec)

    def revoke_token(self, token_id: str) -> Token:
        """End a token, everywhere within five seconds."""
        return self._client.call("DELETE", f"/tokens/{token_id}", Token)

    def secret_names(self) -> tuple[str, ...]:
        """Names of the project's secrets."""
        return self._client.call("GET", "/projects/{project}/secrets", tuple[str, ...])

    def put_secret(self, name: str, value: str) -> None:
        """Set a secret of the project."""
        self._client.call("PUT", f"/projects/{{project}}/secrets/{name}", None, body=SecretValue(value=value))

    def delete_secret(self, name: str) -> None:
        """Remove a secret of the project."""
        self._client.call("DELETE", f"/projects/{{project}}/secrets/{name}", None)

    def verify_audit(self) -> AuditReport:
        """Walk the whole log and say whether anybody changed it."""
        return self._client.call("GET", "/audit", AuditReport, timeout_s=3600.0)

    def events(
        self, *, after: int = 0, project: str = "", kinds: tuple[str, ...] = (), limit: int = 100, wait_s: float = 0.0
    ) -> EventPage:
        """The next events; ask again with `after` set to the page's `next`."""
        asked = {"after": after, "project": project, "kinds": ",".join(kinds), "limit": limit, "wait_s": wait_s}
        return self._client.call("GET", "/events", EventPage, query=asked, timeout_s=wait_s + 60)

    def watch(self, *, after: int = 0, project: str = "", kinds: tuple[str, ...] = ()) -> Iterator[Event]:
        """Events as they happen, for ever; to resume, start again after the last one's `seq`."""
        while True:
            page = self.events(after=after, project=project, kinds=kinds, wait_s=WAIT_S)
            yield from page.items
            after = page.next

    def lineage(self, address: str, *, direction: str = "up", depth: int = 5) -> LineageGraph:
        """What a thing was made from (`up`), or what was made from it (`down`)."""
        asked = {"address": address, "direction": direction, "depth": depth}
        return self._client.call("GET", "/lineage", LineageGraph, query=asked)
