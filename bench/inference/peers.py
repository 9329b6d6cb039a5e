"""The servers Sill is compared with: what starts each, and what it speaks."""

from dataclasses import dataclass

from bench.inference.models import BenchModel
from bench.inference.questions import BINARY, GRPC, JSON, Question, mlflow_question, question

MODEL = "model"
PLAIN, OIP, MLFLOW = "/infer", f"/v2/models/{MODEL}/infer", "/invocations"


@dataclass(frozen=True)
class Peer:
    """One server.

    Attributes:
        environment: name of its lock in requirements/peers.
        script: file in `servers/` that starts it with a model.
        protocols: what it speaks, by its documentation; what it refuses all the same is told.
        settle_s: how long after its first answer it hangs up on connections, for it is still putting itself up.
    """

    name: str
    title: str
    environment: str
    script: str
    path: str = PLAIN
    protocols: tuple[str, ...] = (JSON,)
    settle_s: float = 0.0

    def question(self, protocol: str, model: BenchModel, port: int, grpc_port: int) -> Question:
        """One row of a model, as this server takes it."""
        if self.path == MLFLOW:
            return mlflow_question(model, port)
        return question(protocol, model, grpc_port if protocol == GRPC else port, self.path, MODEL, {})


EVERY = (JSON, BINARY, GRPC)
PEERS = {
    one.name: one
    for one in (
        Peer("tuned", "ASGI + ONNX Runtime, tuned by hand", "serving-asgi", "tuned.py", protocols=(JSON, BINARY)),
        Peer("naive", "FastAPI + ONNX Runtime", "serving-asgi", "naive.py"),
        Peer("mlflow", "MLflow", "serving-mlflow", "mlflow_model.py", MLFLOW),
        Peer("litserve", "LitServe", "serving-litserve", "lit.py"),
        Peer("bentoml", "BentoML", "serving-bentoml", "bento.py"),
        Peer("ray", "Ray Serve", "serving-ray", "ray_serve.py", settle_s=3.0),
        Peer("kserve", "KServe", "serving-kserve", "kserve_model.py", OIP, EVERY),
        Peer("mlserver", "MLServer", "serving-mlserver", "mlserver_start.py", OIP, EVERY),
        Peer("triton", "Triton, Python back end", "serving-triton", "triton.py", OIP, EVERY),
        Peer("triton-onnx", "Triton, ONNX Runtime back end", "serving-triton", "triton_onnx.py", OIP, EVERY),
    )
}
