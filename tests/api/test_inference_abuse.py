"""Bad input in a loop beside a well-behaved client, on a real process: exact answers, bounded memory, nobody else fails.

SECURITY B01 to B64 at the inference doors. How long others wait meanwhile is measured by `python -m drill.abuse`.
"""

import asyncio
from collections.abc import Iterator

import pytest
from drill import abuse, bad_grpc, bad_http
from drill.attack import GRPC, HTTP, KINDS, Kind, held_mb

from sill.testing.serving_gateway import GatewayUnderTest
from sill.testing.serving_plane import InferenceUnderTest

GOOD_ASKS = 20
GREW_MB_MAX = 400.0
"""A body of 60 MB, what is made of it, and the process that reads it."""
WINDOWS = abuse.Windows(calm_s=0.2, abused_s=1.0, pairs_min=1, pairs_max=1)
"""How long others wait is not asked here."""
CORE = [
    (HTTP, "B52 wrong count"),
    (HTTP, "B56 many texts in JSON"),
    (HTTP, "B59 a kilobyte of sixty megabytes"),
    (GRPC, "B56 many texts, the last wrong"),
    (GRPC, "B57 many typed numbers"),
]


@pytest.fixture(scope="module")
def plane() -> Iterator[InferenceUnderTest]:
    with abuse.house(InferenceUnderTest) as found:
        yield found


@pytest.fixture(scope="module")
def gateway() -> Iterator[InferenceUnderTest]:
    with abuse.house(GatewayUnderTest) as found:
        yield found


async def told(kind: Kind, plane: InferenceUnderTest) -> str:
    """The answer to one bad request, while a good client asks; all of the good one's requests are answered."""
    door, name = kind
    if door == GRPC:
        bad = asyncio.create_task(asyncio.to_thread(bad_grpc.ask, name, plane.port + 1))
    else:
        bad = asyncio.ensure_future(bad_http.asks(name)(plane.port, "127.0.1.1"))
    good = 0
    while good < GOOD_ASKS or not bad.done():
        assert (await asyncio.to_thread(plane.infer)).status_code == 200
        good += 1
    return str(await bad)


@pytest.mark.anyio
@pytest.mark.parametrize("kind", CORE, ids=" ".join)
async def test_a_long_bad_request_is_refused_and_others_are_answered_meanwhile(
    kind: Kind, plane: InferenceUnderTest
) -> None:
    before_mb = held_mb(abuse.server(plane))

    assert await told(kind, plane) in abuse.allowed(kind)

    assert held_mb(abuse.server(plane)) - before_mb < GREW_MB_MAX


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.anyio
@pytest.mark.parametrize("house", ["plane", "gateway"])
@pytest.mark.parametrize("kind", KINDS, ids=" ".join)
async def test_bad_input_in_a_loop_is_answered_exactly_in_bounded_memory_and_fails_nobody_else(
    kind: Kind, house: str, request: pytest.FixtureRequest
) -> None:
    outcome = await abuse.measure(kind, request.getfixturevalue(house), WINDOWS)
    abuse.tell(outcome)

    assert outcome.answers or kind[1] in bad_http.LASTING
    assert outcome.wrong == {}
    assert outcome.failed == 0
    assert outcome.grew_mb <= outcome.grew_mb_max
