"""What things cost."""

from sill.costs.types import CostReport
from sill.sdk.client import Client


class Costs:
    """Costs of the client's project."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def report(self, *, since_us: int = 0, until_us: int = 0) -> CostReport:
        """Money, energy and carbon, in total and by run and endpoint; times are microseconds since 1970 UTC."""
        span = {"since_us": since_us, "until_us": until_us}
        return self._client.call("GET", "/projects/{project}/costs", CostReport, query=span)
