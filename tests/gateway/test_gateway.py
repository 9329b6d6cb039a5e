"""A gateway and two replicas, all real processes: whatever happens to one of them, every request is answered well."""

import asyncio
import gzip
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.gateway.conftest import gateway_in

from sill.api.inference import UNLOADED
from sill.testing.serving_gateway import BODY, GatewayUnderTest
from sill.testing.serving_models import TOKEN
from sill.testing.serving_plane import ControlStandIn
from sill.traffic.by_hand import ByHand


async def during(gateway: GatewayUnderTest, seconds: float, *happens: Any) -> dict[int, int]:
    """Statuses of what was asked while things happen, the first after half a second."""
    asking = asyncio.create_task(gateway.ask_for(seconds))
    await asyncio.sleep(0.5)
    for what in happens:
        await asyncio.to_thread(what)
    return await asking


def is_steady(measure: Callable[[], float]) -> bool:
    """True if it is the same a while later: rows are on their way for a fifth of a second."""
    before = measure()
    time.sleep(0.5)
    return measure() == before


def all_serve(gateway: GatewayUnderTest) -> bool:
    return gateway.count("sill_gateway_replica_admitted") == gateway.replicas


@pytest.mark.anyio
async def test_a_killed_replica_fails_no_request_and_is_started_again(gateway: GatewayUnderTest) -> None:
    victim = gateway.process_ids()[0]

    statuses = await during(gateway, 2.0, lambda: os.kill(victim, signal.SIGKILL))

    assert list(statuses) == [200]
    gateway.until(lambda: all_serve(gateway), 20)
    assert victim not in gateway.process_ids()


@pytest.mark.anyio
async def test_a_stopped_replica_is_out_and_comes_back(gateway: GatewayUnderTest) -> None:
    victim = gateway.process_ids()[0]
    ejected = gateway.count("sill_gateway_replica_ejections_total")

    def look() -> None:
        os.kill(victim, signal.SIGSTOP)
        gateway.until(lambda: gateway.count("sill_gateway_replica_ejections_total") > ejected, 10)
        os.kill(victim, signal.SIGCONT)

    assert list(await during(gateway, 3.0, look)) == [200]
    gateway.until(lambda: all_serve(gateway), 20)
    assert victim in gateway.process_ids()


def rows_of_answers(gateway: GatewayUnderTest) -> float:
    """Answers that the log knows of, without those that are known to be there twice."""
    rows = sum(row.times for row in gateway.control.logged() if row.status == 200)
    return rows - gateway.count("sill_gateway_answered_twice_total")


@pytest.mark.anyio
@pytest.mark.slow
async def test_each_answer_is_one_row_of_the_log_though_some_were_asked_twice(tmp_path: Path) -> None:
    """On a gateway of its own: so all rows there are can be counted, however late they come."""
    asked = ("sill_gateway_retried_total", "sill_gateway_hedged_total")
    with gateway_in(tmp_path) as gateway:
        victim = gateway.process_ids()[0]

        def stop_for_a_while() -> None:
            os.kill(victim, signal.SIGSTOP)
            time.sleep(0.5)  # too short to be ejected: what it was asked is asked of the other one, and it answers too
            os.kill(victim, signal.SIGCONT)

        first = await during(gateway, 1.0)
        repeats = sum(map(gateway.count, asked))
        statuses = await during(gateway, 2.0, stop_for_a_while)
        answers = first[200] + statuses[200]

        assert sum(map(gateway.count, asked)) > repeats
        gateway.until(lambda: rows_of_answers(gateway) >= answers, 30)
        gateway.until(lambda: is_steady(lambda: rows_of_answers(gateway)), 10)
        ejected = gateway.count("sill_gateway_replica_ejections_total")
        assert rows_of_answers(gateway) == answers or ejected > 0  # on a machine that stood still


@pytest.mark.anyio
async def test_replicas_are_replaced_without_a_failed_request(gateway: GatewayUnderTest) -> None:
    before = set(gateway.process_ids())

    def roll() -> None:
        assert gateway.process is not None
        gateway.process.send_signal(signal.SIGHUP)
        gateway.until(lambda: len(gateway.process_ids()) == 2 and not before & set(gateway.process_ids()), 30)

    assert list(await during(gateway, 6.0, roll)) == [200]
    gateway.until(lambda: all_serve(gateway), 20)


