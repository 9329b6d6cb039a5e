"""Questions to endpoints, labels, explanations, from Python. Questions go straight to the inference plane."""

import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import httpx
import msgspec

from sill.core.errors import InvalidValue, SillError, Unavailable, every_error
from sill.core.values import Value
from sill.sdk.client import Client, open_http
from sill.traffic.types import (
    Decision,
    Explanation,
    Label,
    LabelBatch,
    LabelReport,
    RequestRow,
    RevisionStats,
)

TIMEOUT_S = 60.0
TRIES_MAX = 3
RETRY_S = 0.2
LABELS_A_CALL = 5_000


class Prediction(Value, frozen=True, kw_only=True):
    """What an endpoint answered: one prediction for each row, and its probability where the model gives one.

    `request_id` is what a label is sent with later; row `i` of several is `request_id/i`.
    """

    request_id: str
    predictions: tuple[Any, ...]
    scores: tuple[float | None, ...]
    model_version: int
    revision: int
    outputs: dict[str, Any]
    """Every output tensor as the protocol gives it: datatype, shape, data."""

    @property
    def prediction(self) -> Any:
        """The first row's."""
        return self.predictions[0]


class Traffic:
    """Calls about requests and answers."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._http = open_http(client.inference_url, TIMEOUT_S)

    def close(self) -> None:
        """Let go of the connections to the inference plane."""
        self._http.close()

    def infer(
        self,
        endpoint: str,
        rows: Mapping[str, Any] | Sequence[Mapping[str, Any]],
        *,
        entity: Mapping[str, str] | None = None,
        request_id: str = "",
        timeout_ms: int = 0,
    ) -> Prediction:
        """Ask an endpoint about one row of named features, or several.

        Args:
            entity: whom a single row is about, such as `{"patient_id": "8"}`; leads back to the source rows later.
            request_id: made if not given.
            timeout_ms: how long the answer may take; the endpoint's own limit if 0.
        """
        many = [rows] if isinstance(rows, Mapping) else list(rows)
        if not many:
            raise InvalidValue("there is no row to ask about.", fix="Give at least one.")
        inputs = [_tensor(name, [row[name] for row in many]) for name in many[0]]
        parameters = {"entity": dict(entity)} if entity else {}
        body = {"id": request_id or f"req-{uuid.uuid4().hex}", "inputs": inputs, "parameters": parameters}
        return _prediction(self._ask(endpoint, body, timeout_ms), len(many))

    def infer_tensor(
        self, endpoint: str, rows: Sequence[Sequence[float]], *, request_id: str = "", timeout_ms: int = 0
    ) -> Prediction:
        """Ask an endpoint about rows of numbers, in the order of the model's features."""
        tensor = {"name": "input", "datatype": "FP64", "shape": [len(rows), len(rows[0])], "data": [*map(list, rows)]}
        body = {"id": request_id or f"req-{uuid.uuid4().hex}", "inputs": [tensor]}
        return _prediction(self._ask(endpoint, body, timeout_ms), len(rows))

    def label(self, endpoint: str, labels: Mapping[str, Any]) -> LabelReport:
        """Tell what turned out to be true: request id → label."""
        given = [Label(request_id=request_id, label=str(label)) for request_id, label in labels.items()]
        reports: list[LabelReport] = [
            self._client.call(
                "POST",
                f"/projects/{{project}}/endpoints/{endpoint}/labels",
                LabelReport,
                body=LabelBatch(labels=tuple(given[start : start + LABELS_A_CALL])),
            )
            for start in range(0, len(given), LABELS_A_CALL)
        ]
        return LabelReport(
            joined=sum(one.joined for one in reports),
            unknown=sum(one.unknown for one in reports),
            repeated=sum(one.repeated for one in reports),
        )

    def explain(self, request_id: str) -> Explanation:
        """One answer, and the chain back to its source rows."""
        return self._client.call("GET", "/projects/{project}/explain", Explanation, query={"request_id": request_id})

    def stats(self, endpoint: str) -> tuple[RevisionStats, ...]:
        """Sums over the answers of each revision, for each phase of its rollout."""
        return self._client.call("GET", f"/projects/{{project}}/endpoints/{endpoint}/stats", tuple[RevisionStats, ...])

    def rollout(self, endpoint: str) -> Decision | None:
        """What the judge says about the revision on its way in, and why it waits."""
        return self._client.call("GET", f"/projects/{{project}}/endpoints/{endpoint}/rollout", Decision | None)

    def requests(self, endpoint: str, *, limit: int = 100) -> tuple[RequestRow, ...]:
        """The newest requests, newest first."""
        path = f"/projects/{{project}}/endpoints/{endpoint}/requests"
        return self._client.call("GET", path, tuple[RequestRow, ...], query={"limit": limit})

    def feedback(self, endpoint: str, *, label: str = "label") -> bytes:
        """Features and labels of labelled live requests, as an Arrow IPC stream."""
        path = f"/projects/{{project}}/endpoints/{endpoint}/feedback"
        return self._client.call("GET", path, bytes, query={"label": label})

    def is_ready(self, endpoint: str) -> bool:
        """True when the inference plane answers this endpoint."""
        path = f"{self._client.inference_url}/v2/models/{self._client.project}/{endpoint}/ready"
        try:
            return self._http.get(path, headers=self._client.authorization).status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    def _ask(self, endpoint: str, body: Mapping[str, Any], timeout_ms: int) -> dict[str, Any]:
        """One question; repeated under the same id when no connection came about."""
        headers = {
            **self._client.authorization,
            "X-Sill-Project": self._client.project,
            "Content-Type": "application/json",
        }
        if timeout_ms:
            headers["X-Sill-Timeout-Ms"] = str(timeout_ms)
        url = f"{self._client.inference_url}/v2/models/{endpoint}/infer"
        for tried in range(1, TRIES_MAX + 1):
            try:
                answer = self._http.post(url, content=msgspec.json.encode(body), headers=headers)
                break
            except httpx.TransportError as broken:
                if tried == TRIES_MAX:
                    raise Unavailable(
                        f"no inference plane answers at {self._client.inference_url}.", fix="Start it with `sill up`."
                    ) from broken
                time.sleep(RETRY_S * tried)
        if answer.is_error:
            raise _error(answer)
        decoded: dict[str, Any] = msgspec.json.decode(answer.content)
        return decoded


