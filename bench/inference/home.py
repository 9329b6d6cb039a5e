"""Sill as the bench asks it: a platform of its own, the models behind endpoints, with identity, limits and log on."""

import http.client
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.inference.models import BenchModel
from bench.inference.questions import GRPC, PROTOCOLS, Question, question
from bench.inference.running import LOOK_S, START_S_MAX, WORDS_MAX, NotServed, Server, cpu_s, pss_mb, right
from sill.endpoints.types import EndpointSpec
from sill.governance.types import TokenSpec
from sill.models.types import VersionSpec
from sill.runtimes.types import Signature, TensorSpec
from sill.sdk.endpoints import Endpoints
from sill.sdk.governance import Governance
from sill.sdk.models import Models
from sill.sdk.trainings import Trainings
from sill.testing.control_plane import ControlPlane, wait_until_served
from sill.testing.platform import evaluation

TITLE = "Sill"
PROJECT = "default"


class Home:
    """A running platform that serves the models."""

    def __init__(self, plane: ControlPlane, cold_s: dict[str, float]) -> None:
        self._plane = plane
        self._cold_s = cold_s

    def server(self, model: BenchModel, expected: Any) -> Server:
        """What it answers for one of them."""
        questions, refused = {}, {}
        for protocol in PROTOCOLS:
            try:
                questions[protocol] = right(_question(self._plane, protocol, model), expected)
            except (OSError, ValueError, http.client.HTTPException) as wrong:
                refused[protocol] = f"{type(wrong).__name__}: {wrong}"[:WORDS_MAX]
        cold_s = self._cold_s[model.name]
        return Server(TITLE, questions, refused, cold_s, self._memory_mb, lambda: cpu_s(self._plane.processes()))

    def new_token(self, name: str) -> str:
        """The secret of one more tenant of the project, who may ask models; it is known where they answer."""
        spec = TokenSpec(name=name, scopes=("serving:infer",), projects=(PROJECT,))
        secret = Governance(self._plane.client()).create_token(spec).secret
        wait_until_known(self._plane, secret)
        return secret

    def _memory_mb(self) -> float:
        """Of the inference plane, which a peer is compared with; the control plane serves nobody's questions."""
        return pss_mb([each for each in self._plane.processes() if "sill.api.inference" in " ".join(each.cmdline())])


@contextmanager
def serving(models: list[BenchModel], answers: dict[str, Any]) -> Iterator[Home]:
    """A platform with the models, in a folder that is removed afterwards.

    Args:
        answers: by model, what its first row is answered.
    """
    folder = Path(tempfile.mkdtemp(prefix="sill-bench-"))
    plane = ControlPlane(folder / "home")
    plane.command = (str(Path(sys.executable).with_name("sill")), "up")
    try:
        plane.start()
        for model in models:
            deploy(plane, model)
            wait_until_served(plane, PROJECT, model.name)
        plane.stop()
        cold_s = {model.name: cold_start_s(plane, model, answers[model.name]) for model in models}
        plane.start()
        for model in models:
            wait_until_served(plane, PROJECT, model.name)
        yield Home(plane, cold_s)
    finally:
        plane.stop()
        shutil.rmtree(folder, ignore_errors=True)


def wait_until_known(plane: ControlPlane, secret: str) -> None:
    """Return once the inference plane has the token.

    Raises:
        NotServed: it takes too long.
    """
    until_s = time.monotonic() + START_S_MAX
    while time.monotonic() < until_s:
        connection = http.client.HTTPConnection("127.0.0.1", plane.port + 1, timeout=START_S_MAX)
        connection.request("GET", "/v2", headers={"Authorization": f"Bearer {secret}"})
        status = connection.getresponse().status
        connection.close()
        if status == http.client.OK:
            return
        time.sleep(LOOK_S)
    raise NotServed("a new token does not become known")


def deploy(plane: ControlPlane, model: BenchModel) -> None:
    """Register the model's file and put an endpoint before it; every request is logged, with its payload."""
    client = plane.client()
    blobs = Trainings(client)
    is_table = len(model.shape) == 1 and model.datatype == "FP32"
    spec = VersionSpec(
        model=model.name,
        files={"model.onnx": blobs.store_blob(model.make()), "card.md": blobs.store_blob(b"# bench\n" * 20)},
        signature=Signature(
            inputs=(TensorSpec(name="input", datatype=model.datatype, shape=(-1, *model.shape)),),
            outputs=(TensorSpec(name="output", datatype="FP32", shape=(-1, *model.answer)),),
            features=tuple(f"f{n}" for n in range(model.shape[0])) if is_table else (),
            task="regression" if is_table else "other",
        ),
        evaluation=evaluation(),
    )
    Models(client).register(spec)
    Endpoints(client).apply(EndpointSpec(project=PROJECT, name=model.name, model=model.name, log_sample=1.0))


def cold_start_s(plane: ControlPlane, model: BenchModel, expected: Any) -> float:
    """Seconds from the start of the inference plane's process, on what it kept, to its first right answer.

    Raises:
        NotServed: it does not come.
    """
    started_s = time.monotonic()
    with plane.inference_alone():
        while time.monotonic() - started_s < START_S_MAX:
            try:
                right(_question(plane, PROTOCOLS[0], model), expected)
                return time.monotonic() - started_s
            except (OSError, ValueError, http.client.HTTPException):
                time.sleep(LOOK_S)
    raise NotServed(f"{model.name}: the inference plane alone does not answer")


def _question(plane: ControlPlane, protocol: str, model: BenchModel) -> Question:
    token = (plane.home / "token").read_text().strip()
    path = f"/v2/models/{PROJECT}/{model.name}/infer"
    if protocol == GRPC:  # names of headers are in small letters there
        return question(protocol, model, plane.port + 2, path, model.name, {"authorization": f"Bearer {token}"})
    return question(protocol, model, plane.port + 1, path, model.name, {"Authorization": f"Bearer {token}"})
