"""What clients log through a relay arrives once and in order, whether the server is there or not."""

from collections.abc import Callable

import httpx
import psutil
import pytest

from sill.testing.line import Line

from .conftest import API, RelayProcess, eventually, expected

MEMORY_BYTES_MAX = 40 * 1024**2


def test_a_client_reads_what_it_wrote(relay: RelayProcess) -> None:
    run_id = relay.begin()
    for step in range(50):
        assert relay.point(run_id, step).json() == {}

    assert relay.points(run_id) == expected(range(50))
    assert psutil.Process(relay.process.pid).memory_info().rss < MEMORY_BYTES_MAX


def test_batches_params_tags_and_the_end_arrive_in_order(relay: RelayProcess) -> None:
    run_id = relay.begin()
    metrics = [{"key": "loss", "value": step / 7, "step": step, "timestamp": step + 1} for step in range(1_000)]
    relay.post("/runs/log-batch", run_id=run_id, metrics=metrics).raise_for_status()
    relay.point(run_id, 1_000).raise_for_status()
    relay.post("/runs/log-parameter", run_id=run_id, key="lr", value="0.1").raise_for_status()
    relay.post("/runs/set-tag", run_id=run_id, key="stage", value="one").raise_for_status()
    relay.post("/runs/update", run_id=run_id, status="FINISHED", end_time=9).raise_for_status()

    run = relay.get("/runs/get", run_id=run_id).json()["run"]
    assert (run["info"]["status"], run["data"]["params"]) == ("FINISHED", [{"key": "lr", "value": "0.1"}])
    assert relay.points(run_id) == expected(range(1_001))


def test_a_run_goes_on_while_the_line_is_cut(relay: RelayProcess, line: Line) -> None:
    run_id = relay.begin()
    for step in range(30):
        if step == 10:
            line.cut()
        if step == 20:
            line.mend()
        assert relay.point(run_id, step).status_code == 200

    eventually(lambda: relay.get("/runs/search", run_id=run_id).status_code != 503)
    assert relay.points(run_id) == expected(range(30))


def test_a_whole_run_may_pass_while_the_server_is_away(relay: RelayProcess, line: Line, server: httpx.Client) -> None:
    line.cut()
    experiment = relay.post("/experiments/create", name="made-offline").raise_for_status().json()["experiment_id"]
    run_id = relay.begin("offline-run", experiment)
    for step in range(20):
        relay.point(run_id, step).raise_for_status()
    relay.post("/runs/log-parameter", run_id=run_id, key="lr", value="0.1").raise_for_status()
    info = relay.get("/runs/get", run_id=run_id).json()["run"]["info"]
    path = info["artifact_uri"].removeprefix("mlflow-artifacts:/")
    relay.http.put(f"/api/2.0/mlflow-artifacts/artifacts/{path}/a.txt", content=b"kept").raise_for_status()
    relay.post("/runs/update", run_id=run_id, status="FINISHED", end_time=9).raise_for_status()
    line.mend()
    assert relay.stop() == 0

    found = server.get(f"{API}/experiments/get-by-name", params={"experiment_name": "made-offline"}).json()[
        "experiment"
    ]
    wanted = {"experiment_ids": [found["experiment_id"]]}
    (run,) = server.post(f"{API}/runs/search", json=wanted).raise_for_status().json()["runs"]
    real = run["info"]["run_id"]
    assert (run["info"]["run_name"], run["info"]["status"], real != run_id) == ("offline-run", "FINISHED", True)
    tags = {tag["key"]: tag["value"] for tag in run["data"]["tags"]}
    assert f"offline-{tags['sill.relay.offline_id']}" == run_id
    history = server.get(f"{API}/metrics/get-history", params={"run_id": real, "metric_key": "loss"}).json()["metrics"]
    assert [(each["step"], each["timestamp"], each["value"]) for each in history] == expected(range(20))
    kept = server.get(f"/api/v1/projects/default/runs/{real}/artifacts/a.txt")
    assert kept.content == b"kept"


def test_a_run_that_began_offline_is_read_by_either_id(relay: RelayProcess, line: Line) -> None:
    line.cut()
    run_id = relay.begin()
    relay.point(run_id, 0)
    assert relay.get("/runs/get", run_id=run_id).json()["run"]["data"]["metrics"][0]["key"] == "loss"
    line.mend()
    eventually(lambda: relay.post("/runs/search", experiment_ids=["0"]).status_code == 200)

    real = relay.get("/runs/get", run_id=run_id).json()["run"]["info"]["run_id"]
    assert real.startswith("run-")
    assert relay.points(real) == relay.points(run_id) == expected(range(1))


def test_an_experiment_made_offline_that_is_there_is_the_one_meant(
    relay: RelayProcess, line: Line, server: httpx.Client
) -> None:
    made = server.post(f"{API}/experiments/create", json={"name": "there-already"}).json()["experiment_id"]
    line.cut()
    assert relay.get("/experiments/get-by-name", experiment_name="there-already").status_code == 404
    given = relay.post("/experiments/create", name="there-already").json()["experiment_id"]
    run_id = relay.begin(experiment_id=given)
    line.mend()
    eventually(lambda: relay.post("/runs/search", experiment_ids=["0"]).status_code == 200)

    assert relay.get("/runs/get", run_id=run_id).json()["run"]["info"]["experiment_id"] == made
    assert relay.refused == []


