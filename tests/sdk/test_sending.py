"""A journal is sent in order and counts once, whatever the server does in between."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from sill.sdk.carrying import Carrier
from sill.sdk.journal import Journal
from sill.sdk.journal_files import Entry, read_refusals
from sill.sdk.mlflow_batches import pack
from sill.sdk.sending import Sender

WAIT_S = 20.0


class Server(ThreadingHTTPServer):
    """Answers as it is told, and remembers what it was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[tuple[str, str, bytes]] = []
        """Path, idempotency key and body of each request, in the order they came."""
        self.answers: Callable[[str, bytes], int] = lambda _path, _body: 200
        """The status for a request; 0 for hanging up without an answer."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def taken(self) -> dict[str, bytes]:
        """What a server has that takes each key once."""
        return {key: body for _, key, body in self.asked}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.asked.append((self.path, self.headers["Idempotency-Key"], body))
        status = self.server.answers(self.path, body)
        if not status:
            self.close_connection = True
            return
        answer = b'{"run":{"info":{"run_id":"run-real0001"}}}' if self.path.endswith("create") else b"{}"
        self.send_response(status)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as made:
        threading.Thread(target=made.serve_forever, args=(0.01,), daemon=True).start()
        yield made
        made.shutdown()


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "journal")


def plain(name: str) -> Entry:
    return Entry(method="POST", path=f"/{name}", body=name.encode())


def point(step: int, run: str = "a") -> Entry:
    body = json.dumps({"run_id": run, "key": "loss", "value": step / 7, "step": step, "timestamp": step}).encode()
    return Entry(method="POST", path="/api/2.0/mlflow/runs/log-metric", body=body, lane=f"x  {run}")


def send(journal: Journal, server: Server, **options: Any) -> Sender:
    """Send all there is, or all that can be."""
    sender = Sender(journal, Carrier(server.url, {}), pack, **options)
    sender.start()
    sender.drain(WAIT_S, is_patient=True)
    return sender


def test_requests_arrive_in_order_with_a_key_each(journal: Journal, server: Server) -> None:
    for name in ("a", "b", "c"):
        journal.append(plain(name))
    send(journal, server).stop()

    assert [(path, body) for path, _, body in server.asked] == [("/a", b"a"), ("/b", b"b"), ("/c", b"c")]
    assert [key for _, key, _ in server.asked] == [f"{journal.id}:{number}" for number in (1, 2, 3)]


def test_points_of_a_run_travel_together_and_letter_by_letter(journal: Journal, server: Server) -> None:
    for step in range(1_500):
        journal.append(point(step))
    journal.append(point(0, "b"))
    send(journal, server).stop()

    batches = [json.loads(body) for _, _, body in server.asked]
    steps = [each["step"] for batch in batches[:-1] for each in batch["metrics"]]
    assert steps == list(range(1_500))
    assert len(batches[0]["metrics"]) == 1_000
    assert batches[0]["metrics"][3]["value"] == 3 / 7
    assert server.asked[-1][0].endswith("log-metric")  # one alone goes as it came


def test_a_request_whose_answer_was_lost_is_repeated_as_it_was(journal: Journal, server: Server) -> None:
    server.answers = lambda _path, _body: 0 if len(server.asked) == 1 else 200
    for step in range(10):
        journal.append(point(step))
    send(journal, server).stop()

    assert server.asked[0] == server.asked[1]
    assert len(server.taken) == 1


def test_a_repeat_after_a_restart_is_the_same_request_although_more_was_logged(
    journal: Journal, server: Server, tmp_path: Path
) -> None:
    for step in range(10):
        journal.append(point(step))
    server.answers = lambda _path, _body: 0
    sender = Sender(journal, Carrier(server.url, {}), pack)
    sender.start()
    until_s = time.monotonic() + WAIT_S
    while not server.asked and time.monotonic() < until_s:
        time.sleep(0.01)
    sender.stop()
    again = Journal(tmp_path / "journal")
    for step in range(10, 20):
        again.append(point(step))
    server.answers = lambda _path, _body: 200
    send(again, server).stop()

    steps = [each["step"] for body in server.taken.values() for each in json.loads(body)["metrics"]]
    assert steps == list(range(20))


def test_of_points_sent_together_only_the_wrong_one_is_refused(journal: Journal, server: Server) -> None:
    server.answers = lambda _path, body: 400 if b'"step":5' in body.replace(b" ", b"") else 200
    for step in range(10):
        journal.append(point(step))
    sender = send(journal, server)
    sender.stop()

    (refused,) = read_refusals(journal.folder)
    assert (refused.seq, refused.status, refused.entry) == (6, 400, point(5))
    assert sender.refused == 1
    assert journal.waiting == 0


def test_who_asks_is_told_and_nothing_is_kept_aside(journal: Journal, server: Server) -> None:
    server.answers = lambda _path, _body: 400
    sender = Sender(journal, Carrier(server.url, {}), pack)
    sender.start()
    answer = sender.submit(plain("a")).result(WAIT_S)
    sender.stop()

    assert answer is not None
    assert answer.status == 400
    assert read_refusals(journal.folder) == []


def test_a_server_that_fails_is_asked_again_for_a_while(journal: Journal, server: Server) -> None:
    server.answers = lambda path, _body: 500 if path == "/a" and len(server.asked) < 3 else 200
    journal.append(plain("a"))
    journal.append(plain("b"))
    send(journal, server).stop()

    assert [path for path, _, _ in server.asked] == ["/a", "/a", "/a", "/b"]


def test_what_the_server_fails_at_for_too_long_is_kept_aside(journal: Journal, server: Server) -> None:
    server.answers = lambda path, _body: 500 if path == "/a" else 200
    journal.append(plain("a"))
    journal.append(plain("b"))
    send(journal, server, patience_s=0.2).stop()

    assert [refused.entry.path for refused in read_refusals(journal.folder)] == ["/a"]
    assert server.asked[-1][0] == "/b"


def test_nothing_is_given_up_for_a_token_that_is_not_known(journal: Journal, server: Server) -> None:
    server.answers = lambda _path, _body: 401
    journal.append(plain("a"))
    sender = Sender(journal, Carrier(server.url, {}))
    sender.start()
    until_s = time.monotonic() + WAIT_S
    while not sender.is_unwelcome and time.monotonic() < until_s:
        time.sleep(0.01)

    assert not sender.drain(WAIT_S)
    assert (journal.waiting, sender.refused) == (1, 0)
    sender.stop()


def test_while_the_server_is_away_nobody_waits(journal: Journal) -> None:
    sender = Sender(journal, Carrier("http://127.0.0.1:1", {}), pack)
    sender.start()

    assert sender.submit(plain("a")).result(WAIT_S) is None
    assert sender.submit(plain("b")).result(0) is None
    assert sender.when_settled() is None
    assert journal.waiting == 2
    sender.stop()


def test_an_id_given_while_the_server_was_away_becomes_the_servers(
    journal: Journal, server: Server, tmp_path: Path
) -> None:
    given = "offline-" + "0123456789abcdef01234567"
    journal.append(Entry(method="POST", path="/runs/create", body=b"{}", makes=given))
    journal.append(point(1, given))
    journal.append(Entry(method="POST", path=f"/artifacts/{given}/a", body=given.encode()))
    sender = send(journal, server, name_made=lambda _entry, answer: json.loads(answer.body)["run"]["info"]["run_id"])
    sender.stop()

    assert json.loads(server.asked[1][2])["run_id"] == "run-real0001"
    assert server.asked[2][::2] == ("/artifacts/run-real0001/a", b"run-real0001")
    assert Sender(Journal(tmp_path / "journal"), Carrier(server.url, {})).provisional.known == {given: "run-real0001"}
