"""Who is there, and what is submitted and ended until as many replicas are there as are wanted."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sill.core.actors import PLATFORM, Actor
from sill.core.clock import ManualClock
from sill.core.errors import Forbidden, InvalidValue
from sill.runs.types import SERVE, Run, RunSpec, RunState
from sill.safety.peers import own_peer
from sill.traffic.replica_runs import decide
from sill.traffic.replicas import SILENT_S, Replicas
from sill.traffic.types import GatewayState, ReplicaState

SCOPES = frozenset({"serving:write"})
JOB = Actor(id="job:run-1", scopes=SCOPES)


@pytest.fixture(scope="session")
def pem(tmp_path_factory: pytest.TempPathFactory) -> str:
    return own_peer(tmp_path_factory.mktemp("peer") / "peer.pem").certificate


def replica(pem: str, **fields: object) -> ReplicaState:
    given = {"name": "run-1.1", "host": "127.0.0.1", "port": 1_000, "grpc_port": 1_001, "certificate": pem} | fields
    return ReplicaState(**given)


def test_a_gateway_hears_of_replicas_and_they_of_it(pem: str) -> None:
    replicas = Replicas(ManualClock())

    assert replicas.follow(PLATFORM, GatewayState(certificate=pem, wanted=3)).replicas == ()
    assert replicas.announce(JOB, replica(pem)).certificates == (pem,)
    assert [each.name for each in replicas.follow(PLATFORM, GatewayState(certificate=pem, wanted=2)).replicas] == [
        "run-1.1"
    ]
    assert (replicas.wanted, set(replicas.present)) == (2, {"run-1"})


def test_who_is_silent_is_forgotten_and_who_leaves_is_told_but_not_present(pem: str) -> None:
    clock = ManualClock()
    replicas = Replicas(clock)
    replicas.announce(JOB, replica(pem, is_leaving=True))

    assert replicas.present == {}
    assert len(replicas.follow(PLATFORM, GatewayState(certificate=pem, wanted=1)).replicas) == 1
    clock.advance(SILENT_S)
    assert replicas.present == {}
    assert replicas.wanted == 0
    assert replicas.follow(PLATFORM, GatewayState(certificate=pem, wanted=1)).replicas == ()


def test_a_replica_speaks_for_itself_alone_and_is_no_gateway(pem: str) -> None:
    replicas = Replicas(ManualClock())
    person = Actor(id="tok-1", scopes=SCOPES)

    for actor, name in ((JOB, "run-2.1"), (person, "run-1.1"), (Actor(id="job:run-1", scopes=frozenset()), "run-1.1")):
        with pytest.raises(Forbidden):
            replicas.announce(actor, replica(pem, name=name))
    with pytest.raises(Forbidden):
        replicas.follow(JOB, GatewayState(certificate=pem, wanted=1))
    assert replicas.present == {}


@pytest.mark.parametrize(
    "wrong", [{"host": "localhost"}, {"host": ""}, {"port": 0}, {"grpc_port": 65_536}, {"certificate": ""}]
)
def test_a_place_that_cannot_be_is_refused(pem: str, wrong: dict[str, object]) -> None:
    with pytest.raises(InvalidValue):
        Replicas(ManualClock()).announce(JOB, replica(pem, **wrong))


def test_a_number_that_no_gateway_may_want_is_refused(pem: str) -> None:
    for wanted in (-1, 65):
        with pytest.raises(InvalidValue, match="replicas"):
            Replicas(ManualClock()).follow(PLATFORM, GatewayState(certificate=pem, wanted=wanted))


class World:
    """Runs that come and go as `decide` says; each takes a few looks to be there."""

    def __init__(self) -> None:
        self.runs: dict[str, Run] = {}
        self.present: set[str] = set()
        self.now_us = 1

    def look(self, wanted: int, renewed_us: int, slow: int) -> None:
        self.now_us += 1
        change = decide(list(self.runs.values()), wanted, self.present, renewed_us)
        for run_id in change.ends:
            del self.runs[run_id]
            self.present.discard(run_id)
        for number in range(change.more):
            run_id = f"run-{self.now_us}-{number}"
            spec = RunSpec(kind=SERVE)
            self.runs[run_id] = Run(
                id=run_id, project="p", spec=spec, state=RunState.RUNNING, kind=SERVE, created_us=self.now_us
            )
        self.present |= {run.id for run in self.runs.values() if self.now_us - run.created_us >= slow}


@given(st.lists(st.integers(1, 6), min_size=1, max_size=5), st.integers(1, 4), st.data())
def test_as_many_are_there_as_wanted_soon_and_never_fewer_because_of_a_replacement(
    wishes: list[int], slow: int, data: st.DataObject
) -> None:
    world, renewed_us = World(), 0
    for wanted in wishes:
        if data.draw(st.booleans()):
            renewed_us = world.now_us + 1
        for _ in range(wanted * (slow + 3) + 20):
            there = len(world.present)
            world.look(wanted, renewed_us, slow)
            assert len(world.runs) <= max(wanted, there) + 1
            assert len(world.present) >= min(there, wanted)
        assert len(world.present) == len(world.runs) == wanted
        assert all(run.created_us >= renewed_us for run in world.runs.values())


def test_of_too_many_the_waiting_ones_end_first_then_the_youngest() -> None:
    def run(number: int, state: RunState) -> Run:
        return Run(id=f"r{number}", project="p", spec=RunSpec(kind=SERVE), state=state, kind=SERVE, created_us=number)

    every = [run(1, RunState.RUNNING), run(2, RunState.RUNNING), run(3, RunState.RUNNING), run(4, RunState.QUEUED)]

    assert decide(every, 3, {"r1", "r2"}, 0).ends == ("r4",)
    assert decide(every, 2, {"r1", "r2"}, 0).ends == ("r4", "r3")
    assert decide(every, 1, {"r1", "r2"}, 0).ends == ("r4", "r3", "r2")
    assert decide(every[:2], 4, set(), 0) == (2, ())