@pytest.mark.anyio
@pytest.mark.slow
async def test_replicas_are_replaced_though_the_control_plane_is_away(tmp_path: Path) -> None:
    with gateway_in(tmp_path, GatewayUnderTest) as gateway:
        before = set(gateway.process_ids())
        gateway.control.kill()

        def roll() -> None:
            assert gateway.process is not None
            gateway.process.send_signal(signal.SIGHUP)
            gateway.until(lambda: len(gateway.process_ids()) == 2 and not before & set(gateway.process_ids()), 30)

        assert list(await during(gateway, 6.0, roll)) == [200]


@pytest.mark.anyio
async def test_an_endpoint_unloaded_by_hand_is_so_in_every_replica_also_when_one_starts_again(
    gateway: GatewayUnderTest,
) -> None:
    assert gateway.http.post("/v2/repository/models/churn/unload").status_code == 403  # the token may not

    by_hand, victim = ByHand(gateway.home / "inference" / UNLOADED), gateway.process_ids()[0]
    by_hand.take_out(("default", "churn"))
    gateway.until(lambda: {gateway.infer().status_code for _ in range(10)} == {503})
    os.kill(victim, signal.SIGKILL)
    gateway.until(lambda: victim not in gateway.process_ids() and all_serve(gateway), 20)

    assert {gateway.infer().status_code for _ in range(10)} == {503}
    by_hand.bring_back(("default", "churn"))
    gateway.until(lambda: {gateway.infer().status_code for _ in range(10)} == {200})


@pytest.mark.anyio
@pytest.mark.slow
async def test_replicas_follow_the_load_and_none_that_ends_fails_a_request(tmp_path: Path) -> None:
    def make(home: Path, control: ControlStandIn) -> GatewayUnderTest:
        return GatewayUnderTest(home, control, replicas=1, most=2)

    with gateway_in(tmp_path, make) as gateway:
        loud = await gateway.ask_for(10.0, connections=60, pause_s=0.0)
        assert gateway.count("sill_gateway_replica_admitted") == 2
        calm = await gateway.ask_for(75.0, connections=2, pause_s=0.05)

        assert gateway.count("sill_gateway_replicas") == 1
        assert {*loud, *calm} == {200}


def test_the_gateway_tells_what_its_replicas_have_counted(gateway: GatewayUnderTest) -> None:
    gateway.until(lambda: all_serve(gateway), 30)
    stats, twice = "/v2/models/churn/stats", 5  # so many may have been asked of both, for being late

    def inferences() -> float:
        return float(gateway.http.get(stats).json()["model_stats"][0]["inference_count"])

    def requests() -> float:
        return gateway.count("sill_inference_requests_total")

    before = most(requests), most(inferences)
    answers = [gateway.infer() for _ in range(20)]

    assert [answer.text for answer in answers if answer.status_code != 200] == []
    assert 20 <= most(requests) - before[0] <= 20 + twice
    assert 20 <= most(inferences) - before[1] <= 20 + twice
    assert gateway.http.get("/v2/models/nope/stats").status_code == 404


def most(count: Callable[[], float]) -> float:
    """What all replicas have counted: one that is late is not in what is told, and counts only grow."""
    return max(count() for _ in range(4))


def test_what_a_replica_refuses_is_refused_in_its_words(gateway: GatewayUnderTest) -> None:
    gone = gateway.http.post("/v2/models/nope/infer", json={"inputs": []})
    stranger = gateway.http.get("/metrics", headers={"Authorization": "Bearer no"})

    assert (gone.status_code, list(gone.json())) == (404, ["error"])
    assert stranger.status_code == 401


def test_a_packed_body_is_unpacked_by_the_replica_and_a_bomb_refused_there(gateway: GatewayUnderTest) -> None:
    path, packed = "/v2/models/churn/infer", {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    good = gateway.http.post(path, content=gzip.compress(BODY), headers=packed)
    bomb = gateway.http.post(path, content=gzip.compress(bytes(80_000_000)), headers=packed)

    assert (good.status_code, bomb.status_code) == (200, 413)


@pytest.mark.parametrize(
    ("more", "status"),
    [
        (b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", b"400"),
        (b"Content-Length: 5\r\nContent-Length: 6\r\n", b"400"),
        (b"Content-Length: +5\r\n", b"400"),
        (b"Transfer-Encoding: chunked, identity\r\n", b"400"),
        (b"Host: evil.example\r\nContent-Length: 5\r\n", b"400"),
    ],
)
@pytest.mark.anyio
async def test_what_two_readers_could_read_differently_goes_no_further(
    gateway: GatewayUnderTest, more: bytes, status: bytes
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    head = b"POST /v2/models/churn/infer HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + TOKEN.encode()
    writer.write(head + b"\r\n" + more + b"\r\nGET /v2 HTTP/1.1\r\n\r\n")

    assert (await reader.readline())[9:12] == status
    writer.close()
