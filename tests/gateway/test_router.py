"""Requests among replicas that break in every way there is: whoever may be asked again is, and nobody hears of it."""

import asyncio
import resource
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest

from sill.gateway.address import Address
from sill.gateway.health import FAULTS_MAX
from sill.gateway.router import ATTEMPTS_MAX, ELSEWHERE_SAVED_MAX, RETRIES_SAVED_MAX, Ask, Router
from sill.gateway.upstream import Replica

pytestmark = pytest.mark.anyio
REQUEST = b"POST /v2/models/churn/infer HTTP/1.1\r\ncontent-length: 2\r\n\r\n{}"
GOOD = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"
LACKS = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 2\r\n\r\n{}"

Answer = Callable[[int], bytes]
"""What a replica writes to its so manieth request; it hangs up unless that is a whole answer."""


class Fleet:
    """A router and replicas that are real listeners on Unix sockets, but only say what they are told to."""

    def __init__(self, folder: Path) -> None:
        self.router = Router()
        self.asked: dict[str, int] = {}
        self._folder = folder
        self._servers: list[asyncio.Server] = []

    async def add(self, name: str, answer: Answer) -> Replica:
        place = str(self._folder / f"{name}.sock")
        self.asked[name] = 0

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while (await reader.read(65_536)).endswith(b"{}"):
                self.asked[name] += 1
                told = answer(self.asked[name])
                writer.write(told)
                if told not in (GOOD, LACKS):
                    break
            writer.close()

        self._servers.append(await asyncio.start_unix_server(serve, place, backlog=2_048))
        replica = Replica(name, Address(path=lambda: place))
        replica.health.probe_answered(0.0, is_ready=True)
        self.router.replicas.append(replica)
        return replica

    async def ask(self, count: int = 1, *, is_repeatable: bool = True) -> list[bytes]:
        """So many at once; the status of each, in the order they were answered."""
        told: asyncio.Queue[bytes] = asyncio.Queue()
        for _ in range(count):
            self.router.send(
                Ask(self.router, REQUEST, b"/churn", partial(told.put_nowait), is_repeatable=is_repeatable, seconds=5.0)
            )
        return [(await told.get())[9:12] for _ in range(count)]

    def close(self) -> None:
        for replica in self.router.replicas:
            replica.forsake()
        for server in self._servers:
            server.close()


@asynccontextmanager
async def fleet_in(folder: Path) -> AsyncIterator[Fleet]:
    fleet = Fleet(folder)
    try:
        yield fleet
    finally:
        fleet.close()
        await asyncio.sleep(0.01)  # the connections' ends


@pytest.mark.parametrize(
    "broken", [b"", b"HTTP/1.1 200", b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n", GOOD[:-1], b"noise\r\n\r\n"]
)
async def test_an_answer_that_ends_half_way_is_asked_of_another_replica(tmp_path: Path, broken: bytes) -> None:
    async with fleet_in(tmp_path) as fleet:
        await fleet.add("breaks", lambda _: broken)
        await fleet.add("answers", lambda _: GOOD)

        assert {*await fleet.ask(30)} == {b"200"}
        assert fleet.asked["breaks"] > 0


async def test_a_replica_whose_connections_are_all_old_costs_no_request_its_repeats(tmp_path: Path) -> None:
    def closes_old_ones(number: int) -> bytes:
        return b"" if len_open < number <= 2 * len_open else GOOD

    len_open = 3 * ATTEMPTS_MAX
    async with fleet_in(tmp_path) as fleet:
        await fleet.add("closes", closes_old_ones)
        await fleet.ask(len_open)

        assert await fleet.ask() == [b"200"]
        assert fleet.router.retries.tokens == RETRIES_SAVED_MAX


async def test_all_that_two_replicas_had_can_be_asked_again(tmp_path: Path) -> None:
    async with fleet_in(tmp_path) as fleet:
        gone = [await fleet.add(f"dies-{number}", lambda _: b"") for number in range(2)]
        fleet.router.replicas.remove(gone[1])
        await fleet.add("answers", lambda _: GOOD)

        assert {*await fleet.ask(600)} == {b"200"}


async def test_a_replica_that_has_not_got_the_model_is_passed_over_for_a_while(tmp_path: Path) -> None:
    async with fleet_in(tmp_path) as fleet:
        await fleet.add("lacks", lambda _: LACKS)
        await fleet.add("answers", lambda _: GOOD)
        for _ in range(300):
            assert await fleet.ask() == [b"200"]

        assert 1 <= fleet.asked["lacks"] <= 3
        assert fleet.router.retries.tokens == RETRIES_SAVED_MAX


async def test_what_no_replica_can_answer_takes_nobody_the_repeats_for_replicas_that_die(tmp_path: Path) -> None:
    async with fleet_in(tmp_path) as fleet:
        for name in ("lacks", "lacks-too"):
            await fleet.add(name, lambda _: LACKS)

        for _ in range(300):
            assert await fleet.ask() == [b"503"]
        assert fleet.router.retries.tokens == RETRIES_SAVED_MAX
        assert fleet.router.elsewhere.tokens > ELSEWHERE_SAVED_MAX - 10  # nor those for what one replica lacks


async def test_a_replica_that_has_the_model_by_now_is_asked_again_at_once(tmp_path: Path) -> None:
    async with fleet_in(tmp_path) as fleet:
        await fleet.add("lacks", lambda _: LACKS)
        await fleet.add("has-it-soon", lambda number: GOOD if number > 1 else LACKS)
        while await fleet.ask() == [b"503"]:
            pass

        for _ in range(20):
            assert await fleet.ask() == [b"200"]


async def test_what_may_not_be_repeated_is_not_asked_over_an_old_connection(tmp_path: Path) -> None:
    async with fleet_in(tmp_path) as fleet:
        await fleet.add("counts", lambda _: GOOD)
        await fleet.ask(2)

        assert await fleet.ask(is_repeatable=False) == [b"200"]
        assert fleet.asked["counts"] == 3


async def test_requests_wait_while_no_replica_is_there(tmp_path: Path) -> None:
    async with fleet_in(tmp_path) as fleet:
        replica = await fleet.add("comes", lambda _: GOOD)
        replica.health.eject(0.0, "it starts")
        asking = asyncio.create_task(fleet.ask(600))
        await asyncio.sleep(0.05)
        replica.health.is_admitted = True
        fleet.router.changed()

        assert {*await asking} == {b"200"}


async def test_a_replica_that_hangs_up_on_everybody_gets_no_more(tmp_path: Path) -> None:
    async with fleet_in(tmp_path) as fleet:
        breaks = await fleet.add("breaks", lambda _: b"")
        await fleet.add("answers", lambda _: GOOD)
        for _ in range(100):
            assert await fleet.ask() == [b"200"]

        assert not breaks.may_serve
        assert fleet.asked["breaks"] == FAULTS_MAX


async def test_a_gateway_without_room_for_connections_does_not_blame_its_replicas(tmp_path: Path) -> None:
    async with fleet_in(tmp_path) as fleet:
        replica = await fleet.add("answers", lambda _: GOOD)
        await fleet.ask()
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (1, hard))
        asking = asyncio.create_task(fleet.ask(4))
        await asyncio.sleep(0.1)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

        assert {*await asking} == {b"200"}
        assert (replica.failures, replica.ejections) == (0, 0)
