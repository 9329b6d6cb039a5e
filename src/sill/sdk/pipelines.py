"""Pipelines, from Python."""

from sill.runs.pipelines.types import PipelineSpec
from sill.sdk.client import Client


class Pipelines:
    """Calls about declared pipelines; `Triggers.start` runs one."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def list(self) -> tuple[PipelineSpec, ...]:
        """All declared pipelines of the project."""
        return self._client.call("GET", "/projects/{project}/pipelines", tuple[PipelineSpec, ...])

    def get(self, name: str) -> PipelineSpec:
        """One declared pipeline."""
        return self._client.call("GET", f"/projects/{{project}}/pipelines/{name}", PipelineSpec)

    def declare(self, spec: PipelineSpec) -> PipelineSpec:
        """Declare a pipeline, new or changed."""
        return self._client.call("PUT", f"/projects/{{project}}/pipelines/{spec.name}", PipelineSpec, body=spec)
