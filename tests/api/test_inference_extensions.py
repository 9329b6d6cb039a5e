"""Beside inference in the protocol's own form: configuration, statistics, repository, generate, MLflow's form, metrics."""

import gzip
import json
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from sill.testing.identity_models import identity
from sill.testing.serving_models import REGRESSION as REGRESSION_SIGNATURE
from sill.testing.serving_models import SIGNATURE, TOKEN, classifier, make_signer, regressor
from sill.testing.serving_plane import InferenceUnderTest, serving
from sill.testing.serving_zoo import ADMIN, OTHER, Zoo


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InferenceUnderTest]:
    """A classifier, a regression, an identity of texts, one without a batch axis, one of 64 bits without a sign."""
    folder: Path = tmp_path_factory.mktemp("extensions")
    zoo = Zoo(make_signer(folder))
    zoo.add("churn", classifier(), SIGNATURE)
    zoo.add("price", regressor(), REGRESSION_SIGNATURE)
    zoo.add("texts", *identity("BYTES", (-1, -1)))
    zoo.add("whole", *identity("FP32", (2, 3)))
    zoo.add("large", *identity("UINT64", (-1, 1)))
    zoo.add("pair", *identity("INT32", (-1, -1), 2))
    with serving(folder, zoo.plan(), zoo.bundles, InferenceUnderTest) as found:
        yield found


def ask(plane: InferenceUnderTest, model: str, name: str, datatype: str, shape: list[int], data: Any) -> Any:
    tensor = {"name": name, "datatype": datatype, "shape": shape, "data": data}
    return plane.http.post(f"/v2/models/{model}/infer", json={"inputs": [tensor]}).json()


def as_token(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def test_a_configuration_has_tritons_form(plane: InferenceUnderTest) -> None:
    churn = plane.http.get("/v2/models/churn/config").json()
    whole = plane.http.get("/v2/models/whole/config").json()

    assert (churn["platform"], churn["max_batch_size"]) == ("onnx_onnxv1", 10_000)
    assert churn["input"] == [{"name": "input", "data_type": "TYPE_FP32", "dims": [3]}]
    assert [one["data_type"] for one in churn["output"]] == ["TYPE_STRING", "TYPE_FP32"]
    assert (whole["max_batch_size"], whole["input"][0]["dims"]) == (0, [2, 3])


def test_statistics_count_what_was_asked(plane: InferenceUnderTest) -> None:
    def counted() -> tuple[int, int]:
        (stats,) = plane.http.get("/v2/models/large/stats").json()["model_stats"]
        return stats["inference_stats"]["success"]["count"], stats["inference_count"]

    before = counted()
    ask(plane, "large", "INPUT0", "UINT64", [2, 1], [1, 2])

    assert counted() == (before[0] + 1, before[1] + 2)
    names = [one["name"] for one in plane.http.get("/v2/models/stats").json()["model_stats"]]
    assert names == ["churn", "large", "pair", "price", "texts", "whole"]


def test_a_model_without_a_batch_axis_answers_whole(plane: InferenceUnderTest) -> None:
    answer = ask(plane, "whole", "INPUT0", "FP32", [2, 3], [[1, 2, 3], [4, 5, 6]])

    assert answer["outputs"] == [{"name": "output", "datatype": "FP32", "shape": [2, 3], "data": [1, 2, 3, 4, 5, 6]}]
    assert "error" in ask(plane, "whole", "INPUT0", "FP32", [1, 3], [1, 2, 3])


def test_sixty_four_bits_without_a_sign_come_through_json(plane: InferenceUnderTest) -> None:
    assert ask(plane, "large", "INPUT0", "UINT64", [1, 1], [2**64 - 1])["outputs"][0]["data"] == [2**64 - 1]
    assert "error" in ask(plane, "large", "INPUT0", "UINT64", [1, 1], [2**64])


def test_outputs_are_chosen_one_by_one(plane: InferenceUnderTest) -> None:
    inputs = [{"name": f"INPUT{place}", "datatype": "INT32", "shape": [1, 2], "data": [place, 7]} for place in (0, 1)]
    answer = plane.http.post("/v2/models/pair/infer", json={"inputs": inputs, "outputs": [{"name": "OUTPUT1"}]})

    assert [(one["name"], one["data"]) for one in answer.json()["outputs"]] == [("OUTPUT1", [1, 7])]


def test_the_index_shows_what_the_token_may_ask(plane: InferenceUnderTest) -> None:
    index = plane.http.post("/v2/repository/index", json={"ready": True}).json()

    assert {"name": "churn", "version": "1", "state": "READY"} in index
    assert plane.http.post("/v2/repository/index", headers=as_token(OTHER)).json() == []


def test_unload_and_load_need_the_admin_scope_and_bring_no_files(plane: InferenceUnderTest) -> None:  # B54, B55
    def post(path: str, token: str = ADMIN, **parameters: Any) -> int:
        url = f"/v2/repository/models/{path}"
        return plane.http.post(url, json={"parameters": parameters}, headers=as_token(token)).status_code

    assert [post("price/unload", TOKEN), post("price/unload", OTHER), post("nope/load")] == [403, 404, 404]
    assert post("price/load", **{"file:../../etc/x": "AAAA"}) == 400
    assert post("price/load", **{"file:" + "x" * 256: "AAAA", "config": "{}"}) == 400
    assert post("price/unload", unload_dependents=False) == 200
    assert plane.http.get("/v2/models/price/ready").status_code == 503
    assert post("price/load") == 200
    assert plane.http.get("/v2/models/price/ready").status_code == 200


def test_generate_takes_and_gives_flat_json(plane: InferenceUnderTest) -> None:
    asked = {"id": "7", "INPUT0": "hello", "parameters": {"temperature": 0.5}}
    answer = plane.http.post("/v2/models/texts/generate", json=asked)

    assert answer.json() == {"id": "7", "model_name": "texts", "model_version": "3", "output": "hello"}
    assert plane.http.post("/v2/models/texts/generate", json={"INPUT0": ["a", "b"]}).json()["output"] == ["a", "b"]


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({}, "missing"),
        ({"INPUT0": 1}, "BYTES"),
        ({"INPUT0": [["a"], ["b", "c"]]}, "unequal"),
        ({"INPUT0": "a", "input": "b"}, "no input"),
        ({"INPUT0": "a", "parameters": 1}, "object"),
        ({"INPUT0": "a", "id": 5}, "id"),
    ],
)
def test_generate_refuses_what_is_no_input(plane: InferenceUnderTest, asked: Any, why: str) -> None:
    for path in ("generate", "generate_stream"):
        answer = plane.http.post(f"/v2/models/texts/{path}", json=asked)
        assert (answer.status_code, why in answer.json()["error"]) == (400, True)


