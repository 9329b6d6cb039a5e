"""The short way answers as the long way does, and holds no longer than what was decided on the long way."""

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from sill.api.inference_door import build_app
from sill.api.long_reading import Readers
from sill.api.recognition import KnownHead
from sill.core.clock import SystemClock
from sill.core.settings import Settings
from sill.endpoints.types import PlanToken, ServingPlan
from sill.safety.listener import uvicorn_config
from sill.safety.tokens import digest
from sill.testing.serving_models import TOKEN, rows_model, seen
from sill.traffic.plane import Plane
from sill.traffic.pool import make_route
from sill.traffic.recording import Recorder

KEY = ("default", "churn")


class Served:
    """The inference app over one model, in a thread, and one connection to it."""

    def __init__(self, home: Path) -> None:
        model = rows_model()
        self.endpoint = seen(model=model).endpoint
        self.model = model
        self.plane = Plane(SystemClock(), Recorder(SystemClock(), lambda: None))
        self.follow()
        app, self.recognition = build_app(self.plane, Settings(home=home), Readers())
        listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = listening.getsockname()[1]
        config = uvicorn_config(app, lifespan="off", recognise=self.recall)
        self.server = uvicorn.Server(config)
        self.short_ways = 0
        self.thread = threading.Thread(target=lambda: asyncio.run(self.server.serve([listening])), daemon=True)
        self.thread.start()
        self.connect()

    def connect(self) -> None:
        self.connection = socket.create_connection(("127.0.0.1", self.port), timeout=10)

    def follow(self, *tokens: PlanToken) -> None:
        plan = ServingPlan(
            revision=1,
            endpoints=(self.endpoint,),
            tokens=tokens or (PlanToken(digest=digest(TOKEN), projects=("*",)),),
            public_key="",
        )
        self.plane.follow(plan, {KEY: make_route(self.endpoint, {1: self.model}, None)})

    def recall(self, head: bytes) -> Any:
        known = self.recognition.recall(head)
        return None if known is None else Counted(self, known)

    def close(self) -> None:
        self.connection.close()
        self.server.should_exit = True
        self.thread.join(10)

    def request(self, data: list[float], **more: Any) -> bytes:
        tensor = {"name": "input", "shape": [len(data) // 3, 3], "datatype": "FP32", "data": data}
        body = json.dumps({"inputs": [tensor]} | more).encode()
        head = f"POST /v2/models/churn/infer HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {TOKEN}\r\n"
        return f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body

    def ask(self, *pieces: bytes) -> tuple[int, dict[str, Any]]:
        for piece in pieces:
            self.connection.sendall(piece)
        return self.read()

    def read(self) -> tuple[int, dict[str, Any]]:
        content = b""
        while b"\r\n\r\n" not in content:
            byte = self.connection.recv(1)
            assert byte, "the server hung up"
            content += byte
        length = int(content.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        body = b""
        while len(body) < length:
            body += self.connection.recv(length - len(body))
        return int(content.split()[1]), json.loads(body)


class Counted:
    """A known head that counts what it answered itself."""

    def __init__(self, served: Served, known: KnownHead) -> None:
        self.body_bytes = known.body_bytes
        self._served = served
        self._known = known

    def answer(self, body: bytes, reply: Callable[[bytes], None]) -> bool:
        is_taken = self._known.answer(body, reply)
        self._served.short_ways += is_taken
        return is_taken


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    server = Served(tmp_path)
    yield server
    server.close()


def test_the_short_way_answers_as_the_long_way_does(served: Served) -> None:
    rows = [1.0, -2.5, 0.25, 3.0, 0.0, -1.0]
    _, long = served.ask(served.request(rows))
    status, short = served.ask(served.request(rows))

    assert (status, served.short_ways) == (200, 1)
    assert short.pop("id") != long.pop("id")
    assert short == long


def test_other_numbers_get_their_own_answer(served: Served) -> None:
    served.ask(served.request([1.0, 1.0, 1.0]))
    _, up = served.ask(served.request([9.0, 9.0, 9.0]))
    _, down = served.ask(served.request([-9.0, -9, -9]))

    assert [one["outputs"][0]["data"] for one in (up, down)] == [["yes"], ["no"]]


@pytest.mark.parametrize(
    "data", ["[1.0, 1.0]", '[1.0, 1.0, "1"]', "[1.0, 1.0, NaN]", "[1.0, 1e99, 1]", "[[1.0, 1.0, 1]]", "[1, 1, 1"]
)
def test_what_is_not_a_list_of_good_numbers_is_told_as_on_the_long_way(served: Served, data: str) -> None:
    good = served.request([1.0, 1.0, 1.0])
    odd = good.replace(b"[1.0, 1.0, 1.0]", data.encode().ljust(15))  # of the same length: the head stays the same
    status, long = served.ask(odd)
    served.ask(good)

    again, short = served.ask(odd)

    assert (again, status == 200) == (status, data.startswith("[["))
    assert short.get("error") == long.get("error")
    assert served.short_ways == 0


@pytest.mark.parametrize("cut", [5, 60, 150, -3])
def test_a_known_request_in_pieces_is_answered_too(served: Served, cut: int) -> None:
    request = served.request([1.0, 1.0, 1.0])
    served.ask(request)
    served.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    assert served.ask(request[:cut], request[cut:])[0] == 200
    assert served.ask(request)[0] == 200


def test_requests_sent_without_waiting_are_answered_in_their_order(served: Served) -> None:
    ups, downs = served.request([9.0, 9.0, 9.0]), served.request([-9.0, -9, -9])
    served.ask(ups)
    served.ask(downs)
    unknown = served.request([9.0, 9.0, 9.0], id="mine")
    served.connection.sendall(ups + downs + unknown + downs + ups)

    answers = [served.read()[1] for _ in range(5)]

    assert [one["outputs"][0]["data"] for one in answers] == [["yes"], ["no"], ["yes"], ["no"], ["yes"]]
    assert answers[2]["id"] == "mine"


def test_a_token_that_was_revoked_or_is_over_is_refused_at_once(served: Served) -> None:
    request = served.request([1.0, 1.0, 1.0])
    served.ask(request)
    served.follow(PlanToken(digest=digest("another"), projects=("*",)))
    assert served.ask(request)[0] == 401
    served.connection.close()
    served.connect()

    served.follow(PlanToken(digest=digest(TOKEN), projects=("*",), expires_us=SystemClock().now_us() + 50_000))
    assert served.ask(request)[0] == 200
    threading.Event().wait(0.06)
    assert served.ask(request)[0] == 401


def test_a_request_that_says_more_than_numbers_is_not_learned(served: Served) -> None:
    for request in (
        served.request([1.0, 1.0, 1.0], id="mine"),
        served.request([1.0] * 3, parameters={"entity": {"a": "b"}}),
    ):
        served.ask(request)
        served.ask(request)

    assert served.short_ways == 0


def test_every_answer_is_remembered_once(served: Served) -> None:
    for _ in range(10):
        served.ask(served.request([1.0, 1.0, 1.0]))
    while served.plane.recorder.waiting < 10:
        time.sleep(0.001)  # note is taken after the answer, in another thread than this one

    rows = served.plane.recorder.take(100).rows()
    assert len({row.request_id for row in rows}) == len(rows) == 10
    assert all(row.features == {"a": 1.0, "b": 1.0, "c": 1.0} and row.prediction for row in rows)


def test_what_is_being_answered_when_the_server_ends_is_answered(served: Served) -> None:
    request = served.request([1.0, 1.0, 1.0])
    served.ask(request)
    served.connection.sendall(request)
    served.server.should_exit = True

    assert served.read()[0] == 200
