"""The behaviours of Triton's own scenarios, as tritonclient meets them over HTTP and gRPC; see docs/conformance-triton.md."""

import json
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sill.runtimes.types import Signature, TensorSpec
from sill.testing.identity_models import identity
from sill.testing.peers import environment
from sill.testing.serving_models import TOKEN, make_signer
from sill.testing.serving_plane import InferenceUnderTest, serving
from sill.testing.serving_zoo import ADMIN, Zoo

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
SCENARIOS = Path(__file__).with_name("scenarios.py")
WAYS = ("http", "grpc")
TEXTS = Signature(
    inputs=(TensorSpec(name="INPUT0", datatype="BYTES", shape=(-1, -1)),),
    outputs=(TensorSpec(name="output", datatype="BYTES", shape=(-1, -1)),),
    task="other",
)
SAME = {"file": "same.py", "name": "same", "signature": TEXTS}
CODE = b"def same(inputs):\n    return {'output': inputs['INPUT0']}\n"


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder: Path = tmp_path_factory.mktemp("scenarios")
    zoo = Zoo(make_signer(folder))
    zoo.add("triple", *identity("FP32", (-1, -1), 3))
    zoo.add("texts", *identity("BYTES", (-1, -1)))
    zoo.add("wide", *identity("FP32", (-1, -1)))
    zoo.add("extra", *identity("FP32", (-1, -1)))
    zoo.add("bytes", {"callable.json": msgspec.json.encode(SAME), "same.py": CODE}, TEXTS, "python")
    with serving(folder, zoo.plan(), zoo.bundles, InferenceUnderTest) as plane:
        addresses = [f"127.0.0.1:{plane.port}", f"127.0.0.1:{plane.port + 1}"]
        command = [str(environment("tritonclient")), str(SCENARIOS), *addresses, TOKEN, ADMIN]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert ended.returncode == 0, ended.stderr[-3_000:]
    found: dict[str, Any] = json.loads(ended.stdout)
    return found


@pytest.mark.parametrize("way", WAYS)
def test_inputs_without_values_stand_beside_inputs_with_some(way: str, told: dict[str, Any]) -> None:
    assert told[way]["zeros"] == []


@pytest.mark.parametrize("way", WAYS)
def test_texts_and_bytes_that_are_none_come_back_or_are_refused(way: str, told: dict[str, Any]) -> None:
    found = told[way]["strings"]

    assert [name for name, is_right in found.items() if not is_right] == []
    assert len(found) == (8 if way == "http" else 6)


@pytest.mark.parametrize("way", WAYS)
def test_after_a_payload_that_is_too_large_a_small_one_is_answered(way: str, told: dict[str, Any]) -> None:
    first, refused, last = told[way]["large"]

    assert (first, last) == ("equal", "equal")
    assert refused.endswith(("Exception", "Error"))


@pytest.mark.parametrize("way", WAYS)
def test_many_at_once_get_their_own_answers_and_are_counted(way: str, told: dict[str, Any]) -> None:
    assert told[way]["batches"] == [True, True, True]


@pytest.mark.parametrize("way", WAYS)
def test_a_model_is_taken_out_of_service_and_brought_back(way: str, told: dict[str, Any]) -> None:
    found = told[way]["life"]

    assert (found["live"], found["ready"]) == ([True, True], [True, False])
    assert found["versions"][0] == "nothing was refused"
    assert all(one.startswith(("40", "StatusCode.NOT_FOUND", "StatusCode.INVALID")) for one in found["versions"][1:])
    assert all(one.startswith(("404", "StatusCode.NOT_FOUND")) for one in found["nothing"])
    assert found["not allowed"].startswith(("403", "StatusCode.PERMISSION_DENIED"))
    assert found["files"].startswith(("400", "StatusCode.INVALID_ARGUMENT"))
    assert found["states"] == [
        ["READY", True, True, True],
        ["UNAVAILABLE", False, False, True],
        ["READY", True, True, True],
    ]
