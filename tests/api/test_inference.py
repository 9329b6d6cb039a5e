"""The real inference process beside a control plane that can be killed: it goes on, loses nothing, and refuses well."""

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import numpy as np
import pytest

from sill.safety.signing import Signer
from sill.testing.serving_models import TOKEN, Bundle, classifier, make_signer, plan, rows
from sill.testing.serving_plane import ControlStandIn, InferenceUnderTest


class House:
    """One control stand-in, one inference process, version 1 live."""

    def __init__(self, folder: Path) -> None:
        self.signer: Signer = make_signer(folder)
        self.first = Bundle(self.signer, classifier())
        self.control = ControlStandIn(folder / "control")
        self.control.publish(plan(self.signer, 1, self.first.revision(1, 100)), v1=self.first)
        self.control.start()
        self.plane = InferenceUnderTest(folder / "home", self.control)
        self.revision = 1
        try:
            self.plane.start()
        except AssertionError:
            self.close()
            raise

    def publish(self, *revisions: Any, **bundles: Bundle) -> None:
        self.revision += 1
        self.control.publish(plan(self.signer, self.revision, *revisions), **bundles)

    def answered_by(self, count: int = 1) -> list[int]:
        answers = [self.plane.infer() for _ in range(count)]
        assert [answer.status_code for answer in answers] == [200] * count
        return [int(answer.json()["parameters"]["revision"]) for answer in answers]

    def close(self) -> None:
        self.plane.kill()
        self.control.kill()
        self.plane.http.close()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """One house for the tests that change nothing about it."""
    house = House(tmp_path_factory.mktemp("house"))
    yield house
    house.close()


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = House(tmp_path)
    yield house
    house.close()


def tensor(**changes: Any) -> dict[str, Any]:
    return {"name": "input", "shape": [1, 3], "datatype": "FP32", "data": [1.0, 2.0, 3.0], **changes}


def post(shared: House, *inputs: Any, path: str = "/v2/models/churn/infer", **more: Any) -> httpx.Response:
    return shared.plane.http.post(path, json={"inputs": list(inputs), **more})


def test_an_answer_has_the_protocols_form(shared: House) -> None:
    answer = post(shared, tensor(), id="42", outputs=[{"name": "label"}]).json()

    assert (answer["id"], answer["model_name"], answer["model_version"]) == ("42", "churn", "1")
    assert answer["outputs"] == [{"name": "label", "datatype": "BYTES", "shape": [1], "data": ["yes"]}]


def test_many_rows_by_feature_names_are_answered_as_one_tensor_is(shared: House) -> None:
    table = rows(5).astype(float)
    named = [
        {"name": name, "shape": [5, 1], "datatype": "FP64", "data": table[:, [place]].tolist()}
        for place, name in enumerate("abc")
    ]
    whole = tensor(shape=[5, 3], datatype="FP64", data=table.tolist())

    assert post(shared, *named).json()["outputs"] == post(shared, whole).json()["outputs"]


def test_metadata_names_what_goes_in_and_comes_out(shared: House) -> None:
    http = shared.plane.http
    model = http.get("/v2/models/default/churn").json()

    assert http.get("/v2").json() == {
        "name": "sill",
        "version": "0.1.0",
        "extensions": [
            *("binary_tensor_data", "classification", "generate", "model_configuration", "model_repository"),
            "statistics",
        ],
    }
    assert model["inputs"] == [{"name": "input", "datatype": "FP32", "shape": [-1, 3]}]
    assert [output["name"] for output in model["outputs"]] == ["label", "probabilities"]
    assert http.get("/v2/models/churn/versions/1/ready").json() == {"name": "churn", "ready": True}


def test_health_needs_no_token_and_all_else_does(shared: House) -> None:
    url = f"http://127.0.0.1:{shared.plane.port}"
    with httpx.Client(base_url=url, trust_env=False, timeout=30) as stranger:
        assert [stranger.get(f"/v2/health/{what}").status_code for what in ("live", "ready")] == [200, 200]
        assert [stranger.get(path).status_code for path in ("/v2", "/v2/models/churn")] == [401, 401]
        assert stranger.post("/v2/models/churn/infer", json={}).status_code == 401


