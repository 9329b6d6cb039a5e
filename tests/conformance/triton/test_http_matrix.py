"""The field's own clients get back, over HTTP in both modes, what they sent: every datatype in every class of shapes."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from sill.testing.peers import environment
from sill.testing.serving_models import TOKEN
from sill.testing.serving_plane import InferenceUnderTest

pytestmark = pytest.mark.slow
HERE = Path(__file__).parent
PEERS = {"http": "serving-triton", "gevent": "serving-triton", "aio": "serving-triton", "kserve": "serving-kserve"}


def run(script: str, client: str, plane: InferenceUnderTest) -> list[dict[str, Any]]:
    command = [str(environment(PEERS[client])), str(HERE / script), client, f"127.0.0.1:{plane.port}", TOKEN]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stderr[-3_000:]
    return [json.loads(line) for line in ended.stdout.splitlines()]


@pytest.mark.parametrize("client", list(PEERS))
def test_every_value_comes_back(client: str, identities: InferenceUnderTest) -> None:
    *wrong, told = run("http_client.py", client, identities)

    assert wrong == []
    assert told["cases"] > 200
