"""The client the commands call with, and what to say of the project they look in."""

from sill.cli.output import Options
from sill.core.errors import SillError
from sill.sdk.client import Client
from sill.sdk.stages import Stages

PROJECTS_NAMED = 10


def client() -> Client:
    """A client for the project that was chosen; it does not wait for a server that is not there."""
    return Client(project=Options.project, is_patient=False)


def stages() -> Stages:
    """All stages, for the project that was chosen."""
    return Stages(client())


def nothing(here: Stages, noun: str, remedy: str) -> str:
    """What to say when there is none: where it was looked for, what to do, and which other projects there are."""
    return f"no {noun} in project {here.client.project!r}: {remedy}. {other_projects(here)}".rstrip()


def other_projects(here: Stages) -> str:
    """A sentence about the projects that were not looked in; empty if there are none, or they cannot be asked for."""
    try:
        names = [each.project for each in here.governance.projects() if each.project != here.client.project]
    except SillError:
        return ""
    more = f" and {len(names) - PROJECTS_NAMED} more" if len(names) > PROJECTS_NAMED else ""
    shown = ", ".join(names[:PROJECTS_NAMED])
    return f"There are also the projects {shown}{more}: choose with -p or SILL_PROJECT." if names else ""