def _tensor(name: str, values: list[Any]) -> dict[str, Any]:
    """One feature's values as a tensor `[n]`."""
    kind = "FP64"
    if all(isinstance(value, bool) for value in values):
        kind = "BOOL"
    elif all(isinstance(value, int) for value in values):
        kind = "INT64"
    elif all(isinstance(value, str) for value in values):
        kind = "BYTES"
    plain = [value.item() if hasattr(value, "item") else value for value in values]
    return {"name": name, "datatype": kind, "shape": [len(values)], "data": plain}


def _prediction(answer: dict[str, Any], rows: int) -> Prediction:
    outputs = {output["name"]: output for output in answer["outputs"]}
    first = outputs.get("label") or next(iter(outputs.values()))
    scores: tuple[float | None, ...] = (None,) * rows
    if "probabilities" in outputs:
        width = outputs["probabilities"]["shape"][1]
        data = outputs["probabilities"]["data"]
        scores = tuple(max(data[row * width : (row + 1) * width]) for row in range(rows))
    width = max(len(first["data"]) // rows, 1)
    predictions = [first["data"][row * width : (row + 1) * width] for row in range(rows)]
    return Prediction(
        request_id=answer["id"],
        predictions=tuple(one[0] if width == 1 else tuple(one) for one in predictions),
        scores=scores,
        model_version=int(answer["parameters"]["model_version"]),
        revision=int(answer["parameters"]["revision"]),
        outputs=outputs,
    )


def _error(answer: httpx.Response) -> SillError:
    """The protocol's error as our class: its text begins with our code."""
    try:
        text = msgspec.json.decode(answer.content, type=dict[str, str]).get("error", "")
    except msgspec.DecodeError:
        text = answer.text[:200]
    code, _, message = text.partition(": ")
    kind = every_error().get(code)
    return (
        kind(message) if kind is not None else SillError(text or f"the inference plane answered {answer.status_code}.")
    )
