"""Who acts. An actor is a value: the gate makes it from a token, every service gets it as its first argument."""

import msgspec

ANY = "*"
JOB = "job:"
"""Begins the name of a run's token, which is its actor's id; no name that a person gives can begin so."""


class Actor(msgspec.Struct, frozen=True, kw_only=True):
    """Who acts, with what rights, and where.

    Attributes:
        id: the token's id, `root`, `job:run-…`, or `sill` for the platform itself.
        scopes: `resource:verb` such as `runs:write`; `*` for all, `runs:*` for all verbs.
        projects: the tenants it may touch; `*` for all.
    """

    id: str
    scopes: frozenset[str]
    projects: frozenset[str] = frozenset({ANY})

    @property
    def run_id(self) -> str:
        """The run whose job it is; empty for everybody else."""
        return self.id.removeprefix(JOB) if self.id.startswith(JOB) else ""

    def has(self, scope: str) -> bool:
        """True if the scope, its whole resource or everything was granted."""
        return bool(self.scopes & {scope, f"{scope.partition(':')[0]}:{ANY}", ANY})

    def may_touch(self, project: str) -> bool:
        """True if the project is among the actor's."""
        return ANY in self.projects or project in self.projects


PLATFORM = Actor(id="sill", scopes=frozenset({ANY}))
"""The platform acting for itself: workers and reconcilers."""