def test_generate_stream_sends_events(plane: InferenceUnderTest) -> None:
    answer = plane.http.post("/v2/models/texts/generate_stream", json={"INPUT0": "a\nb"})

    assert answer.headers["content-type"].startswith("text/event-stream")
    (event,) = answer.text.removesuffix("\n\n").split("\n\n")
    assert json.loads(event.removeprefix("data: "))["output"] == "a\nb"


SPLIT = {"columns": ["b", "a", "c", "more"], "data": [[2.0, 1.0, 3.0, "x"], [-2, -1, -3, "y"]]}
RECORDS = [{"a": 1, "b": 2, "c": 3}, {"a": -1.0, "b": -2, "c": -3}]


@pytest.mark.parametrize(
    "asked",
    [
        {"dataframe_split": SPLIT},
        {"dataframe_split": {"data": [[1, 2, 3], [-1, -2, -3]]}},
        {"dataframe_records": RECORDS},
        {"instances": RECORDS},
        {"instances": [[1, 2, 3], [-1, -2, -3]]},
        {"inputs": [[1.0, 2, 3], [-1, -2, -3]]},
        {"inputs": {"a": [1, -1], "b": [2, -2], "c": [3, -3]}},
    ],
)
def test_invocations_take_every_form_of_mlflow(plane: InferenceUnderTest, asked: Any) -> None:
    answer = plane.http.post("/v2/models/churn/invocations", json=asked)

    assert answer.json() == {"predictions": ["yes", "no"]}


def test_invocations_take_csv_and_name_their_model_by_header(plane: InferenceUnderTest) -> None:
    headers = {"Content-Type": "text/csv; charset=utf-8", "X-Sill-Endpoint": "price"}
    answer = plane.http.post("/invocations", content="a,b,c\n1,2,3\n4,5,6.5\n", headers=headers)

    assert answer.json() == {"predictions": [6.0, 15.5]}
    assert plane.http.get("/ping").status_code == plane.http.get("/health").status_code == 200
    assert plane.http.get("/version").text.startswith("3.")


