"""A stand-in for the control plane: the few routes an agent speaks to, behind the real client, with the real gate."""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import msgspec
import numpy as np
import pyarrow as pa
import pytest

from sill.agent.platform import Platform
from sill.core.errors import NotFound
from sill.features.types import FeatureView
from sill.lake.types import WriteReport
from sill.models.rules import judge, state_after
from sill.models.types import ModelVersion, RegisteredModel, VersionSpec
from sill.runs.training.types import GateSpec, TrainingSpec
from sill.runs.types import Batch, InlineRun, Run
from sill.sdk.client import Client
from sill.sources.types import IngestionSpec, Upload

CODE = """
import numpy as np
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

def fit(data, params, run):
    assert data.X.dtype == np.float32 and len(data.X) == len(data.y) == data.table.num_rows
    run.log_metric("rows", len(data.X))
    run.info(f"fitting with {params}")
    model = LogisticRegression(C=float(params.get("c", 1.0)))
    return make_pipeline(SimpleImputer(), model).fit(data.X, data.y)

def fail(data, params, run):
    raise RuntimeError("the sensor is broken")
"""


VIEW = FeatureView(project="p", name="recent", entity=("id",), table="rows", time="at")


@dataclass
class StandIn:
    """What the control plane would keep."""

    table: pa.Table
    feedback: pa.Table | None = None
    view: FeatureView = VIEW
    blobs: dict[str, bytes] = field(default_factory=dict)
    versions: dict[int, ModelVersion] = field(default_factory=dict)
    champion: int = 0
    batches: list[Batch] = field(default_factory=list)
    updates: list[dict[str, Any]] = field(default_factory=list)
    inline: dict[str, InlineRun] = field(default_factory=dict)
    appended: list[pa.Table] = field(default_factory=list)
    results: dict[str, Any] = field(default_factory=dict)
    """What other runs left as `result.json`, by run."""
    ingestions: dict[str, IngestionSpec] = field(default_factory=dict)
    uploads: dict[str, bytes] = field(default_factory=dict)
    executed: list[str] = field(default_factory=list)

    def answer(self, request: httpx.Request) -> httpx.Response:
        """One call, told by method and path."""
        body = request.read()
        place = request.url.path.removeprefix("/api/v1/projects/p/")
        try:
            key = request.headers.get("idempotency-key", "")
            return self._answer(request.method, place, body, key, request.url.params)
        except NotFound as missing:
            return httpx.Response(404, content=msgspec.json.encode(missing.to_dict()))

    def _answer(self, method: str, place: str, body: bytes, key: str, query: httpx.QueryParams) -> httpx.Response:
        parts = place.split("/")
        if parts[0] in ("ingestions", "uploads"):
            return self._sources(parts, body, query)
        if place.endswith("training-set"):
            return httpx.Response(200, content=stream(self.table), headers={"X-Sill-Snapshot": "41"})
        if parts[0] == "features":
            return show(self.view)
        if place.endswith("feedback"):
            if self.feedback is None:
                raise NotFound("no endpoint.")
            return httpx.Response(200, content=stream(self.feedback))
        if place == "blobs":
            digest = hashlib.sha256(body).hexdigest()
            self.blobs[digest] = body
            return show({"digest": digest, "size_bytes": len(body)})
        if parts[0] == "models":
            return self._models(method, parts, body)
        if parts[0] == "tables":
            table = pa.ipc.open_stream(body).read_all()
            self.appended.append(table)
            return show(report(parts[1], table.num_rows))
        return self._runs(method, place, body, key)

    def _sources(self, parts: list[str], body: bytes, query: httpx.QueryParams) -> httpx.Response:
        if parts[0] == "uploads":
            name, digest = query["name"], hashlib.sha256(body).hexdigest()
            self.uploads[name] = body
            return show(Upload(digest=digest, name=name, size_bytes=len(body), url=f"upload://{digest}/{name}"))
        if parts[-1] == "execute":
            self.executed.append(parts[1])
            return show(report("rows", 3))
        self.ingestions[parts[1]] = msgspec.json.decode(body, type=IngestionSpec)
        return show(None)

    def _models(self, method: str, parts: list[str], body: bytes) -> httpx.Response:
        if method == "POST":
            spec = msgspec.json.decode(body, type=VersionSpec)
            report = judge(spec.evaluation, spec.gate, self.champion)
            number = len(self.versions) + 1
            self.versions[number] = ModelVersion(
                id=f"{spec.model}/{number}",
                project="p",
                model=spec.model,
                version=number,
                spec=spec,
                state=state_after(report, spec.gate),
                manifest="0" * 64,
                gate_report=report,
            )
            return show(self.versions[number])
        if "files" in parts:
            files = self.versions[int(parts[3])].spec.files
            return httpx.Response(200, content=self.blobs[files["/".join(parts[5:])]])
        if parts[2:3] == ["versions"]:
            return show(self.versions[int(parts[3])])
        if not self.versions:
            raise NotFound("no model.")
        aliases = {"champion": self.champion} if self.champion else {}
        return show(RegisteredModel(project="p", name="churn", latest=len(self.versions), aliases=aliases))

    def _runs(self, method: str, place: str, body: bytes, key: str) -> httpx.Response:
        if place.endswith("/log"):
            self.batches.append(msgspec.json.decode(body, type=Batch))
            return show(None)
        if place.endswith("/update"):
            self.updates.append(msgspec.json.decode(body))
            return show(None)
        if place.endswith("/inline"):
            self.inline[key] = inline = msgspec.json.decode(body, type=InlineRun)
            return show(Run(id="run-trial0001", project="p", spec=inline.spec, state=inline.state))
        if place.endswith("artifacts/result.json"):
            return show(self.results[place.split("/")[1]])
        raise NotFound(f"{method} {place}")

    def metrics(self) -> dict[str, float]:
        """Last value of each metric."""
        return {metric.key: metric.value for batch in self.batches for metric in batch.metrics}


