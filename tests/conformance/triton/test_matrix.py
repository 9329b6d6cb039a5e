"""The field's own clients get back what they sent: every client, every datatype, every class of shapes, every form."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from sill.testing.peers import environment
from sill.testing.serving_models import TOKEN
from sill.testing.serving_plane import InferenceUnderTest

MATRIX = Path(__file__).with_name("matrix.py")
TRITON = ("http", "gevent", "aio", "grpc", "grpc-stream", "grpc-aio", "grpc-aio-stream")
KSERVE = ("kserve", "kserve-grpc")


def wrong_ones(
    peer: str, part: str, plane: InferenceUnderTest, *clients: str, asked_least: int = 70
) -> list[dict[str, Any]]:
    """What did not come back as it was sent; and every client whose answers are not as many as its questions.

    Args:
        part: of the matrix: `core`, `whole`, or those cases of the core whose models a file names.
    """
    addresses = (f"127.0.0.1:{plane.port}", f"127.0.0.1:{plane.port + 1}")
    command = [str(environment(peer)), str(MATRIX), part, *addresses, TOKEN, *clients]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert ended.returncode == 0, ended.stderr[-3_000:]
    lines = [json.loads(line) for line in ended.stdout.splitlines()]
    counts = {one["client"]: one for one in lines if "asked" in one}
    assert counts.keys() == set(clients)
    return [one for one in lines if "asked" not in one] + [
        one for one in counts.values() if one["answered"] != one["asked"] or one["asked"] < asked_least
    ]


@pytest.mark.peer("tritonclient")
@pytest.mark.timeout(300)
def test_every_value_comes_back(identities: InferenceUnderTest) -> None:
    assert wrong_ones("tritonclient", "core", identities, *TRITON) == []


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("client", TRITON + KSERVE)
def test_every_value_comes_back_in_every_shape(client: str, identities: InferenceUnderTest) -> None:
    assert wrong_ones("serving-kserve" if client in KSERVE else "tritonclient", "whole", identities, client) == []