def test_what_a_killed_relay_held_is_sent_by_the_next(start: Callable[[], RelayProcess], line: Line) -> None:
    first = start()
    run_id = first.begin()
    first.point(run_id, 0)
    assert first.points(run_id) == expected(range(1))
    line.cut()
    offline = first.begin()
    for step in range(1, 100):
        first.point(run_id, step).raise_for_status()
        first.point(offline, step).raise_for_status()
    first.kill()
    second = start()
    assert second.get("/runs/get", run_id=offline).status_code == 200  # it knows what the first one was told
    line.mend()
    eventually(lambda: second.post("/runs/search", experiment_ids=["0"]).status_code == 200)

    assert second.points(run_id) == expected(range(100))
    assert second.points(offline) == expected(range(1, 100))


def test_the_rest_arrives_when_it_is_told_to_end(relay: RelayProcess, line: Line, server: httpx.Client) -> None:
    run_id = relay.begin()
    line.cut()
    for step in range(10):
        relay.point(run_id, step).raise_for_status()
    line.mend()

    assert relay.stop() == 0
    run = server.get(f"{API}/runs/get", params={"run_id": run_id}).json()["run"]
    assert run["data"]["metrics"][0]["step"] == 9


@pytest.mark.parametrize("is_away", [False, True], ids=["there", "away"])
@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/runs/log-metric", {"key": "a" * 251, "value": 1, "timestamp": 1}),
        ("/runs/log-metric", {"key": "../a", "value": 1, "timestamp": 1}),
        ("/runs/log-metric", {"key": "a", "value": "much", "timestamp": 1}),
        ("/runs/log-metric", {"key": "a", "value": 1}),
        ("/runs/log-metric", {"key": "a", "value": 1, "timestamp": 1, "step": 2**63}),
        ("/runs/log-batch", {"metrics": [{"key": "a", "value": 1, "timestamp": 1}] * 1_001}),
        ("/runs/log-batch", {"params": [{"key": "a", "value": "1"}, {"key": "a", "value": "2"}]}),
        ("/runs/log-parameter", {"key": "a", "value": "x" * 6_001}),
        ("/runs/log-parameter", {"key": "kept", "value": "2"}),
        ("/runs/set-tag", {"value": "1"}),
        ("/runs/update", {"status": "DONE"}),
    ],
)
def test_what_the_server_would_refuse_is_refused_at_once_with_its_code(
    started: RelayProcess,
    cut: Line,
    server: httpx.Client,
    known_run: str,
    path: str,
    body: dict[str, object],
    is_away: bool,
) -> None:
    online = server.post(f"{API}{path}", json={"run_id": known_run, **body})
    (cut.cut if is_away else cut.mend)()
    told = started.post(path, run_id=known_run, **body)

    assert (told.status_code, told.json()["error_code"]) == (online.status_code, online.json()["error_code"])
    assert told.status_code == 400


def test_what_cannot_be_answered_without_the_server_says_so(relay: RelayProcess, line: Line) -> None:
    run_id = relay.begin()
    line.cut()
    relay.point(run_id, 0)
    told = relay.post("/runs/search", experiment_ids=["0"])

    assert (told.status_code, told.json()["error_code"]) == (503, "TEMPORARILY_UNAVAILABLE")
    assert int(told.headers["retry-after"]) > 0


def test_a_refusal_found_later_is_kept_and_the_next_call_hears_of_it(
    relay: RelayProcess, line: Line, server: httpx.Client
) -> None:
    run_id, other = relay.begin(), relay.begin()
    line.cut()
    relay.point(run_id, 0).raise_for_status()
    relay.point(other, 0).raise_for_status()
    server.post(f"{API}/runs/delete", json={"run_id": run_id}).raise_for_status()
    line.mend()
    eventually(lambda: relay.post("/runs/search", experiment_ids=["0"]).status_code == 200)

    assert relay.points(other) == expected(range(1))
    assert [each["status"] for each in relay.refused] == [400]
    assert relay.point(run_id, 1).status_code == 400


def test_only_who_knows_the_secret_is_served(relay: RelayProcess) -> None:
    wrong = {"authorization": "Bearer wrong"}
    refused = httpx.get(f"{relay.url}{API}/runs/get", headers=wrong, trust_env=False)
    basic = httpx.get(f"{relay.url}{API}/experiments/get?experiment_id=0", auth=("me", "sesame"), trust_env=False)
    foreign = relay.http.get(f"{API}/experiments/get?experiment_id=0", headers={"host": "evil.example"})

    assert (refused.status_code, refused.json()["error_code"]) == (401, "UNAUTHENTICATED")
    assert basic.status_code == 200
    assert foreign.status_code in (400, 403, 421)


def test_large_files_pass_both_ways_in_pieces(relay: RelayProcess) -> None:
    run_id = relay.begin()
    path = f"/api/2.0/mlflow-artifacts/artifacts/0/{run_id}/artifacts/large.bin"
    content = bytes(range(256)) * 40_000
    relay.http.put(path, content=content).raise_for_status()

    assert relay.http.get(path).content == content
    part = relay.http.get(path, headers={"range": "bytes=256-511"})
    assert (part.status_code, part.content) == (206, content[256:512])
    assert psutil.Process(relay.process.pid).memory_info().rss < MEMORY_BYTES_MAX + len(content)