def report(table: str, rows: int) -> WriteReport:
    """A write of rows that were all right."""
    return WriteReport(
        project="p",
        table=table,
        rows_in=rows,
        rows_written=rows,
        rows_repaired=0,
        rows_quarantined=0,
        rows_dropped=0,
    )


def stream(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def show(value: Any) -> httpx.Response:
    return httpx.Response(200, content=msgspec.json.encode(value))


def rows(count: int = 400, seed: int = 1, shift: float = 0.0) -> pa.Table:
    """`count` customers, of whom those with a high load churn; a few values are missing."""
    random = np.random.default_rng(seed)
    load = random.normal(shift, 1, count)
    age = random.normal(40, 10, count)
    churned = np.where(load - shift + 0.3 * random.normal(size=count) > 0, "yes", "no")
    columns = {
        "id": list(range(count)),
        "at": [1_000 + row for row in range(count)],
        "load": [None if row % 17 == 0 else float(value) for row, value in enumerate(load)],
        "age": age,
        "is_new": [row % 3 == 0 for row in range(count)],
        "plan": [("free", "pro")[row % 2] for row in range(count)],
        "churned": churned,
        "_source": ["file"] * count,
    }
    return pa.table(columns)


@pytest.fixture
def stand_in() -> StandIn:
    return StandIn(table=rows())


@pytest.fixture
def platform(stand_in: StandIn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Platform:
    monkeypatch.setenv("SILL_RUN_FOLDER", str(tmp_path / "run"))
    client = Client(
        url="http://testserver",
        token="t",
        project="p",
        http=httpx.Client(transport=httpx.MockTransport(stand_in.answer)),
    )
    return Platform(client, "run-00000001")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A working folder with the user's code."""
    work = tmp_path / "work"
    work.mkdir()
    (work / "churn_code.py").write_text(CODE)
    return work


@pytest.fixture
def training() -> TrainingSpec:
    return TrainingSpec(
        project="p",
        name="fit",
        function="fit",
        module="churn_code",
        data="recent",
        label="churned",
        model="churn",
        exclude=("plan",),
        slices=("plan",),
        gate=GateSpec(metric="auc", minimum=0.8),
        code="c" * 64,
    )
