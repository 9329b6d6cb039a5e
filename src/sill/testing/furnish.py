"""Fills a platform with one of everything that is kept: for tests of what becomes of it, and for measuring."""

import io
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path

from sill.endpoints.types import EndpointSpec
from sill.lake.types import Between, TableSpec
from sill.models.types import ModelVersion, VersionSpec
from sill.runs.types import Artifact, CodeUpload, Resources, Run, RunSpec
from sill.runtimes.types import Signature, TensorSpec
from sill.sdk.client import Client
from sill.sdk.endpoints import Endpoints
from sill.sdk.governance import Governance
from sill.sdk.lake import Tables
from sill.sdk.models import Models
from sill.sdk.runs import Runs
from sill.sdk.sources import Sources
from sill.sdk.traffic import Traffic
from sill.sdk.trainings import Trainings
from sill.sources.types import Upload
from sill.testing.control_plane import ControlPlane, wait_until_served
from sill.testing.platform import evaluation, linear_onnx

PROJECT = "shop"
TABLE, MODEL, ENDPOINT = "people", "spend", "spend"
SMALL = Resources(cpus=0.05, memory_bytes=64 * 1024**2)
REQUESTS = 5
WAIT_S_MAX = 60.0


@dataclass(frozen=True)
class Furnished:
    """What a platform was filled with."""

    plane: ControlPlane
    upload: Upload
    code: CodeUpload
    run: Run
    artifact: Artifact
    version: ModelVersion

    @property
    def client(self) -> Client:
        """A client of its project."""
        return self.plane.client(PROJECT)

    @property
    def blobs(self) -> Path:
        """Where its blobs lie."""
        return self.plane.home / "blobs"


def furnish(plane: ControlPlane) -> Furnished:
    """A project with tables, an upload, code, a run with an artifact, a model, and an endpoint that was asked.

    The platform must be running; when this returns, nothing is going on any more.
    """
    client = plane.client(PROJECT)
    Governance(client).create_project(PROJECT)
    fill_tables(client)
    (plane.home / "people.csv").write_text("name,age\n" + "".join(f"n{n},{n}\n" for n in range(200)))
    upload = Sources(client).upload(plane.home / "people.csv")
    code = Runs(client).upload_code(archive({"job.py": "print('hello')\n" * 20}))
    run = Runs(client).submit(RunSpec(name="job", command=("python", "job.py"), code=code.digest, resources=SMALL))
    artifact = Runs(client).put_artifact(run.id, "result.bin", bytes(range(256)) * 8)
    version = Models(client).register(version_spec(client))
    Endpoints(client).apply(EndpointSpec(project=PROJECT, name=ENDPOINT, model=MODEL))
    wait_until_served(plane, PROJECT, ENDPOINT)
    ask(client, REQUESTS)
    wait_for_rest(client, run.id, REQUESTS)
    return Furnished(plane, upload, code, run, artifact, version)


def fill_tables(client: Client) -> None:
    """A table of three snapshots, with rows in quarantine."""
    tables = Tables(client)
    tables.declare(TableSpec(project=PROJECT, name=TABLE, rules=(Between(column="age", high=120.0),)))
    for batch in range(3):
        ages = [*range(20 + batch, 60 + batch), 400 + batch]
        tables.append(TABLE, [{"name": f"n{age}", "age": float(age)} for age in ages])


def version_spec(client: Client) -> VersionSpec:
    """A version of a linear model whose files were uploaded."""
    blobs = Trainings(client)
    return VersionSpec(
        model=MODEL,
        files={"model.onnx": blobs.store_blob(linear_onnx()), "card.md": blobs.store_blob(b"# spend\n" * 20)},
        signature=Signature(
            inputs=(TensorSpec(name="input", datatype="FP32", shape=(-1, 2)),),
            outputs=(TensorSpec(name="output", datatype="FP32", shape=(-1, 1)),),
            features=("age", "income"),
            task="regression",
        ),
        evaluation=evaluation(),
    )


def archive(files: dict[str, str]) -> bytes:
    """A zip of these files."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as file:
        for name, content in files.items():
            file.writestr(name, content)
    return packed.getvalue()


def ask(client: Client, count: int) -> None:
    """Ask the endpoint that many times."""
    traffic = Traffic(client)
    for number in range(count):
        traffic.infer(ENDPOINT, {"age": float(number), "income": 2.0})
    traffic.close()


def wait_for_rest(client: Client, run_id: str, requests: int) -> None:
    """Wait until the run is over and the requests are in the lake.

    Raises:
        TimeoutError: they are not.
    """
    until_s = time.monotonic() + WAIT_S_MAX
    while time.monotonic() < until_s:
        rows = {table.name: table.rows for table in Tables(client).list()}
        if Runs(client).get(run_id).state.is_final and rows.get(f"requests_{ENDPOINT}", 0) >= requests:
            return
        time.sleep(0.1)
    raise TimeoutError("the furnished platform does not come to rest.")
