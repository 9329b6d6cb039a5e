"""One real platform for all tests of the API, filled with one of everything, and clients for three kinds of people."""

from collections.abc import Iterator

import httpx
import pytest

from sill.testing.live import Live, fill


@pytest.fixture(scope="session")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A running platform. One run holds all its cores, so that what the tests submit waits and starts nothing."""
    platform = Live(tmp_path_factory.mktemp("api") / "home", SILL_CPUS="1", SILL_UPLOAD_BYTES_MAX="1000000")
    try:
        platform.start()
        fill(platform)
        yield platform
    finally:
        platform.stop()


@pytest.fixture(scope="session")
def root(live: Live) -> Iterator[httpx.Client]:
    """May do everything."""
    with live.client("root") as client:
        yield client


@pytest.fixture(scope="session")
def reader(live: Live) -> Iterator[httpx.Client]:
    """May look at the one project."""
    with live.client("reader") as client:
        yield client


@pytest.fixture(scope="session")
def stranger(live: Live) -> Iterator[httpx.Client]:
    """A developer of another project."""
    with live.client("stranger") as client:
        yield client


@pytest.fixture(scope="session")
def anonymous(live: Live) -> Iterator[httpx.Client]:
    """One connection for all who have no token."""
    with live.client() as client:
        yield client


@pytest.fixture
def nobody(anonymous: httpx.Client) -> httpx.Client:
    """Has no token, and no cookie from an earlier test."""
    anonymous.cookies.clear()
    return anonymous


@pytest.fixture(scope="session")
def powerless(live: Live) -> Iterator[httpx.Client]:
    """Has a token for the one project that allows next to nothing."""
    with live.client("powerless") as client:
        yield client
