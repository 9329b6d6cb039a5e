"""One tenant's requests leave room for another's, in one inference process without a gateway, over both doors."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import httpx
import pytest

from sill.protocols.protobuf import write_bytes, write_numbers, write_text
from sill.testing.grpc_client import INFER, GrpcLine
from sill.testing.serving_models import SIGNATURE, TOKEN, classifier, make_signer
from sill.testing.serving_plane import ControlStandIn, InferenceUnderTest, serving
from sill.testing.serving_zoo import OTHER, Zoo

IN_FLIGHT_MAX = 20
PART = 16
"""What one tenant may have of them: nine times what is left of the 18 that interactive requests may be."""
RESOURCE_EXHAUSTED = 8
QUESTION = {"inputs": [{"name": "input", "shape": [1, 3], "datatype": "FP32", "data": [1.0, 2.0, 3.0]}]}


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InferenceUnderTest]:
    """Two tenants with an endpoint `churn` each."""
    folder: Path = tmp_path_factory.mktemp("tenants")
    zoo = Zoo(make_signer(folder))
    zoo.add("churn", classifier(), SIGNATURE)
    zoo.add("churn", classifier(), SIGNATURE, project="shop")

    def small(home: Path, control: ControlStandIn) -> InferenceUnderTest:
        under_test = InferenceUnderTest(home, control)
        under_test.environment["SILL_REQUESTS_IN_FLIGHT_MAX"] = str(IN_FLIGHT_MAX)
        return under_test

    with serving(folder, zoo.plan(), zoo.bundles, small) as found:
        yield found


@contextmanager
def half_asked(plane: InferenceUnderTest, times: int) -> Iterator[list[socket.socket]]:
    """Requests of one tenant whose bodies have not come to their end: each is in flight, or refused."""
    head = f"POST /v2/models/churn/infer HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {TOKEN}\r\n"
    with ExitStack() as open_ones:
        found = [open_ones.enter_context(socket.create_connection(("127.0.0.1", plane.port))) for _ in range(times)]
        for one in found:
            one.sendall(f"{head}content-type: application/json\r\ncontent-length: 100\r\n\r\n{{".encode())
        yield found


def answered(sockets: list[socket.socket], count: int) -> list[socket.socket]:
    """Those that have an answer, once they are so many."""
    found: list[socket.socket] = []
    for one in sockets:
        one.setblocking(False)
    while len(found) < count:
        found = [one for one in sockets if has_answer(one)]
    return found


def has_answer(one: socket.socket) -> bool:
    try:
        return bool(one.recv(1, socket.MSG_PEEK))
    except BlockingIOError:
        return False


class Tenant:
    """Asks over one connection of each door: after the first time over HTTP and over gRPC, the short way."""

    def __init__(self, plane: InferenceUnderTest, token: str, project: str) -> None:
        self._token, self._project = token, project
        headers = {"Authorization": f"Bearer {token}", "X-Sill-Project": project}
        self.http = httpx.Client(
            base_url=f"http://127.0.0.1:{plane.port}", headers=headers, trust_env=False, timeout=30
        )
        self.line = GrpcLine(plane.port + 1)

    def ask(self) -> httpx.Response:
        """Over HTTP."""
        return self.http.post("/v2/models/churn/infer", json=QUESTION)

    def statuses(self) -> tuple[int, int]:
        """Over HTTP and over gRPC."""
        tensor = write_text(1, "input") + write_text(2, "FP32") + write_numbers(3, (1, 3))
        content = write_text(1, "churn") + write_bytes(5, tensor) + write_bytes(7, b"\0" * 12)
        project = (b"x-sill-project", self._project.encode())
        return self.ask().status_code, self.line.ask(content, INFER, project, token=self._token)[0]

    def close(self) -> None:
        self.http.close()
        self.line.close()


def test_who_has_his_part_is_told_to_come_again_and_others_are_answered(plane: InferenceUnderTest) -> None:
    with closing(Tenant(plane, TOKEN, "default")) as greedy, closing(Tenant(plane, OTHER, "shop")) as modest:
        assert [greedy.statuses() for _ in range(2)] == [(200, 0)] * 2
        with half_asked(plane, PART + 5) as asked:
            refused = answered(asked, 5)
            told = greedy.ask()

            assert len(refused) == 5
            assert all(one.recv(65_536).startswith(b"HTTP/1.1 429 ") for one in refused)
            assert told.headers["retry-after"] == "1"
            assert "one tenant" in told.json()["error"]
            assert greedy.statuses() == (429, RESOURCE_EXHAUSTED)
            assert [modest.statuses() for _ in range(2)] == [(200, 0)] * 2

        plane.until(lambda: greedy.statuses() == (200, 0))
