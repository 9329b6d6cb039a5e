"""Triggers and starting by hand, from Python."""

from sill.runs.types import Run
from sill.sdk.client import Client
from sill.triggers.types import TriggerSpec, TriggerState


class Triggers:
    """Calls about triggers."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def list(self) -> tuple[TriggerState, ...]:
        """All triggers of the project."""
        return self._client.call("GET", "/projects/{project}/triggers", tuple[TriggerState, ...])

    def declare(self, spec: TriggerSpec) -> TriggerState:
        """Declare a trigger."""
        return self._client.call("PUT", f"/projects/{{project}}/triggers/{spec.name}", TriggerState, body=spec)

    def fire(self, name: str, reason: str = "by hand") -> Run:
        """Start now what a trigger names."""
        return self._client.call("POST", f"/projects/{{project}}/triggers/{name}/fire", Run, body={"reason": reason})

    def start(self, kind: str, name: str, reason: str = "by hand") -> Run:
        """Start a training, an ingestion or a pipeline."""
        return self._client.call("POST", f"/projects/{{project}}/start/{kind}/{name}", Run, body={"reason": reason})
