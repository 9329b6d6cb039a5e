"""A model that answers in parts, over server-sent events and over tritonclient's gRPC stream: each part as it comes."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sill.testing.peers import environment
from sill.testing.repeating_model import CRASHES, FAILS, SIGNATURE, repeating
from sill.testing.serving_models import TOKEN, make_signer
from sill.testing.serving_plane import InferenceUnderTest, serving
from sill.testing.serving_zoo import Zoo

STREAMS = Path(__file__).with_name("streams.py")


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InferenceUnderTest]:
    folder: Path = tmp_path_factory.mktemp("streams")
    zoo = Zoo(make_signer(folder))
    zoo.add("repeat", repeating(), SIGNATURE, "python")
    with serving(folder, zoo.plan(), zoo.bundles, InferenceUnderTest) as found:
        yield found


@pytest.fixture(scope="module")
def told(plane: InferenceUnderTest) -> dict[str, Any]:
    command = [str(environment("tritonclient")), str(STREAMS), f"127.0.0.1:{plane.port + 1}", TOKEN]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stderr[-3_000:]
    found: dict[str, Any] = json.loads(ended.stdout)
    return found


def body(*values: int, delay_ms: int = 0) -> dict[str, Any]:
    return {"IN": list(values), "DELAY_MS": [delay_ms] * len(values)}


def events(plane: InferenceUnderTest, *values: int, delay_ms: int = 0, **headers: str) -> list[dict[str, Any]]:
    answer = plane.http.post(
        "/v2/models/repeat/generate_stream", json=body(*values, delay_ms=delay_ms), headers=headers
    )
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    lines = [line for line in answer.text.split("\n\n") if line]
    assert all(line.startswith("data: ") for line in lines)
    return [json.loads(line[6:]) for line in lines]


def closed(plane: InferenceUnderTest) -> int:
    return int(events(plane, 0)[0]["CLOSED"])


def test_every_part_is_an_event_as_it_comes(plane: InferenceUnderTest) -> None:
    with plane.http.stream("POST", "/v2/models/repeat/generate_stream", json=body(4, 2, delay_ms=300)) as answer:
        first = next(answer.iter_text())

    assert json.loads(first.removeprefix("data: "))["OUT"] == 4
    assert [one["OUT"] for one in events(plane, 4, 2, 0)] == [4, 2, 0]


def test_no_part_is_no_event(plane: InferenceUnderTest) -> None:
    assert events(plane) == []


def test_generate_gives_the_one_part_and_refuses_several_or_none(plane: InferenceUnderTest) -> None:
    answers = [plane.http.post("/v2/models/repeat/generate", json=body(*values)) for values in ((7,), (7, 8), ())]

    assert [answer.status_code for answer in answers] == [200, 400, 400]
    assert answers[0].json()["OUT"] == 7


def test_a_failure_before_the_first_part_has_its_status_and_one_after_it_is_an_event(plane: InferenceUnderTest) -> None:
    first = plane.http.post("/v2/models/repeat/generate_stream", json=body(FAILS, 1))

    assert first.status_code == 503
    for value in (FAILS, CRASHES):
        part, failed = events(plane, 3, value, 4)
        assert part["OUT"] == 3
        assert "error" in failed
    assert [one["OUT"] for one in events(plane, 5)] == [5]


def test_who_leaves_ends_the_models_iterator(plane: InferenceUnderTest) -> None:
    before = closed(plane)
    with plane.http.stream("POST", "/v2/models/repeat/generate_stream", json=body(*[1] * 1_000, delay_ms=10)) as answer:
        next(answer.iter_text())

    assert closed(plane) == before + 1


def test_a_deadline_ends_an_answer_between_its_parts(plane: InferenceUnderTest) -> None:
    before = closed(plane)
    first, *_, last = events(plane, *[1] * 1_000, delay_ms=10, **{"X-Sill-Timeout-Ms": "200"})

    assert first["OUT"] == 1
    assert "deadline" in last["error"]
    assert closed(plane) == before + 1


@pytest.mark.peer("tritonclient")
def test_tritonclient_gets_every_part_and_the_end_it_asks_for(told: dict[str, Any]) -> None:
    assert told["parts"] == [["a", [4], False], ["a", [2], False], ["a", [0], False]]
    assert told["with an end"] == [["b", [7], False], ["b", None, True]]
    assert told["nothing but an end"] == [["c", None, True]]


@pytest.mark.peer("tritonclient")
def test_a_failure_in_a_stream_is_an_answer_and_the_stream_goes_on(told: dict[str, Any]) -> None:
    part, failed = told["fails in the middle"]

    assert part == ["d", [1], False]
    assert "cannot be repeated" in failed
    assert told["goes on"] == [["e", [8], False]]
    assert told["several at once"] == [["f", [1], False], ["f", [2], False], ["g", [3], False], ["g", [4], False]]


@pytest.mark.peer("tritonclient")
def test_a_stream_that_is_taken_back_or_late_ends_the_models_iterator(told: dict[str, Any]) -> None:
    assert any(
        said in told["too late"] for said in ("Deadline Exceeded", "the deadline passed")
    )  # the client's or ours
    assert told["closed"] >= 2
