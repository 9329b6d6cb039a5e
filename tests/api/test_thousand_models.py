"""A thousand models in one process whose memory holds some of them: all answer, and who asks a warm one is not held up."""

import os
import time
from pathlib import Path

import httpx
import psutil
import pytest

from sill.testing.serving_models import SIGNATURE, classifier, make_signer
from sill.testing.serving_plane import ControlStandIn, InferenceUnderTest, serving
from sill.testing.serving_zoo import Zoo

MODELS = 1_000
CACHE_BYTES = 32 * 1024**2
GROWN_BYTES_MAX = 6 * CACHE_BYTES
"""What the process may grow by: what models hold, what an allocator keeps, bodies, and the log of a thousand answers."""
STALL_S_MAX = 1.0


def small_cache(home: Path, control: ControlStandIn) -> InferenceUnderTest:
    under_test = InferenceUnderTest(home, control)
    under_test.environment["SILL_MODEL_CACHE_BYTES"] = str(CACHE_BYTES)
    return under_test


def ask(http: httpx.Client, name: str) -> float:
    """Seconds until the answer, which is the model's own."""
    begun_s = time.monotonic()
    tensor = {"name": "input", "shape": [1, 3], "datatype": "FP32", "data": [1.0, 1.0, 1.0]}
    answer = http.post(f"/v2/models/{name}/infer", json={"inputs": [tensor]})
    assert answer.status_code == 200, answer.text
    assert answer.json()["outputs"][0]["data"] == ["yes" if int(name[1:]) % 2 else "no"]
    return time.monotonic() - begun_s


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_thousand_models_answer_within_the_bound_and_none_holds_up_a_warm_one(tmp_path: Path) -> None:
    zoo = Zoo(make_signer(tmp_path))
    for number in range(MODELS):
        sign = 1.0 if number % 2 else -1.0
        zoo.add(f"m{number}", classifier((sign, sign, sign * (1 + number))), SIGNATURE)
    with serving(tmp_path, zoo.plan(), zoo.bundles, small_cache) as under_test:
        assert under_test.process is not None
        process = psutil.Process(under_test.process.pid)
        before_bytes, slowest_s, most_bytes = process.memory_info().rss, 0.0, 0
        ask(under_test.http, "m0")
        for number in range(MODELS):
            ask(under_test.http, f"m{number}")
            slowest_s = max(slowest_s, ask(under_test.http, "m0"))
            most_bytes = max(most_bytes, process.memory_info().rss)

        assert most_bytes - before_bytes < GROWN_BYTES_MAX
        assert slowest_s < STALL_S_MAX
        assert len(os.listdir(f"/proc/{process.pid}/fd")) < MODELS
