"""The client the commands call with."""

from sill.cli.output import Options
from sill.sdk.client import Client
from sill.sdk.stages import Stages


def client() -> Client:
    """A client for the project that was chosen on the command line."""
    return Client(project=Options.project)


def stages() -> Stages:
    """All stages, for the project that was chosen on the command line."""
    return Stages(client())
