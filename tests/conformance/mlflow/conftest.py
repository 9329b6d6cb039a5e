"""A real MLflow server and a Sill, side by side; the former is started while the latter starts."""

from collections.abc import Iterator

import httpx
import pytest
from tests.conformance.mlflow.replay import TIMEOUT_S, Replay

from sill.testing.live import Live
from sill.testing.mlflow_server import MlflowServer


@pytest.fixture(scope="session")
def peer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    """An MLflow server that starts; who asks it waits first."""
    server = MlflowServer(tmp_path_factory.mktemp("mlflow"))
    try:
        yield server.spawn()
    finally:
        server.stop()


@pytest.fixture(scope="session")
def platform(peer: MlflowServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A running platform."""
    live = Live(tmp_path_factory.mktemp("mlflow") / "home")
    try:
        yield live.start()
    finally:
        live.stop()


@pytest.fixture(scope="session")
def replay(peer: MlflowServer, platform: Live) -> Iterator[Replay]:
    """Makes each call on both."""
    plain = httpx.Client(base_url=peer.wait_ready().url, timeout=TIMEOUT_S, trust_env=False)
    with plain as theirs, platform.client("root") as ours:
        yield Replay(theirs, ours)
