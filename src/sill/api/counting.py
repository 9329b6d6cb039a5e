"""What is counted, over HTTP: by one process to a gateway or a sibling, of all processes of a shared port to everybody else."""

import msgspec

from sill.api.adding_up import CONTENT_TYPE, add_statistics, join_metrics
from sill.api.describing import model_statistics
from sill.api.inference_heads import Headers, project_of, send_bytes, send_value
from sill.api.inference_metrics import exposition
from sill.api.siblings import Siblings
from sill.endpoints.types import PlanToken
from sill.protocols.oip.errors import Scope, Send
from sill.protocols.oip.paths import Target
from sill.protocols.oip.types import StatisticsAnswer
from sill.traffic.plane import Plane


class Counting:
    """Metrics and statistics.

    Args:
        siblings: the other processes of the port, if it is shared.
    """

    def __init__(self, plane: Plane, siblings: Siblings | None) -> None:
        self._plane = plane
        self._siblings = siblings

    async def tell_metrics(self, token: PlanToken, scope: Scope, headers: Headers, send: Send) -> None:
        """In the Prometheus text format, or as OpenMetrics where one process is asked for that."""
        others = await self._others(scope, headers, "/metrics")
        if self._siblings is None or not others:
            text, kind = exposition(self._plane, token, headers.get(b"accept", b"").decode("latin-1"))
            await send_bytes(send, text, kind.encode())
            return
        told = {self._siblings.own_name: exposition(self._plane, token)[0], **others}
        whole = join_metrics({name: text.decode() for name, text in told.items()})
        await send_bytes(send, whole.encode(), CONTENT_TYPE.encode())

    async def tell_statistics(
        self, token: PlanToken, target: Target, scope: Scope, headers: Headers, send: Send
    ) -> None:
        """Triton's statistics: of one model, or of all of a project."""
        project = project_of(headers, target)
        of = Target(verb=target.verb, project=project, name=target.name, version=target.version)
        is_of_all = target.verb == "all_stats"
        own = model_statistics(self._plane, token, None if is_of_all else of, project if is_of_all else "")
        others = await self._others(scope, headers, scope["raw_path"].decode("latin-1"))
        told = [msgspec.to_builtins(own), *(msgspec.json.decode(other) for other in others.values())]
        await send_value(send, msgspec.convert(add_statistics(told), StatisticsAnswer))

    async def _others(self, scope: Scope, headers: Headers, path: str) -> dict[str, bytes]:
        if self._siblings is None or scope["client"] is None:  # over a socket of its own: asked for itself alone
            return {}
        return await self._siblings.ask(path, headers.get(b"authorization", b""))