@pytest.mark.parametrize(
    ("inputs", "status"),
    [
        ([], 400),
        ([tensor(shape=[2**4, 2**60 + 2])], 400),
        ([tensor(shape=[1, -3])], 400),
        ([tensor(shape=[1, 4])], 400),
        ([tensor(), tensor()], 400),
        ([tensor(name="other")], 400),
        ([tensor(datatype="FP16")], 415),
        ([tensor(datatype="BYTES", data=["a", "b", "c"])], 400),
        ([tensor(data=[1, 2, None])], 400),
        ([tensor(data=[1, 2, 1e39])], 400),
        ([tensor(parameters={"binary_data_size": 12})], 400),
        ([tensor(parameters={"shared_memory_region": "r"})], 415),
        ([{**tensor(), "extra": 1}], 400),
    ],
)
def test_a_bad_tensor_is_refused_in_the_protocols_form(shared: House, inputs: list[Any], status: int) -> None:
    answer = post(shared, *inputs)

    assert answer.status_code == status
    assert list(answer.json()) == ["error"]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v2/models/nope/infer", 404),
        ("/v2/models/other/churn/infer", 404),
        ("/v2/models/%20/infer", 400),
        ("/v2/models/churn/versions/-1/infer", 404),
        ("/v2/models/churn/versions/99999999999/infer", 404),
        ("/v2/models/churn/versions/2/infer", 404),
    ],
)
def test_a_model_that_is_not_there_is_refused(shared: House, path: str, status: int) -> None:  # B62
    answer = post(shared, tensor(), path=path)

    assert (answer.status_code, list(answer.json())) == (status, ["error"])


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content-Type": "application/vnd.bentoml+pickle"}, 415),
        ({"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": "99999"}, 400),
        ({"X-Sill-Timeout-Ms": "soon"}, 400),
        ({"X-Sill-Project": "../x"}, 400),
        ({"Host": "evil.example"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Authorization": "Bearer ' OR '1'='1"}, 401),
    ],
)
def test_a_bad_head_is_refused_before_the_body_counts(shared: House, headers: dict[str, str], status: int) -> None:
    body = json.dumps({"inputs": [tensor()]})  # B50
    answer = shared.plane.http.post("/v2/models/churn/infer", content=body, headers=headers)

    assert (answer.status_code, list(answer.json())) == (status, ["error"])


def test_a_body_that_is_too_large_or_widens_too_far_is_413(shared: House) -> None:  # B52
    zeros = ",".join(["0"] * 8_400_000)
    body = f'{{"inputs":[{{"name":"input","shape":[2800000,3],"datatype":"FP64","data":[{zeros}]}}]}}'

    assert shared.plane.http.post("/v2/models/churn/infer", content=body, timeout=60).status_code == 413
    declared = {"Content-Length": str(10 * 1024**3)}
    with socket.create_connection(("127.0.0.1", shared.plane.port)) as raw:  # B59
        head = f"POST /v2/models/churn/infer HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n"
        raw.sendall(f"{head}Content-Length: {declared['Content-Length']}\r\n\r\n{{".encode())
        assert b" 413 " in raw.recv(4096).split(b"\r\n")[0]


def test_a_thousand_clients_that_leave_cost_nothing(shared: House) -> None:  # B61
    head = f"POST /v2/models/churn/infer HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n"
    body = json.dumps({"inputs": [tensor()]})
    whole = f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode()
    for cut in range(1_000):
        with socket.create_connection(("127.0.0.1", shared.plane.port)) as raw:
            raw.sendall(whole[: len(whole) - cut % len(whole)])

    # Our own idle connection may be among those that were closed to make room; once a new one is up, all is as before.
    shared.plane.until(shared.plane.is_ready)
    assert shared.plane.infer().status_code == 200


def test_rows_reach_the_control_plane_once_with_all_they_should_hold(shared: House) -> None:
    post(shared, tensor(), id="row-1", parameters={"entity": {"customer_id": "8"}})
    shared.plane.until(lambda: any(row.request_id == "row-1" for row in shared.control.logged()))

    (row,) = [row for row in shared.control.logged() if row.request_id == "row-1"]
    assert (row.prediction, row.entity, row.status) == ("yes", {"customer_id": "8"}, 200)
    assert row.features == {"a": 1.0, "b": 2.0, "c": 3.0}


def test_serving_goes_on_and_starts_again_while_the_control_plane_is_away(house: House) -> None:
    house.control.kill()
    assert house.answered_by(20) == [1] * 20
    house.plane.until(lambda: house.plane.spooled_rows() == 20)

    house.plane.kill()
    house.plane.start()
    assert house.answered_by(20) == [1] * 20

    house.control.start()
    house.plane.until(lambda: len(house.control.logged()) == 40)
    assert len({row.request_id for row in house.control.logged()}) == 40


