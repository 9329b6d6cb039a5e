"""1,000 models on one machine in a bounded cache: all answer, memory stays under its bound, warm ones never stall.

The inference process is the real one, `python -m sill.api.inference`, beside a control plane that serves files only.
Half of the models are linear, half are forests of 50 trees, each with weights of its own.
`KINDS` has further ones, which answer in processes of their own.
"""

import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil

from sill.endpoints.types import PlanEndpoint, PlanToken, ServingPlan
from sill.runtimes.port import driver
from sill.runtimes.types import Signature, TensorSpec
from sill.safety.tokens import digest
from sill.testing.serving_models import SIGNATURE, TOKEN, Bundle, classifier, make_signer
from sill.testing.serving_plane import ControlStandIn, InferenceUnderTest

MODELS = 1_000
CACHE_BYTES = 128 * 1024 * 1024
WARM_PAUSE_S = 0.005
STALL_S = 1.0
TREES, DEPTH, TRAINED_ROWS = 50, 6, 400
MB = 1e6

TREE_SIGNATURE = Signature(
    inputs=SIGNATURE.inputs,
    outputs=(
        TensorSpec(name="label", datatype="INT64", shape=(-1,)),
        TensorSpec(name="probabilities", datatype="FP32", shape=(-1, 2)),
    ),
    features=SIGNATURE.features,
    classes=SIGNATURE.classes,
)


class House:
    """An inference process with many endpoints, `KIND-N`.

    Args:
        models: endpoints, as many of each kind.
        bytes_max: the bound of the models in memory.
        idle_s: see `EndpointSpec.idle_s`.
        kinds: of `KINDS`.
    """

    def __init__(self, folder: Path, models: int, bytes_max: int, idle_s: float, kinds: tuple[str, ...]) -> None:
        signer = make_signer(folder)
        self.control = ControlStandIn(folder / "control")
        self.plane = InferenceUnderTest(folder / "home", self.control)
        self.plane.environment["SILL_MODEL_CACHE_BYTES"] = str(bytes_max)
        self.names: list[str] = []
        endpoints, bundles = [], {}
        for number in range(1, models + 1):
            kind = kinds[number % len(kinds)]
            name, (runtime, content, signature) = f"{kind}-{number}", KINDS[kind]
            bundle = bundles[f"v{number}"] = Bundle(
                signer, {driver(runtime).model_file: content(number)}, signature, runtime
            )
            endpoints.append(
                PlanEndpoint(
                    project="default",
                    name=name,
                    model=name,
                    revisions=(bundle.revision(number, 100),),
                    log_sample=1.0,
                    log_payload=True,
                    idle_s=idle_s,
                )
            )
            self.names.append(name)
        token = PlanToken(digest=digest(TOKEN), projects=("*",))
        plan = ServingPlan(revision=1, endpoints=tuple(endpoints), tokens=(token,), public_key=signer.public_key_pem())
        self.control.publish(plan, **bundles)

    def start(self) -> float:
        """Start both; seconds until the inference plane says that it is ready."""
        self.control.start()
        started_s = time.perf_counter()
        self.plane.start()
        return time.perf_counter() - started_s

    def ask(self, name: str, http: httpx.Client | None = None) -> tuple[float, int]:
        """Seconds an answer took, and its status."""
        tensor = {"name": "input", "shape": [1, 3], "datatype": "FP32", "data": [1.0, 2.0, 3.0]}
        started_s = time.perf_counter()
        answer = (http or self.plane.http).post(f"/v2/models/{name}/infer", json={"inputs": [tensor]}, timeout=60)
        return time.perf_counter() - started_s, answer.status_code

    def memory_bytes(self) -> int:
        """What the inference process holds."""
        process = self.plane.process
        return 0 if process is None else int(psutil.Process(process.pid).memory_info().rss)

    def loaded(self) -> set[str]:
        """Endpoints whose models are in memory, by the statistics route."""
        told: dict[str, Any] = self.plane.http.get("/v2/models/stats").json()
        return {one["name"] for one in told["model_stats"] if one.get("memory_usage")}

    def close(self) -> None:
        """End both processes."""
        self.plane.kill()
        self.control.kill()
        self.plane.http.close()


@contextmanager
def house(
    models: int, bytes_max: int, idle_s: float = 0.0, kinds: tuple[str, ...] = ("linear", "trees")
) -> Iterator[House]:
    """A `House` in a folder that goes with it."""
    folder = Path(tempfile.mkdtemp(prefix="sill-bench-"))
    made = House(folder, models, bytes_max, idle_s, kinds)
    try:
        yield made
    finally:
        made.close()
        shutil.rmtree(folder, ignore_errors=True)


def linear(number: int) -> bytes:
    """A linear model like no other."""
    return classifier((1.0, 1.0 / number, -1.0))


_FOREST: list[bytes] = []


def forest(number: int) -> bytes:
    """A forest of trees; one is trained, and each gets a name of its own, so that all are different files."""
    import onnx

    if not _FOREST:
        _FOREST.append(_trained_forest())
    model = onnx.load_from_string(_FOREST[0])
    model.graph.name = f"forest-{number}"
    return bytes(model.SerializeToString())


