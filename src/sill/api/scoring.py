"""MLflow's scoring door of the inference plane: `POST /invocations`, over the same plane as the Open Inference Protocol."""

from collections.abc import MutableMapping
from typing import Any

import msgspec

from sill.api.describing import main_model
from sill.api.inference_heads import (
    Headers,
    kind_of,
    project_of,
    read_body,
    send_packed,
    wishes_of,
)
from sill.api.long_reading import Readers, Wish
from sill.core.errors import InvalidValue, SillError
from sill.core.names import check_name, shorten
from sill.endpoints.types import PlanToken
from sill.protocols.mlflow import errors as mlflow_errors
from sill.protocols.mlflow.scoring import CSV_TYPE, ScoringRequest, predictions_of, read_scoring
from sill.protocols.oip.errors import Receive, Send
from sill.protocols.oip.long import LONG_TEXT_BYTES, is_long
from sill.protocols.oip.paths import Target
from sill.runtimes.types import Signature
from sill.safety.bodies import Content
from sill.traffic.plane import Plane

PATHS = ("/invocations", "/ping", "/health", "/version")
ENDPOINTS_SHOWN_MAX = 10


class Scoring:
    """Answers `/invocations`, where the model is the token's only one or named by a header, and the path under a model."""

    def __init__(self, plane: Plane, readers: Readers) -> None:
        self._plane = plane
        self._readers = readers

    async def answer(self, token: PlanToken, target: Target, headers: Headers, receive: Receive, send: Send) -> None:
        """Read MLflow's form, ask the model, write MLflow's form.

        Raises:
            SillError: told in MLflow's error form by `present_scoring`.
        """
        project, name = self._place(token, target, headers)
        route = self._plane.route(token, project, name, target.version)
        wishes = wishes_of(headers)
        body = await read_body(receive)
        if body is None:
            return
        signature = main_model(route, target.version).signature
        scoring = await self._read(kind_of(headers).decode("latin-1"), body, signature, wishes.timeout_ms)
        asked = wishes.asked((project, name), target.version, self._plane.new_id(), scoring.tensors)
        told = await self._plane.answer(token, asked)
        predictions = predictions_of(told.model.signature, told.part.outputs, as_records=scoring.is_table)
        await send_packed(send, msgspec.json.encode({"predictions": predictions}), headers)

    async def _read(self, kind: str, body: Content, signature: Signature, timeout_ms: float) -> ScoringRequest:
        if not is_long(body) and not (kind == CSV_TYPE and len(body) > LONG_TEXT_BYTES):
            return read_scoring(kind, bytes(body), signature)
        wish = Wish(kind="scoring", content_type=kind, signature=signature)
        request: ScoringRequest = await self._readers.read(wish, body, timeout_ms)
        return request

    def _place(self, token: PlanToken, target: Target, headers: Headers) -> tuple[str, str]:
        """Project and endpoint.

        Raises:
            InvalidValue: nothing names it, and the token may ask none, or several.
        """
        if target.name:
            return project_of(headers, target), target.name
        named = headers.get(b"x-sill-endpoint", b"").decode("latin-1")
        if named:
            return project_of(headers), check_name(named, "endpoint")
        is_any = b"x-sill-project" not in headers
        found = [
            place
            for place in self._plane.planned
            if token.may_ask(place[0]) and (is_any or place[0] == project_of(headers))
        ]
        if len(found) != 1:
            names = ", ".join("/".join(place) for place in sorted(found)[:ENDPOINTS_SHOWN_MAX])
            raise InvalidValue(
                f"/invocations does not say which model: the token may ask {shorten(names, 500) or 'none'}.",
                fix="Send X-Sill-Endpoint, or use /v2/models/PROJECT/ENDPOINT/invocations.",
            )
        return found[0]


def is_scoring(path: str) -> bool:
    """Whether a path is MLflow's: its errors are told in MLflow's form."""
    return path in PATHS or path.endswith("/invocations")


def present_scoring(scope: MutableMapping[str, Any], error: SillError, request_id: str) -> tuple[int, bytes] | None:
    """MLflow's form of an error on one of its paths; None on others."""
    return mlflow_errors.answer(error, request_id) if is_scoring(scope["path"]) else None