def test_killing_the_control_plane_again_and_again_neither_loses_nor_doubles_a_row(house: House) -> None:
    for number in range(60):
        if number % 20 == 10:
            house.control.kill()
            house.control.start()
        assert house.plane.infer(id=f"req-{number}").status_code == 200
    wanted = {f"req-{number}" for number in range(60)}

    house.plane.until(lambda: {row.request_id for row in house.control.logged()} >= wanted)

    assert len(house.control.logged()) == 60


def test_a_broken_revision_never_takes_traffic_and_is_reported(house: House) -> None:  # B63
    broken = Bundle(house.signer, b"\x08\x08no model")
    house.publish(house.first.revision(1, 50), broken.revision(2, 50), v2=broken)
    house.plane.until(lambda: bool(house.control.reports()))

    assert house.answered_by(40) == [1] * 40
    (report,) = house.control.reports()
    assert (report["endpoint"], report["revision"]) == ("churn", 2)

    house.publish(broken.revision(2, 100))
    time.sleep(0.3)
    assert house.answered_by(20) == [1] * 20


def test_a_bundle_signed_by_a_stranger_takes_no_traffic(house: House, tmp_path: Path) -> None:
    forged = Bundle(make_signer(tmp_path / "stranger"), classifier())
    house.publish(house.first.revision(1, 50), forged.revision(2, 50), v2=forged)
    house.plane.until(lambda: bool(house.control.reports()))

    assert "signed" in house.control.reports()[0]["error"]
    assert house.answered_by(20) == [1] * 20


def test_traffic_follows_the_weights_and_a_switch_fails_no_request(house: House) -> None:
    second = Bundle(house.signer, classifier((1.0, 1.0, 2.0)))
    house.publish(house.first.revision(1, 70), second.revision(2, 30), v2=second)
    house.plane.until(lambda: 2 in house.answered_by(5))
    share = house.answered_by(400).count(2) / 400

    house.publish(second.revision(2, 100))
    house.plane.until(lambda: set(house.answered_by(10)) == {2})
    assert 0.2 < share < 0.4


def test_a_shadow_answers_unseen(house: House) -> None:
    contrary = Bundle(house.signer, classifier((-1.0, -1.0, -1.0)))
    house.publish(house.first.revision(1, 100), contrary.revision(2, 0, is_shadow=True), v2=contrary)

    def has_shadow() -> bool:
        assert house.answered_by(5) == [1] * 5
        return any(row.is_shadow for row in house.control.logged())

    house.plane.until(has_shadow)
    assert {row.agrees for row in house.control.logged() if row.is_shadow} == {False}


def test_a_revoked_token_is_refused_once_the_plan_says_so(house: House) -> None:
    now = plan(house.signer, 2, house.first.revision(1, 100))
    house.control.publish(msgspec.structs.replace(now, tokens=()))

    house.plane.until(lambda: house.plane.infer().status_code == 401, seconds=5)


def test_a_second_process_on_the_same_home_is_refused(shared: House) -> None:
    import subprocess
    import sys

    second = subprocess.run(
        [sys.executable, "-m", "sill.api.inference"], env=shared.plane.environment, capture_output=True, text=True
    )

    assert second.returncode == 2
    assert "another inference plane" in second.stderr


def test_concurrent_answers_are_each_ones_own(shared: House) -> None:
    import asyncio

    table = rows(64, seed=5).astype(float)

    async def ask(http: httpx.AsyncClient, row: Any) -> list[float]:
        answer = await http.post(
            "/v2/models/churn/infer", json={"inputs": [tensor(datatype="FP64", data=row.tolist())]}
        )
        found: list[float] = answer.json()["outputs"][1]["data"]
        return found

    async def ask_all() -> list[list[float]]:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        url = f"http://127.0.0.1:{shared.plane.port}"
        async with httpx.AsyncClient(base_url=url, headers=headers, trust_env=False, timeout=30) as http:
            return await asyncio.gather(*(ask(http, row) for row in table))

    alone = [post(shared, tensor(datatype="FP64", data=row.tolist())).json()["outputs"][1]["data"] for row in table]
    np.testing.assert_allclose(asyncio.run(ask_all()), alone, rtol=1e-6)