def _trained_forest() -> bytes:
    from skl2onnx import to_onnx
    from sklearn.ensemble import RandomForestClassifier

    chance = np.random.default_rng(1)
    given = chance.standard_normal((TRAINED_ROWS, 3)).astype(np.float32)
    trained = RandomForestClassifier(TREES, max_depth=DEPTH, random_state=1).fit(given, given[:, 0] > 0)
    made = to_onnx(trained, given[:1], options={"zipmap": False}, target_opset={"": 17, "ai.onnx.ml": 3})
    made.graph.input[0].name = "input"
    for node in made.graph.node:
        node.input[:] = ["input" if name == "X" else name for name in node.input]
    return bytes(made.SerializeToString())


def boosted(number: int) -> bytes:
    """Trees as XGBoost keeps them."""
    import xgboost

    given, label = _rows(number)
    told = {"objective": "binary:logistic", "max_depth": DEPTH}
    return bytes(xgboost.train(told, xgboost.DMatrix(given, label), TREES).save_raw("ubj"))


def light(number: int) -> bytes:
    """Trees as LightGBM keeps them."""
    import lightgbm

    given, label = _rows(number)
    told = {"objective": "binary", "verbose": -1}
    made: str = lightgbm.train(told, lightgbm.Dataset(given, label), TREES).model_to_string()
    return made.encode()


def estimator(number: int) -> bytes:
    """A forest as skops keeps scikit-learn's estimators."""
    import skops.io
    from sklearn.ensemble import RandomForestClassifier

    return bytes(skops.io.dumps(RandomForestClassifier(TREES, max_depth=DEPTH, random_state=1).fit(*_rows(number))))


def _rows(number: int) -> tuple[Any, Any]:
    given = np.random.default_rng(number).standard_normal((TRAINED_ROWS, 3))
    return given, given[:, 0] > 0


ROW_SIGNATURE = Signature(
    inputs=(TensorSpec(name="input", datatype="FP64", shape=(-1, 3)),),
    outputs=(TensorSpec(name="probabilities", datatype="FP64", shape=(-1, 2)),),
    features=SIGNATURE.features,
    classes=SIGNATURE.classes,
)
KINDS: dict[str, tuple[str, Callable[[int], bytes], Signature]] = {
    "linear": ("onnx", linear, SIGNATURE),
    "trees": ("onnx", forest, TREE_SIGNATURE),
    "xgboost": ("xgboost", boosted, ROW_SIGNATURE),
    "lightgbm": ("lightgbm", light, ROW_SIGNATURE),
    "skops": ("skops", estimator, ROW_SIGNATURE),
}
"""Kind of model → its runtime, what makes the file of one of a number, and its signature."""


def percentile_s(seconds: list[float], share: float) -> float:
    """The value below which a share of the values lies."""
    return sorted(seconds)[min(int(share * len(seconds)), len(seconds) - 1)]


def measure(models: int = MODELS, cache_bytes: int = CACHE_BYTES) -> Iterator[str]:
    """Three lines: the start, the models, the warm one meanwhile."""
    with house(models, cache_bytes) as made:
        ready_s = made.start()
        empty_bytes = made.memory_bytes()
        yield f"{models} endpoints ready after {ready_s:.2f} s, {empty_bytes / MB:.0f} MB"
        warm, stop = Warm(made, made.names[0]), threading.Event()
        asking = threading.Thread(target=warm.ask_until, args=(stop,))
        asking.start()
        taken, failed, peak_bytes = [], 0, 0
        for _ in range(2):
            for name in made.names[1:]:
                took_s, status = made.ask(name)
                taken.append(took_s)
                failed += status != httpx.codes.OK
                peak_bytes = max(peak_bytes, made.memory_bytes())
        stop.set()
        asking.join()
        grown = peak_bytes - empty_bytes
        yield (
            f"{len(taken)} requests to {models - 1} models: {failed} failed, p50 {percentile_s(taken, 0.5) * 1e3:.0f} ms, "
            f"p99 {percentile_s(taken, 0.99) * 1e3:.0f} ms; grew by {grown / MB:.0f} MB at most, the bound is "
            f"{cache_bytes / MB:.0f} MB{'' if grown <= cache_bytes else ': ABOVE IT'}"
        )
        yield (
            f"a warm model meanwhile: {len(warm.taken)} requests, {warm.failed} failed, "
            f"p99 {percentile_s(warm.taken, 0.99) * 1e3:.0f} ms, longest {max(warm.taken) * 1e3:.0f} ms; "
            f"less than {STALL_S:.0f} s is wanted"
        )


class Warm:
    """Asks one model all the time, and keeps how long each answer took."""

    def __init__(self, made: House, name: str) -> None:
        self._house = made
        self._name = name
        self.taken: list[float] = []
        self.failed = 0

    def ask_until(self, stop: threading.Event) -> None:
        """Ask until told to stop."""
        headers = {"Authorization": f"Bearer {TOKEN}"}
        url = f"http://127.0.0.1:{self._house.plane.port}"
        with httpx.Client(base_url=url, headers=headers, trust_env=False) as http:
            while not stop.wait(WARM_PAUSE_S):
                took_s, status = self._house.ask(self._name, http)
                self.taken.append(took_s)
                self.failed += status != httpx.codes.OK