@pytest.mark.parametrize(
    ("content", "headers", "status"),
    [
        (b"{}", {}, 400),
        (b'{"inputs": [], "instances": []}', {}, 400),
        (b'{"dataframe_split": {"columns": ["a"], "data": [[1, 2]]}}', {}, 400),
        (b'{"dataframe_records": [{"a": null, "b": 1, "c": 2}]}', {}, 400),
        (b'{"inputs": [[1, [2], 3]]}', {}, 400),
        (b'{"inputs": ' + b"[" * 100_000, {}, 400),
        (b"a,b\n1", {"Content-Type": "text/csv"}, 400),
        (b"x", {"Content-Type": "application/x-pickle"}, 400),
        (b"{}", {"Authorization": "Bearer nobody"}, 401),
    ],
)
def test_invocations_refuse_in_mlflows_form(
    plane: InferenceUnderTest, content: bytes, headers: dict[str, str], status: int
) -> None:
    given = {"Content-Type": "application/json", **headers}
    answer = plane.http.post("/v2/models/churn/invocations", content=content, headers=given)

    assert (answer.status_code, set(answer.json())) == (status, {"error_code", "message"})


def test_invocations_without_a_name_say_which_there_are(plane: InferenceUnderTest) -> None:
    answer = plane.http.post("/invocations", json={"inputs": [1]})

    assert (answer.status_code, "default/churn" in answer.json()["message"]) == (400, True)


def test_metrics_parse_strictly_and_show_the_tokens_own_models_only(plane: InferenceUnderTest) -> None:
    ask(plane, "churn", "input", "FP32", [1, 3], [1, 2, 3])
    accept = {"Accept": "application/openmetrics-text"}
    families = {
        one.name: one for one in text_string_to_metric_families(plane.http.get("/metrics", headers=accept).text)
    }

    seconds = [one for one in families["sill_inference_request_seconds"].samples if one.labels["endpoint"] == "churn"]
    counts = [one.value for one in seconds if one.name.endswith("_bucket")]
    assert counts == sorted(counts)
    assert counts[-1] >= 1
    assert "churn" in plane.http.get("/metrics").text
    assert "churn" not in plane.http.get("/metrics", headers=as_token(OTHER)).text
    assert httpx.get(f"http://127.0.0.1:{plane.port}/metrics", trust_env=False).status_code == 401


@pytest.mark.parametrize(("coding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_bodies_are_packed_both_ways(plane: InferenceUnderTest, coding: str, pack: Any) -> None:
    tensor = {"name": "INPUT0", "datatype": "BYTES", "shape": [1, 500], "data": ["row"] * 500}
    headers = {"Content-Encoding": coding, "Accept-Encoding": coding, "Content-Type": "application/json"}
    answer = plane.http.post(
        "/v2/models/texts/infer", content=pack(json.dumps({"inputs": [tensor]}).encode()), headers=headers
    )

    assert answer.headers["content-encoding"] == coding
    assert answer.json()["outputs"][0]["data"] == ["row"] * 500


def test_a_bomb_or_an_unknown_coding_is_refused(plane: InferenceUnderTest) -> None:  # B15
    bomb = gzip.compress(b"0" * 64 * 1024**2)
    statuses = [
        plane.http.post("/v2/models/texts/infer", content=content, headers={"Content-Encoding": coding}).status_code
        for coding, content in [("gzip", bomb), ("br", b"x"), ("gzip", b"no gzip")]
    ]

    assert statuses == [413, 415, 400]


def post_raw(plane: InferenceUnderTest, model: str, body: bytes) -> httpx.Response:
    headers = {"Inference-Header-Content-Length": "0"}
    return plane.http.post(f"/v2/models/{model}/infer", content=body, headers=headers)


@pytest.mark.parametrize(
    ("model", "body"),
    [("whole", struct.pack("<6f", *range(6))), ("large", struct.pack("<3Q", 1, 2, 2**64 - 1)), ("large", b"")],
)
def test_a_raw_body_is_the_models_one_input(plane: InferenceUnderTest, model: str, body: bytes) -> None:
    answer = post_raw(plane, model, body)

    assert answer.status_code == 200, answer.text
    assert answer.content[int(answer.headers["inference-header-content-length"]) :] == body


def test_a_raw_body_of_one_text_needs_no_length(plane: InferenceUnderTest) -> None:
    answer = post_raw(plane, "texts", b"427")

    assert (
        answer.content[int(answer.headers["inference-header-content-length"]) :] == (3).to_bytes(4, "little") + b"427"
    )


@pytest.mark.parametrize(
    ("model", "size"), [("pair", 16), ("whole", 20), ("whole", 48), ("large", 7), ("churn", 16), ("churn", 13)]
)
def test_a_raw_body_whose_shape_does_not_follow_is_refused(plane: InferenceUnderTest, model: str, size: int) -> None:
    answer = post_raw(plane, model, bytes(size))

    assert answer.status_code == 400
    assert "raw body" in answer.json()["error"]
